"""Commands as processes that are forked from one that has imported what they import; each is killed like any other.

``python -m tests.chaos.server`` reads one command a line (JSON) and answers with the process id, then the exit status.
A forked process does what ``python -m colbert_lab`` does, in a session of its own. Python's audit events tell it which
of its calls change files: it counts those below a folder, and dies at one of them where it is asked to.
"""

from __future__ import annotations

import atexit
import gc
import json
import mmap
import os
import resource
import runpy
import signal
import struct
import sys
import threading
import time
import traceback
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


def serve() -> dict[str, Any]:
    """Fork a process for each line; what a forked one has to do is returned there, and nothing here."""
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if not pid:
            return asked
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    sys.exit()


def become(asked: dict[str, Any]) -> None:
    """Execute a command in this forked process."""
    os.setsid()
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, asked["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        handle = os.open(name, flags, 0o644)
        os.dup2(handle, number)
        os.close(handle)
    for name, value in asked["sizes"].items():
        module, _, constant = name.partition(":")
        assert resolve_name(name) is not None
        setattr(resolve_name(module), constant, value)
    if asked["largest"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest"], resource.RLIM_INFINITY))
    sys.argv = ["colbert_lab", *asked["arguments"]]
    count_writes(asked["counter"], asked["below"], asked["last"])
    status: Any = 0
    try:
        runpy.run_module("colbert_lab", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
        status = 1
    # As at the end of any process, but for the seconds that it takes to forget all modules.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    import colbert_lab.model.formats.known
    import colbert_lab.run.sweeping
    import colbert_lab.sources.mining
    import colbert_lab.teachers.cross_encoder
    import colbert_lab.text.scored_lists
    import colbert_lab.training.phase  # noqa: F401 - for those that are forked
    from colbert_lab.tasks.registry import TASKS

    for task in TASKS.values():
        resolve_name(task.function)
    gc.freeze()
    print("ready", flush=True)
    become(serve())
