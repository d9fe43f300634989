"""Which process executes a run, and what killed ones left.

A process has ``.lock`` in the run's folder locked for as long as it executes the run. Where a file system cannot lock,
the process id counts, and that the process began before the run: another one may have the id by now.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from colbert_lab.base.atomic import remove_temporaries
from colbert_lab.base.errors import InputError
from colbert_lab.base.locks import give_back, is_held, take_lock

log = logging.getLogger(__name__)
LOCK_FILE = ".lock"
PATIENCE = 2.0  # seconds; whoever only looks at a run, or tidies it, has its lock for a moment
OLD = 3600.0  # seconds after which a name that is taken for a moment is a leftover
EMPTY = 7  # bytes of the header of W&B's files
_owned: dict[Path, int] = {}
"""The locks of runs that this process executes."""
_executed: set[Path] = set()
"""Their folders, also where nothing can be locked."""


def take_run(run: Path, status: Callable[[], Mapping[str, Any]]) -> None:
    """Make a run this process' until :func:`leave_run` or until it ends, and remove what a killed one left there.

    Args:
        run: its folder, which is made when missing.
        status: reads its ``status.json``.

    Raises:
        InputError: another process is executing the run.
    """
    run.mkdir(parents=True, exist_ok=True)
    lock = run / LOCK_FILE
    if lock in _owned:
        return
    locked_before = lock.is_file()
    try:
        handle = take_lock(lock, PATIENCE)
    except BlockingIOError:
        raise InputError(_taken(run, lock.read_text(encoding="utf-8", errors="replace"))) from None
    if handle is None:
        log.warning(
            "%s cannot be locked: whether another process executes the run is known by its id and the time of its "
            "start alone, and on this machine alone",
            run,
        )
    before = status()
    if not (handle and locked_before) and before.get("status") == "running" and _lives(before):
        if handle is not None:
            lock.unlink(missing_ok=True)
            give_back(handle)
        raise InputError(_taken(run, f"process {before['pid']}"))
    if handle is not None:
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} of {socket.gethostname()}".encode())
        _owned[lock] = handle
        _tidy(run)
    _executed.add(run.resolve())


def leave_run(run: Path) -> None:
    """Let other processes take a run."""
    _executed.discard(run.resolve())
    lock = run / LOCK_FILE
    if (handle := _owned.pop(lock, None)) is not None:
        lock.unlink(missing_ok=True)
        give_back(handle)


def owned(run: Path) -> bool:
    """Whether this process executes a run."""
    return run.resolve() in _executed


def _taken(run: Path, who: str) -> str:
    return f"the run {run} is being executed by {who or 'another process'}; wait for it, or end it first"


def executing(status: Mapping[str, Any], path: Path | None = None) -> bool | None:
    """Whether the process that a status names lives and is another than this one.

    Args:
        status: content of a ``status.json``.
        path: the run's folder, whose lock says more than the status does.

    Returns:
        None where that cannot be known: the process was started on another machine, or is not named.
    """
    if path is not None and path / LOCK_FILE not in _owned:
        held = is_held(path / LOCK_FILE)
        # Not every file system tells one machine of the locks of another.
        if held or (held is False and status.get("host") == socket.gethostname()):
            return held
    return _lives(status)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a name's folder; what a live process has there stays.

    Args:
        folder: ``<output_dir>/<name>``.
    """
    for lock in folder.glob(
        f"*/{LOCK_FILE}"
    ):  # of runs that are executed now, or were when their process was killed
        if lock.parent.is_symlink() or lock in _owned:
            continue
        with suppress(BlockingIOError):
            if (handle := take_lock(lock, wait=0)) is not None:
                _tidy(lock.parent)
                give_back(handle)
    for path in (*folder.glob(".*"), *folder.glob("sweeps/.*")):
        if re.fullmatch(r"\..+\.[0-9a-f]{12}", path.name) and (path.is_symlink() or path.is_file()):
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > OLD:
                    path.unlink()


def _tidy(run: Path) -> None:
    """Remove unfinished files of a run whose lock this process has, and offline W&B folders without any data."""
    remove_temporaries(run)
    for folder in run.glob("wandb/offline-run-*"):
        if not any(file.stat().st_size > EMPTY for file in folder.glob("run-*.wandb")):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(status: Mapping[str, Any]) -> bool | None:
    """What :func:`executing` says without a lock: by process id, and by when that process began."""
    pid, started = status.get("pid"), status.get("started")
    if status.get("host") != socket.gethostname() or not isinstance(pid, int):
        return None
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    born = _born(pid)
    return born is None or not isinstance(started, int | float) or born <= started + 1


def _born(pid: int) -> float | None:
    """When a process began, in seconds since 1970; infinity for one that has ended, None where there is no /proc."""
    try:
        # Fields 3 and 22 of proc(5); the name before them may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] == "Z":
        return math.inf
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")
