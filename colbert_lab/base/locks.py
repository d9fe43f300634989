"""Locks on files and folders, which end with the process that has them."""

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_maker(path: Path) -> Iterator[None]:
    """Let one process at a time make ``path``; others wait, and find it made.

    The right ends with the process, also when it is killed. Where a file system cannot lock, nobody waits: then
    each makes it, which is safe as the writes are atomic.

    Args:
        path: the file or folder that the block makes where it is missing.
    """
    lock = path.with_name(f".{path.name}.lock")
    handle = take_lock(lock)
    try:
        yield
    finally:
        if handle is not None:
            lock.unlink(missing_ok=True)
            give_back(handle)


_held: set[int] = set()
"""Open files with a lock of this process."""


def hold(handle: int) -> int:
    """Let no forked child have what an open file locks; :func:`give_back` ends it."""
    _held.add(handle)
    return handle


def take_lock(lock: Path, wait: float = math.inf) -> int | None:
    """Lock a file, which is made when missing: it is this process' until :func:`give_back`, or until the process ends.

    A forked child does not have the lock, so it ends with the process also where a child lives on.

    Args:
        lock: the file.
        wait: seconds to wait for another process that has it.

    Returns:
        The open file; None where the file system cannot lock, and where the file cannot be made.

    Raises:
        BlockingIOError: another process has it.
    """
    end = time.monotonic() + wait
    while True:
        handle = None
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait == math.inf else fcntl.LOCK_NB))
            if lock.stat().st_ino == os.fstat(handle).st_ino:
                return hold(handle)
            os.close(handle)
        except FileNotFoundError:
            if handle is not None:  # its former owner removed it meanwhile
                os.close(handle)
        except OSError as problem:
            if handle is not None:
                os.close(handle)
            if not isinstance(problem, BlockingIOError):
                return None
            if time.monotonic() >= end:
                raise
            time.sleep(0.05)


def give_back(handle: int) -> None:
    """Let others have what :func:`take_lock` returned."""
    _held.discard(handle)
    os.close(handle)


def is_held(lock: Path) -> bool | None:
    """Whether a process has locked a file; None where there is none, and where that cannot be known."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)


def _without_locks() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_without_locks)
