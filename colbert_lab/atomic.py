"""Files and folders that are either whole or not there.

A write goes to a temporary name in the same folder and takes its place with one rename, so a killed
process or a full disk leaves the previous version intact.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield temporary
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


@contextmanager
def one_maker(path: Path) -> Iterator[None]:
    """Let one process at a time make ``path``; others wait, and find it made.

    The right ends with the process, also when it is killed. Where a file system cannot lock, nobody waits: then
    each makes it, which is safe as the writes are atomic.

    Args:
        path: the file or folder that the block makes where it is missing.
    """
    lock = path.with_name(f".{path.name}.lock")
    handle = _locked(lock)
    try:
        yield
    finally:
        if handle is not None:
            lock.unlink(missing_ok=True)
            os.close(handle)


def _locked(lock: Path) -> int | None:
    """The open and locked file; None where that is not possible."""
    while True:
        handle = None
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if lock.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        except FileNotFoundError:
            pass  # its former owner removed it while this process waited
        except OSError:
            if handle is not None:
                os.close(handle)
            return None
        if handle is not None:
            os.close(handle)
