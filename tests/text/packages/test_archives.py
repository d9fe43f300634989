"""Archives of others: bounds hold, and what is wrong is one line."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.text.packages import archives
from colbert_lab.text.packages.archives import is_archive, read_archive
from tests.text.packages.made import write_sdist, write_wheel


def read(path: Path) -> tuple[dict[str, bytes], Counter[str]]:
    skipped: Counter[str] = Counter()
    return dict(read_archive(path, skipped)), skipped


def test_text_of_a_wheel_and_of_a_source_archive(tmp_path: Path) -> None:
    files = {"p/a.py": b"1", "p/doc.rst": b"2", "p/lib.so": b"3"}
    found, _ = read(write_wheel(tmp_path, "p", files))
    assert {"p/a.py", "p/doc.rst", "p-1.0.dist-info/METADATA"} == set(found)
    found, _ = read(
        write_sdist(tmp_path / "p-1.0.tar.gz", {f"p-1.0/{name}": text for name, text in files.items()})
    )
    assert found == {"p-1.0/p/a.py": b"1", "p-1.0/p/doc.rst": b"2"}
    assert [is_archive(name) for name in ("a.whl", "b.tar.gz", "c.tgz", "numpy", "d.txt")] == [True] * 3 + [
        False
    ] * 2


def test_names_that_lead_elsewhere_and_large_files_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_FILE", 2000)
    names = (
        "../up.py",
        "/root.py",
        "a/../../b.py",
        "a\\b.py",
        "x\x1b[2J.py",
        "n" * 500 + ".py",
        "big.py",
        "good.py",
    )
    content = {name: b"#" * (2001 if name == "big.py" else 1) for name in names}
    for path in (write_wheel(tmp_path, "p", content), write_sdist(tmp_path / "p.tar.gz", content)):
        found, skipped = read(path)
        assert "good.py" in found
        assert not set(found) & set(names[:-1])
        assert skipped == {"unsafe name": 6, "too large": 1}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["p-1.0-py3-none-any.whl", "p.tar.gz"]


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_UNPACKED", 10 * 2**20)
    wheel = write_wheel(tmp_path, "p", {f"m{n}.py": b" " * 2**20 for n in range(12)})
    bomb = write_sdist(tmp_path / "p.tar.gz", {"p/zeros.bin": bytes(12 * 2**20), "p/a.py": b"1"})
    for path in (wheel, bomb):
        with pytest.raises(
            InputError, match=rf"^{path.name}: unpacks to more than 10 MiB; leave the package out$"
        ):
            read(path)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 5)
    with pytest.raises(InputError, match=r"holds more than 5 files"):
        read(wheel)


def test_damaged_archives_are_one_line(tmp_path: Path) -> None:
    whole = write_wheel(tmp_path, "p", {"a.py": b"def f(): pass\n" * 100})
    data = whole.read_bytes()
    for n, damage in enumerate((b"", b"nothing", data[:-30], data[:60] + b"\xff" * 20 + data[80:])):
        path = tmp_path / f"bad{n}.whl"
        path.write_bytes(damage)
        with pytest.raises(
            InputError, match=rf"^bad{n}.whl: cannot be read \([^\n]+\); leave the package out$"
        ):
            read(path)
    for name, content in (
        ("a.tar.gz", b"\x1f\x8b nothing"),
        ("b.tar.xz", b""),
        ("c.tar.gz", data),
        ("d.tar.zz", b""),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"^{name}: [^\n]+$"):
            read(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "odd.whl", "w") as archive:
        archive.writestr("a.py", "x")
    odd = bytearray((tmp_path / "odd.whl").read_bytes())
    odd[odd.index(b"PK\x01\x02") + 8] |= 1  # encrypted, it says
    odd[6] |= 1
    (tmp_path / "odd.whl").write_bytes(bytes(odd))
    with pytest.raises(InputError, match=r"^odd\.whl: cannot be read"):
        read(tmp_path / "odd.whl")
