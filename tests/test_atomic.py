"""Writes that fail, run out of disk or are killed leave what was there before."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.atomic import atomic_folder, atomic_path, one_maker, write_text


class Failed(RuntimeError):
    """What a test raises in the middle of a write."""


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "file", "größer\n")
    assert (tmp_path / "new" / "file").read_bytes() == "größer\n".encode()
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == 0o644
    write_text(tmp_path / "new" / "file", "other")
    assert content(tmp_path) == {"new/file": "other"}


def test_a_file_is_not_seen_before_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("new")
        assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("before", [{}, {"file": "old"}])
def test_a_failing_write_leaves_the_old_file_and_no_temporary_one(
    before: dict[str, str], tmp_path: Path
) -> None:
    for name, text in before.items():
        (tmp_path / name).write_text(text)

    def write() -> None:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("half of it")
            raise Failed

    with pytest.raises(Failed):
        write()
    assert content(tmp_path) == before


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "a" / "folder") as temporary:
            (temporary / text).write_text(text)
            (temporary / "below").mkdir()
            (temporary / "below" / "file").write_text(text)
    assert content(tmp_path) == {"a/folder/new": "new", "a/folder/below/file": "new"}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["folder"]
    assert (tmp_path / "a" / "folder").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("before", [{}, {"folder/file": "old"}])
def test_a_failing_write_leaves_the_old_folder_and_no_temporary_one(
    before: dict[str, str], tmp_path: Path
) -> None:
    for name, text in before.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)

    def write() -> None:
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "file").write_text("half of it")
            raise Failed

    with pytest.raises(Failed):
        write()
    assert content(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == list({name.split("/")[0] for name in before})


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("old")
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Any:
        if path.name.endswith(".tmp"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    def write() -> None:
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "file").write_text("new")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="No space left"):
        write()
    assert content(tmp_path) == {"folder/file": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


LIMIT = 1000  # bytes that a file may have; a write beyond fails as on a full disk
PROCESS = """
import os, resource, signal, sys
from pathlib import Path
from colbert_lab.atomic import atomic_folder, atomic_path, one_maker, write_text

def write_file(path, text):
    write_text(path, text)

def write_by_parts(path, text):
    with atomic_path(path) as temporary, temporary.open("w") as file:
        for character in text:
            file.write(character)

def write_folder(path, text):
    with atomic_folder(path) as temporary:
        (temporary / "first").write_text("small")
        (temporary / "second").write_text(text)

def killed_in_file(path, text):
    with atomic_path(path) as temporary:
        temporary.write_text(text[:10])
        os.kill(os.getpid(), signal.SIGKILL)

def killed_in_folder(path, text):
    with atomic_folder(path) as temporary:
        (temporary / "first").write_text(text[:10])
        os.kill(os.getpid(), signal.SIGKILL)

write, path, limit, size = globals()[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    write(path, "x" * size)
except OSError as error:
    sys.exit(error.errno)
"""


def in_process(write: str, path: Path, size: int) -> int:
    """Exit status of a process that writes: the number of its OSError, or minus the signal that killed it."""
    arguments = [sys.executable, "-c", PROCESS, write, str(path), str(LIMIT), str(size)]
    return subprocess.run(arguments, check=False).returncode


@pytest.mark.parametrize("write", ["write_file", "write_by_parts"])
def test_a_full_disk_leaves_the_old_file(write: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    assert in_process(write, tmp_path / "file", LIMIT + 1) == errno.EFBIG
    assert content(tmp_path) == {"file": "old"}
    assert in_process(write, tmp_path / "file", LIMIT) == 0
    assert content(tmp_path) == {"file": "x" * LIMIT}


def test_a_full_disk_leaves_the_old_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("old")
    assert in_process("write_folder", tmp_path / "folder", LIMIT + 1) == errno.EFBIG
    assert content(tmp_path) == {"folder/file": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert in_process("write_folder", tmp_path / "folder", LIMIT) == 0
    assert content(tmp_path) == {"folder/first": "small", "folder/second": "x" * LIMIT}


def test_a_killed_process_leaves_the_old_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("old")
    assert in_process("killed_in_file", tmp_path / "file", LIMIT) == -9
    assert in_process("killed_in_folder", tmp_path / "folder", LIMIT) == -9
    assert (tmp_path / "file").read_text() == "old"
    assert content(tmp_path / "folder") == {"file": "old"}
    assert in_process("write_file", tmp_path / "file", 3) == 0
    assert in_process("write_folder", tmp_path / "folder", 3) == 0
    assert (tmp_path / "file").read_text() == "xxx"
    assert content(tmp_path / "folder") == {"first": "small", "second": "xxx"}


@pytest.mark.parametrize(("there", "left"), [("whole", "theirs"), ("damaged", "ours")])
def test_of_two_makers_of_a_cache_the_first_one_stays(there: str, left: str, tmp_path: Path) -> None:
    """The other one's readers are not disturbed; a damaged folder is replaced all the same."""
    with atomic_folder(tmp_path / "cache", whole_with="meta") as ours:
        for name in ("data", "meta"):
            (ours / name).write_text("ours")
        with atomic_folder(tmp_path / "cache", whole_with="meta") as theirs:
            (theirs / "data").write_text("theirs")
            if there == "whole":
                (theirs / "meta").write_text("theirs")
    assert (tmp_path / "cache" / "data").read_text() == left
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_one_maker_at_a_time(tmp_path: Path) -> None:
    """Processes that find a cache missing at once: one makes it, the others wait and find it; also after a kill."""
    code = (
        "import sys, time; from pathlib import Path; from colbert_lab.atomic import one_maker\n"
        f"path = Path({str(tmp_path)!r}) / 'deep' / 'cache'\n"
        "with one_maker(path):\n"
        "    if not path.exists():\n"
        "        print('making', flush=True); time.sleep(float(sys.argv[1])); path.write_text('made')\n"
    )

    def start(seconds: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", code, seconds], stdout=subprocess.PIPE, text=True)

    killed = start("60")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "making\n"
    others = [start("0.3") for _ in range(4)]
    killed.kill()
    killed.communicate()
    assert sorted(each.communicate()[0] for each in others) == ["", "", "", "making\n"]
    assert (tmp_path / "deep" / "cache").read_text() == "made"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["cache"]


def test_a_folder_that_cannot_be_written_keeps_nobody_waiting() -> None:
    with one_maker(Path("/dev/null/cache")):
        pass
