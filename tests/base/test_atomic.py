"""Writes that fail, run out of disk or are killed leave what was there before."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.base.atomic import (
    NO_ROOM,
    atomic_folder,
    atomic_path,
    is_name,
    named_when_full,
    remove_abandoned_text,
    write_text,
)
from colbert_lab.base.logs import logged_to, start_logging
from colbert_lab.model.encode import Resumable
from colbert_lab.records.records import Record, append_records
from colbert_lab.training.phase_files import MetricsFile


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


def test_all_of_a_folder_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    sync, rename = os.fsync, Path.rename

    def note(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        sync(handle)

    def check(path: Path, target: Path) -> Any:
        assert {path.stat().st_ino, *(each.stat().st_ino for each in path.rglob("*"))} <= synced
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "rename", check)
    with atomic_folder(tmp_path / "made") as folder:
        (folder / "below").mkdir()
        (folder / "one").write_text("1")
        (folder / "below" / "two").write_text("2")
    assert (tmp_path / "made" / "below" / "two").read_text() == "2"


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
from colbert_lab.base.atomic import atomic_folder, atomic_path, write_text
from colbert_lab.base.locks import one_maker

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


def test_the_folder_that_a_killed_process_was_making_is_removed_and_no_other(tmp_path: Path) -> None:
    names = ["out.ab_12xyz", "out.ab_34xyz", "out.more.ab_12xyz", "other.ab_12xyz"]
    folders = [tmp_path / f".{name}.tmp" for name in names]
    for folder in folders:
        (folder / "below").mkdir(parents=True)
    with atomic_folder(tmp_path / "out") as alive:
        for folder in (alive, *(each for each in folders if each.name != ".out.ab_34xyz.tmp")):
            os.utime(folder, (time.time() - 600,) * 2)
        with atomic_folder(tmp_path / "out") as second:
            (second / "whole").touch()
        assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "out", alive, *folders[1:]])


def test_what_a_killed_process_left_of_a_kept_text_is_removed_and_no_other(tmp_path: Path) -> None:
    for name in (".kept.json.ab_12xyz.tmp", ".kept.json.young_12.tmp", ".more.json.ab_12xyz.tmp"):
        (tmp_path / name).touch()
        if "young" not in name:
            os.utime(tmp_path / name, (time.time() - 600,) * 2)
    remove_abandoned_text(tmp_path / "kept.json")
    assert {path.name for path in tmp_path.iterdir()} == {
        ".kept.json.young_12.tmp",
        ".more.json.ab_12xyz.tmp",
    }
    remove_abandoned_text(tmp_path / "nowhere" / "kept.json")


def test_whatever_says_that_there_is_no_room_is_blamed_on_the_file(tmp_path: Path) -> None:
    for number in NO_ROOM:
        told = f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})"
        with pytest.raises(OSError, match=os.strerror(number)) as caught, named_when_full(tmp_path / "file"):
            raise RuntimeError(told)
        assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "file"))
    full = Path("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        append_records(
            full, [Record(run_id="x", system="bm25", dataset="d", split="s", measure="m", value=0.5)]
        )
    assert caught.value.filename == str(full)
    metrics = MetricsFile(tmp_path / "metrics.csv", 0)
    metrics.path = full
    with pytest.raises(OSError, match="No space left on device") as caught:
        metrics.log_metrics({"loss": 0.5}, 1)
    assert caught.value.filename == str(full)


def test_mapped_memory_has_its_room_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "folder" / "partial.values"
    resumable = Resumable(file, (100, 16), torch.float32)
    assert file.stat().st_blocks * 512 >= file.stat().st_size == 6400
    resumable.emb_TD[:] = 1.0
    resumable.save(3, at_once=True)
    again = Resumable(file, (100, 16), torch.float32)
    assert (again.done, float(again.emb_TD.sum())) == (3, 1600.0)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        Resumable(file, (200, 16), torch.float32)
    assert caught.value.filename == str(file)
    assert not file.exists()


def test_a_log_on_a_full_disk_is_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.log").symlink_to("/dev/full")
    with logged_to(tmp_path / "run.log", start_logging()):
        logging.getLogger("colbert_lab").warning("said")
    assert capsys.readouterr().err == "said\n"


def test_names_stay_where_they_are_put() -> None:
    for text in ("a", "a b", "é", "a.b", "...", "~"):
        assert is_name(text)
    for text in ("", ".", "..", "a/b", "/a", "a\0", "a\nb", "\ud83d", "x" * 201, "é" * 101):
        assert not is_name(text)
    assert is_name("a/b", inside=True)
    for text in ("/a", "a/../b", "a//b", "a/"):
        assert not is_name(text, inside=True)
