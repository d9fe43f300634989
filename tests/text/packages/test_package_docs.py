"""Documentation of packages that pip fetches from a folder, and of folders of text."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.text.documentation import Documentation, documentation_splits, training_part
from colbert_lab.text.fingerprint import TwinIndex, shingle_hashes
from colbert_lab.text.installed_docs_build import Row
from colbert_lab.text.packages import fetching, package_docs
from colbert_lab.text.packages.fetching import packages_id, packages_of
from colbert_lab.text.packages.package_docs import PACKAGE_SPLITS, load_package_docs, load_text_folder
from colbert_lab.text.packages.pair_kinds import KINDS
from tests.text.packages.made import MODULES, module, offline, page, prose, sha256, write_sdist, write_wheel


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of two packages, and one without documentation."""
    folder = tmp_path_factory.mktemp("index")
    shared = module("toy.shared")
    files = {f"toy/{name}.py": module(f"toy.{name}") for name in MODULES}
    pages = {f"toy/docs/{name}.rst": page(f"{name}page") for name in MODULES}
    write_wheel(folder, "toy", files | pages | {"toy/docs/CHANGES.md": page("changes")})
    write_wheel(
        folder,
        "other",
        {"other/a.py": module("other.a", 5), "other/b.py": shared, "other/tests/c.py": shared},
    )
    bare = write_wheel(folder, "bare", {"bare.py": "x = 1\n"})
    with zipfile.ZipFile(bare) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["bare-1.0.dist-info/METADATA"] = b"Metadata-Version: 2.1\nName: bare\nVersion: 1.0\n"
    with zipfile.ZipFile(bare, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return folder


def entries(index: Path) -> list[str]:
    hashed = f"toy==1.0 --hash=sha256:{sha256(index / 'toy-1.0-py3-none-any.whl')}"
    return [hashed, "other==1.0 # held out"]


@pytest.fixture(scope="session")
def made(index: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Documentation, Path]:
    """The documentation of both packages, and the cache that has it."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as monkeypatch:
        offline(monkeypatch, index)
        return load_package_docs(entries(index), cache), cache


def test_each_kind_of_pair_is_there(made: tuple[Documentation, Path]) -> None:
    docs, _ = made
    assert docs.dataset == "package_docs"
    assert set(docs.kind_of.values()) == set(KINDS)
    texts = dict(zip(docs.corpus.ids, docs.corpus.texts, strict=True))
    query = "q:toy/toy.b:f0"
    assert docs.queries[query] == "Explain function a of toy.b."
    assert texts[docs.relevant[query]].startswith("Toybxaaa")
    parameters = [query for query, kind in docs.kind_of.items() if kind == "parameter"]
    assert docs.queries[parameters[0]].startswith("size of toy.f")
    assert texts[docs.relevant[parameters[0]]].endswith(".")
    section = next(
        query for query in docs.queries if query.startswith("q:toy/toy/docs/b.rst#How to use part a")
    )
    assert docs.queries[section] == "The book of bpage: How to use part a"
    assert texts[docs.relevant[section]] == prose("bpagesa")
    sentence = next(query for query, kind in docs.kind_of.items() if kind == "sentence")
    assert docs.queries[sentence] not in texts[docs.relevant[sentence]]
    assert not any("CHANGES" in name or "tests" in name for name in docs.corpus.ids)


def test_whole_packages_are_held_out_and_modules_of_the_rest(made: tuple[Documentation, Path]) -> None:
    docs, _ = made
    found: dict[str, set[str]] = {split: set() for split in PACKAGE_SPLITS}
    for query, document in docs.relevant.items():
        found[docs.split_of[query]].add(document.split("#")[0].split(":")[0])
    assert found["out_of_domain"]
    assert all(name.startswith("other") for name in found["out_of_domain"])
    for split in ("train", "dev", "test"):
        assert found[split]
        assert all(name.startswith("toy") for name in found[split])
    assert not found["train"] & (found["dev"] | found["test"])
    assert docs.details["held_out"] == ["other"]
    assert docs.details["packages"] == {"other": "1.0", "toy": "1.0"}
    assert sum(docs.details["kinds"].values()) == docs.details["documents"]["all"] == len(docs.corpus)


def test_near_twins_cross_no_splits(made: tuple[Documentation, Path]) -> None:
    docs, _ = made
    seen = TwinIndex()
    names = dict(zip(docs.corpus.ids, shingle_hashes(docs.corpus.texts), strict=True))
    for split in PACKAGE_SPLITS:
        own = [names[docs.relevant[query]] for query, of in docs.split_of.items() if of == split]
        assert not any(seen.has_twin(each) for each in own)
        for each in own:
            seen.add(each)


def test_documents_of_one_text_are_no_negatives_of_another_kind(made: tuple[Documentation, Path]) -> None:
    docs, _ = made
    split = training_part(docs, None, None, KINDS)
    summary = next(query for query in split.queries if docs.kind_of[query] == "summary")
    place = docs.relevant[summary]
    assert split.excluded[summary] == {f"{place}#size", f"{place}#sentence"}
    assert "test" in documentation_splits(docs, ["test", "dev", "out_of_domain"])
    one = training_part(docs, None, None, ["parameter"])
    assert (one.dataset, one.excluded) == ("package_docs parameter", {})


def test_what_is_there_needs_neither_pip_nor_archives(
    made: tuple[Documentation, Path], index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs, cache = made
    monkeypatch.setattr("subprocess.run", None)
    again = load_package_docs(list(reversed(entries(index))), cache)
    assert (again.fingerprint, again.queries, again.origin_of) == (
        docs.fingerprint,
        docs.queries,
        docs.origin_of,
    )
    copied = tmp_path / "copied"
    shutil.copytree(cache / "packages", copied / "packages")
    monkeypatch.setattr(package_docs, "scan_files", None)  # pairs are there too
    assert load_package_docs(entries(index), copied).fingerprint == docs.fingerprint
    for damaged in (copied / "packages").glob("*.parquet"):
        damaged.write_bytes(b"nothing")
    monkeypatch.undo()
    shutil.rmtree(next(copied.glob("package_docs-*")))
    assert load_package_docs(entries(index), copied).fingerprint == docs.fingerprint


def test_a_killed_process_goes_on(
    made: tuple[Documentation, Path], index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs, _ = made
    offline(monkeypatch, index)
    real = fetching._fetch
    calls: list[str] = []

    def killed(package: fetching.Package, cache_dir: Path) -> None:
        calls.append(package.key)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(package, cache_dir)

    monkeypatch.setattr(fetching, "_fetch", killed)
    with pytest.raises(KeyboardInterrupt):
        load_package_docs(entries(index), tmp_path)
    assert load_package_docs(entries(index), tmp_path).fingerprint == docs.fingerprint
    assert calls == ["other", "toy", "toy"]


def test_one_process_builds_and_others_wait(
    made: tuple[Documentation, Path], index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs, cache = made
    shutil.copytree(cache / "packages", tmp_path / "packages")
    builds: list[int] = []
    real = package_docs._rows

    def counted(packages: Sequence[fetching.Package], cache_dir: Path) -> tuple[list[Row], dict[str, Any]]:
        builds.append(1)
        return real(packages, cache_dir)

    monkeypatch.setattr(package_docs, "_rows", counted)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(load_package_docs(entries(index), tmp_path).fingerprint))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, len(builds)) == ([docs.fingerprint] * 3, 1)


def test_the_id_is_of_content(made: tuple[Documentation, Path], index: Path, tmp_path: Path) -> None:
    lines = entries(index)
    listed = tmp_path / "mine.txt"
    listed.write_text("# mine\n\n" + "\n".join(lines) + "\n")
    assert packages_id(str(listed)) == packages_id(lines) == packages_id(lines[::-1])
    assert packages_id(lines) != packages_id([lines[0], "other==1.0"])
    other = f"toy==1.0 --hash=sha256:{'0' * 64}"
    assert packages_id(lines) != packages_id([other, lines[1]])
    first = write_sdist(tmp_path / "own-1.0.tar.gz", {"own-1.0/own.py": module("own").encode()})
    moved = tmp_path / "there" / first.name
    moved.parent.mkdir()
    shutil.copy(first, moved)
    os.utime(moved, (1, 1))
    assert packages_id([str(first)]) == packages_id([str(moved)])
    docs = load_package_docs([str(first)], tmp_path / "a")
    assert docs.fingerprint == load_package_docs([str(moved)], tmp_path / "b").fingerprint
    assert "own/own:f0" in docs.corpus.ids


def test_what_pip_cannot_fetch_is_one_line(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(monkeypatch, index)
    toy, _ = entries(index)

    def refused(*packages: str) -> str:
        with pytest.raises(InputError, match=r"^data\.packages: [^\n]+$") as error:
            load_package_docs(packages, tmp_path)
        assert not list(tmp_path.rglob("*.tmp"))
        return str(error.value)

    assert "nonesuch==1.0: pip finds no such wheel; check name and version" in refused("nonesuch==1.0")
    digest = sha256(index / "toy-1.0-py3-none-any.whl")
    assert "toy==1.0: its wheel is not the one of the list" in refused(toy.replace(digest, "0" * 64))
    assert "bare: bare-1.0-py3-none-any.whl has no documentation that gives a pair" in refused("bare==1.0")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    said = refused("elsewhere==2.0")
    assert "elsewhere==2.0: is not in the cache, and pip reaches no index" in said


def test_without_pip_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 1, "", f"{sys.executable}: No module named pip")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)
    with pytest.raises(InputError, match=r"^data\.packages: a==1: this environment has no pip"):
        load_package_docs(["a==1"], tmp_path)


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        ([], "names no package; null takes the list that comes along"),
        (["a==1", "A==2"], "a is there twice; name each package once"),
        (
            ["nonesuch"],
            "=nonesuch: is not in the list that comes along; give its version too, as nonesuch==1.0",
        ),
        (["--pre"], "=--pre: is no package; write name==version"),
        (["a==1 --hash=sha256:12"], "is no package; write name==version"),
        (["a==1 # kept"], "the note after # must be 'held out', or nothing"),
        (["gone-1.0.tar.gz"], "=gone-1.0.tar.gz: no such file; name a wheel or source archive"),
        ("gone.txt", "=gone.txt: cannot be read (No such file or directory); name a file of packages"),
    ],
)
def test_a_wrong_entry_is_one_line(packages: list[str] | str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.packages[^\n]+$") as error:
        load_package_docs(packages, tmp_path)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_wrong_line_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a==1\n-r other.txt\n")
    with pytest.raises(InputError, match=r"mine\.txt:2: is no package"):
        packages_of(str(tmp_path / "mine.txt"))


def test_the_committed_list_is_pinned() -> None:
    found = packages_of(None)
    assert 60 <= len(found) <= 120
    assert all(package.sha256 and package.version for package in found)
    assert sum(package.held_out for package in found) >= 8
    first = next(package for package in found if not package.held_out)
    assert packages_of([first.name]) == [first]
    assert packages_of([f"{first.name} # held out"])[0].held_out


def test_a_folder_of_text(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    for n in range(30):
        place = folder / f"part{n % 3}" / f"page{n}.{('md', 'rst', 'txt')[n % 3]}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(
            page(f"{LETTER[n % 26]}{LETTER[n // 26]}page") if n % 3 < 2 else prose(f"t{LETTER[n % 26]}", 6)
        )
    (folder / "picture.png").write_bytes(b"\0\1")
    docs = load_text_folder(folder, tmp_path / "cache")
    assert docs.dataset == "text_folder"
    assert set(docs.kind_of.values()) == {"section", "sentence"}
    assert docs.queries["q:part0/page0.md#How to use part a"] == "The book of aapage: How to use part a"
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert load_text_folder(moved, tmp_path / "cache2").fingerprint == docs.fingerprint
    assert set(documentation_splits(docs, ["train", "dev", "test"])) == {"train", "dev", "test"}


LETTER = "abcdefghijklmnopqrstuvwxyz"


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(InputError, match=r"^data\.path=[^\n]+$") as error:
            load_text_folder(path, tmp_path / "cache")
        assert not [each for each in (tmp_path / "cache").rglob("*") if each.is_dir()]
        return str(error.value)

    folder = tmp_path / "text"
    assert "no such folder; name one with .md, .rst or .txt files" in refused(folder)
    folder.mkdir()
    (folder / "picture.png").write_bytes(b"\0")
    assert "holds no .md, .rst or .txt file; name a folder of text" in refused(folder)
    (folder / "a.md").write_text("# A short page\n\nNothing.\n")
    assert "gives no pair of a heading and its section" in refused(folder)
    (folder / "b.txt").write_bytes(b"text \0 more")
    assert "b.txt is binary, whatever its ending; take it out of the folder" in refused(folder)
    (folder / "b.txt").write_bytes("Grüße".encode("latin-1"))
    assert "b.txt is no UTF-8 text; save it as UTF-8, or take it out" in refused(folder)


def test_other_encodings_and_broken_sources_are_survived(tmp_path: Path) -> None:
    files = {
        "p/latin.py": f'# coding: latin-1\n"""Über the words of it.\n\n{prose("latin")}\n"""\n'.encode(
            "latin-1"
        ),
        "p/broken.py": b"def f(:\n",
        "p/nul.py": b"\0",
        "p/deep.py": b"(" * 100_000,
        "p/page.rst": page("Ünicode").encode("latin-1"),
        "p/wide.md": page("wide").encode("utf-16"),
        "p/binary.md": b"\0\1\2",
    }
    wheel = write_wheel(tmp_path, "p", files)
    docs = load_package_docs([str(wheel)], tmp_path / "cache")
    assert docs.queries["q:p/p.latin"] == "Über the words of it."
    assert any("The book of Ünicode" in text for text in docs.queries.values())
    assert any("The book of wide" in text for text in docs.queries.values())
