"""A command that counts its writes, and dies at one of them where it is asked to.

``python -m tests.chaos.disturbed JSON`` does what ``python -m colbert_lab`` does; :mod:`tests.chaos.commands` says what
the JSON holds. Python's audit events tell it which of its calls change files below a folder.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import runpy
import signal
import struct
import sys
import time
from pkgutil import resolve_name
from typing import Any

COUNTER = struct.Struct("qdd")
"""Writes so far, and the times of the first and the last one."""
WRITES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")


def count_writes(counter: str, below: str, last: int | None) -> None:
    """Count what changes files below a folder from now on, and die before one of them.

    Args:
        counter: the file that holds a ``COUNTER``.
        below: the folder.
        last: number of the write before which the process kills itself; None for none.
    """
    with open(counter, "r+b") as file:  # noqa: PTH123
        shared = mmap.mmap(file.fileno(), COUNTER.size)
    own = os.getpid()

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in WRITES:
            path = given[0]
        else:
            return
        # shutil.rmtree names files by the folder that is open.
        relative = event in ("os.remove", "os.rmdir") and len(given) > 1 and given[1] not in (None, -1)
        if os.getpid() != own or isinstance(path, int) or path is None:
            return
        if not relative and not os.fsdecode(path).startswith(below):
            return
        count, first, _ = COUNTER.unpack(shared[:])
        now = time.monotonic()
        if last is not None and count + 1 == last:
            os.kill(own, signal.SIGKILL)
        shared[:] = COUNTER.pack(count + 1, first or now, now)

    sys.addaudithook(hook)


def main() -> None:
    """Execute the command."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    for name, value in asked["sizes"].items():
        module, _, constant = name.partition(":")
        assert resolve_name(name) is not None
        setattr(resolve_name(module), constant, value)
    if asked["largest"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest"], resource.RLIM_INFINITY))
    sys.argv = ["colbert_lab", *asked["arguments"]]
    count_writes(asked["counter"], asked["below"], asked["last"])
    runpy.run_module("colbert_lab", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
