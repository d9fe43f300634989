import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from colbert_lab.text import docstrings
from colbert_lab.text.docstrings import Docstring, read_docstrings
from colbert_lab.text.source_files import (
    SourceFile,
    distribution_files,
    files_under,
    required_distributions,
    scan_files,
    standard_library_files,
)

SOURCE = '''
"""Module text."""
raise SystemExit("this module was executed")

class Outer:
    """Class text."""
    async def method(self):
        """Method
        text."""
        def inner():
            """Inner text."""

if True:
    def conditional():
        "Lone surrogate \\ud800."
else:
    pass

def bare(): ...
'''


def test_docstrings_come_in_order_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(SOURCE)
    assert read_docstrings("pkg.m", tmp_path / "m.py") == [
        Docstring("pkg.m", "", "Module text."),
        Docstring("pkg.m", "Outer", "Class text."),
        Docstring("pkg.m", "Outer.method", "Method\ntext."),
        Docstring("pkg.m", "Outer.method.inner", "Inner text."),
        Docstring("pkg.m", "conditional", "Lone surrogate ?."),
    ]


@pytest.mark.parametrize("content", [b"def broken(:", b"\x00", b"# coding: nonsense\n", b'"""\xff"""'])
def test_unreadable_files_are_skipped(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.py").write_bytes(content)
    assert read_docstrings("m", tmp_path / "m.py") is None


def test_files_are_selected_and_named(tmp_path: Path) -> None:
    for name in (
        "p/__init__.py",
        "p/a.py",
        "p/tests/b.py",
        "p/_vendor/c.py",
        "p/d-e.py",
        "p/f.txt",
        "p/test.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [file.module for file in files_under(tmp_path)] == ["p", "p.a", "p.test"]


def test_requirements_are_closed_without_extras() -> None:
    found = required_distributions(["datasets[audio]; python_version > '3'", "numpy; python_version < '3'"])
    assert {"datasets", "numpy", "pyarrow", "filelock"} <= set(found)  # numpy through datasets
    assert "torch" not in found  # only an extra of datasets
    assert list(found) == sorted(found)
    assert "pytest" not in found
    assert required_distributions(["no-such-distribution-anywhere"]) == {}
    assert {"torch", "transformers"} <= set(required_distributions())


def test_real_sources_are_found() -> None:
    standard = {file.module for file in standard_library_files()}
    assert {"json", "json.decoder", "argparse"} <= standard
    assert not any("site-packages" in module or module.startswith("test.") for module in standard)
    assert "tqdm.std" in {file.module for file in distribution_files("tqdm")}


def make_files(tmp_path: Path, count: int) -> list[SourceFile]:
    for number in range(count):
        (tmp_path / f"m{number:03}.py").write_text(f'"""Text {number}."""\nraise SystemExit("executed")\n')
    (tmp_path / "broken.py").write_text("(")
    return [*files_under(tmp_path)]


def test_parallel_and_serial_reading_agree(tmp_path: Path) -> None:
    files = make_files(tmp_path, 450)
    found, unreadable = scan_files(files, processes=2)
    assert (found, unreadable) == docstrings.read_many(files)
    assert (len(found), unreadable) == (450, 1)
    assert [docstring.module for docstring in found] == sorted(docstring.module for docstring in found)


def test_a_failing_worker_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = make_files(tmp_path, 3)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with caplog.at_level(logging.WARNING):
        found, unreadable = scan_files(files)
    assert (len(found), unreadable) == (3, 1)
    assert "reading 4 files in this process" in caplog.text


def test_the_worker_needs_the_standard_library_only(tmp_path: Path) -> None:
    files = json.dumps([["m", str(make_files(tmp_path, 1)[1].path)]])
    command = [sys.executable, "-I", "-S", docstrings.__file__]
    output = subprocess.run(command, input=files, capture_output=True, text=True, check=True)
    assert json.loads(output.stdout) == [[["m", "", "Text 0."]], 0]
    assert not output.stderr
