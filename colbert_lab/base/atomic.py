"""Files and folders that are either whole or not there.

A write goes to a temporary name in the same folder and takes its place with one rename, so a killed
process or a full disk leaves the previous version intact. An error for want of room names what could not be written.
"""

import errno
import fcntl
import glob
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from colbert_lab.base.locks import give_back, hold
from colbert_lab.base.outside import UNSEEN

TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")
"""A name of :func:`atomic_path` and :func:`atomic_folder`."""
UNFINISHED = ".unfinished"
"""End of the name of a folder whose parts become the one without it."""
YOUNG = 60.0  # seconds in which a new temporary folder is surely locked, and a text written
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def named_when_full(path: Path) -> Iterator[None]:
    """An error in the block that says that there is no room becomes an ``OSError`` with the file's name.

    Python names no file when a write fails, and other libraries (safetensors, torch, datasets) raise errors of their
    own, or wrap one.

    Args:
        path: what the block writes.

    Raises:
        OSError: with one of ``NO_ROOM`` and the file's name.
    """
    try:
        yield
    except Exception as error:
        problem = no_room(error)
        if problem is None or (problem is error and problem.filename):
            raise
        raise OSError(problem.errno, problem.strerror, str(path)) from error


def no_room(error: BaseException) -> OSError | None:
    """The error that says that there is no room to write, among an error and its causes; None where none says so."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return error
        if not isinstance(error, OSError):  # of a library that keeps the number to itself
            for number in NO_ROOM:
                if os.strerror(number) in str(error):
                    return OSError(number, os.strerror(number))
        error = error.__cause__ or error.__context__ or error
    return None


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary file name that replaces ``path`` when the block ends without an error.

    Args:
        path: the file to write; its folder is made when missing.

    Yields:
        The temporary path to write to, in the same folder (so that the rename stays on one file system).

    Raises:
        OSError: what the write raised (no space, no permission); ``path`` then still has its old content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        with named_when_full(path):
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(path: Path, whole_with: str | None = None) -> Iterator[Path]:
    """Give a temporary folder that becomes ``path`` when the block ends without an error.

    An existing ``path`` is replaced only after the new folder is complete.

    Args:
        path: the folder to write.
        whole_with: for what several processes may make at once, all with the same content (caches): a file in it
            without which it is damaged. A whole ``path`` that is there at the end stays, so that those who read it
            are not disturbed.

    Yields:
        The temporary folder to fill.

    Raises:
        OSError: what the writes raised; an existing ``path`` is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    handle = hold(os.open(temporary, os.O_RDONLY))
    try:
        with suppress(OSError):  # where nothing can be locked, nothing is taken for abandoned
            fcntl.flock(handle, fcntl.LOCK_SH)
        with named_when_full(path):
            yield temporary
            _sync(temporary)
        temporary.chmod(0o755)
        if whole_with is not None:
            try:
                temporary.rename(path)
                return
            except OSError:
                if (path / whole_with).is_file():
                    return
        old = path.with_name(f".{path.name}.old")
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        give_back(handle)


def _sync(folder: Path) -> None:
    """Have everything in a folder on the disk, so that a power cut after the rename does not leave empty files."""
    for each in (*folder.rglob("*"), folder):
        if each.is_symlink():  # what it points to is another's
            continue
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _abandoned(path: Path) -> Iterator[Path]:
    """The temporary names of ``path`` that are not young."""
    for each in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        match = TEMPORARY.fullmatch(each.name)
        with suppress(OSError):
            if match is not None and match[1] == path.name and time.time() - each.stat().st_mtime > YOUNG:
                yield each


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary folders of killed processes that were making ``path``: nobody has them locked."""
    for folder in _abandoned(path):
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def remove_abandoned_text(path: Path) -> None:
    """Remove what killed processes left of :func:`write_text` of ``path``, which takes milliseconds.

    It is for files of the cache, which lie in no run's folder (see :func:`remove_temporaries`).

    Args:
        path: the file, there or not.
    """
    for each in _abandoned(path):
        with suppress(OSError):
            each.unlink()


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left of files and folders that they were making below ``folder``.

    Args:
        folder: what no other process writes to now.
    """
    for path in [each for each in folder.rglob(".*.tmp") if TEMPORARY.fullmatch(each.name)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


LONGEST_NAME = 200  # bytes; file systems take 255, and files get endings


@lru_cache(maxsize=4096)
def is_name(text: str, inside: bool = False) -> bool:
    """Whether a text can be a folder's or file's name that stays where it is put.

    Args:
        text: from a file that someone else may have written.
        inside: whether it may have slashes, for something further inside.
    """
    if inside and "/" in text:
        return all(is_name(part) for part in text.split("/"))
    plain = text not in ("", ".", "..") and "/" not in text and not UNSEEN.search(text)
    return plain and len(text.encode()) <= LONGEST_NAME
