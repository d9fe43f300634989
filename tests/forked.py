"""Python processes that start at once: they are forked from one that has imported what commands import.

A :class:`Python` is a ``subprocess.Popen`` of ``python ...``: a child of this process with its own standard streams,
environment, folder, signals and exit status. ``python -m tests.forked`` is what it is forked from; that process has one
thread and has computed nothing. A forked process keeps another one like that beside itself, named ``SPARE``, from which
the processes are forked that it starts: the second one of a run with several, or a cell of a sweep.

With :func:`fork_spawned`, processes of ``multiprocessing``'s ``spawn`` and of joblib are forked in the same way.

What a command imports, and what it reads of the environment while it imports, is not seen here: tests of that start
Python itself.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import json
import multiprocessing.util
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 2**20
"""Bytes of a request: arguments and environment."""
SUBREAPER = 36
"""``PR_SET_CHILD_SUBREAPER`` of ``prctl(2)``: whose parent has ended becomes a child of this process."""
SET_NAME = 15
"""``PR_SET_NAME`` of ``prctl(2)``."""
SPARE = "forked.spare"
SPAWNED = "--multiprocessing-fork"
"""What stands in the command of a process of ``multiprocessing``; other ones, such as its tracker, import little."""
LOKY = "joblib.externals.loky.backend.popen_loky_posix"
HANDLES = 253
"""That can be sent at once (``SCM_MAX_FD`` of Linux); tensors that a process is given have one each."""
FREE = 512
"""Handles that are received are moved there before they get their numbers."""
_spare: list[socket.socket] = []
"""Of a forked process: where its own ones are forked from."""


class Python(subprocess.Popen[str]):
    """``python ...``, forked. Takes what ``Popen`` takes, but for what is done before the program begins.

    Args:
        arguments: of Python: ``-m MODULE ...``, ``-c CODE ...`` or ``FILE ...``.
        settings: of ``Popen``.
    """

    def __init__(self, arguments: Sequence[str], **settings: Any) -> None:
        super().__init__([sys.executable, *arguments], **{"text": True, **settings})

    def _execute_child(self, args: Sequence[str], *given: Any) -> None:
        cwd, env, streams, new_session = given[4], given[5], given[9:15], given[20]
        sent = [
            own if own != -1 else number for number, own in enumerate((streams[0], streams[3], streams[5]))
        ]
        asked = {
            "arguments": [os.fspath(each) for each in args[1:]],
            "cwd": str(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
            "new_session": bool(new_session),
        }
        self.pid = _ask(asked, sent)
        self._child_created = True
        self._close_pipe_fds(*streams)  # type: ignore[attr-defined]


class Started(subprocess.Popen[Any]):
    """``Popen`` in a forked process, whose Python processes are forked too."""

    def _execute_child(self, args: Any, *given: Any) -> None:
        if not isinstance(args, str) and args[0] == sys.executable and (program := _program(args)):
            Python._execute_child(self, [sys.executable, *program], *given)  # type: ignore[arg-type]
        else:
            super()._execute_child(args, *given)  # type: ignore[misc]


def fork_spawned() -> None:
    """Fork the processes that ``multiprocessing``'s ``spawn`` and joblib would start."""
    multiprocessing.util.spawnv_passfds = _spawned(multiprocessing.util.spawnv_passfds, SPAWNED, 1)
    if find_spec("joblib"):
        module = import_module("joblib.externals.loky.backend.fork_exec")
        module.fork_exec = _spawned(module.fork_exec, LOKY, 0)  # type: ignore[attr-defined]


def _spawned(real: Callable[..., int], marked: str, first: int) -> Callable[..., int]:
    """``real``, which takes a command and the handles that the process keeps, for processes that are forked."""

    def start(*given: Any, env: dict[str, str] | None = None) -> int:
        command, kept = (
            [os.fsdecode(each) for each in given[first]],
            sorted({int(each) for each in given[first + 1]}),
        )
        if marked not in command:
            return real(*given, **({} if env is None else {"env": env}))
        asked = {
            "arguments": _program(command),
            "cwd": str(Path.cwd()),
            "environment": {**os.environ, **(env or {})},
            "new_session": False,
            "kept": kept,
        }
        return _ask(asked, [0, 1, 2, *kept])

    return start


def _program(command: Sequence[str]) -> list[str]:
    """What is run of ``python [options] ...``; nothing where it is not known how to run it."""
    rest = list(command[1:])
    while rest and rest[0] in ("-u", "-B"):
        del rest[0]
    return rest if rest and (rest[0] in ("-m", "-c") or not rest[0].startswith("-")) else []


def run(arguments: Sequence[str], timeout: float = 300, **settings: Any) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` of ``python ...``, with what it prints."""
    with Python(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def children(pid: int) -> list[int]:
    """The process ids of a live process' children, but for the one from which they are forked."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found if Path(f"/proc/{each}/comm").read_text().strip() != SPARE]


@cache
def _started() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, its = socket.socketpair()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "tests.forked", str(its.fileno())]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[its.fileno()])
    its.close()
    return ours, server


def _server() -> socket.socket:
    """Where to ask for a process."""
    return _spare[0] if _spare else _started()[0]


def _ask(asked: dict[str, Any], streams: Sequence[int]) -> int:
    """Have a process made that is a child of this one, and return its id."""
    server = _server()
    data = json.dumps(asked).encode()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(SUBREAPER, 1, 0, 0, 0)
    try:
        socket.send_fds(server, [len(data).to_bytes(4, "big") + data], list(streams))
        pid = server.recv(4)
    finally:
        libc.prctl(SUBREAPER, 0, 0, 0, 0)
    if len(pid) < 4:
        raise OSError("the process that is forked from has ended")
    return int.from_bytes(pid, "big")


def _asked(client: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next request, with the streams; None where there will be no other."""
    data, streams, _, _ = socket.recv_fds(client, LARGEST, HANDLES)
    if not data:
        return None
    while len(data) < 4 + int.from_bytes(data[:4], "big"):
        data += client.recv(LARGEST)
    return json.loads(data[4:]), streams


def _serve(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork a process for each request; it is returned there alone."""
    while (found := _asked(client)) is not None:
        reading, writing = os.pipe()
        between = os.fork()
        if not between:
            middle = os.getpid()
            if pid := os.fork():
                os.write(writing, pid.to_bytes(4, "big"))
                os._exit(0)
            while os.getppid() == middle:  # until it is a child of the process that asked
                time.sleep(1e-4)
            for each in (reading, writing):
                os.close(each)
            client.close()
            return found
        os.waitpid(between, 0)
        client.sendall(os.read(reading, 4))
        for each in (reading, writing, *found[1]):
            os.close(each)
    os._exit(0)


def _fork_spare(not_its: Iterable[int]) -> None:
    """Fork the process from which those are forked that this one starts. It ends with this one."""
    ours, its = socket.socketpair()
    if os.fork():
        its.close()
        ours.recv(1)  # it has its name
        _spare[:] = [ours]
        return
    for handle in (ours.detach(), *not_its):
        os.close(handle)
    ctypes.CDLL(None).prctl(SET_NAME, SPARE.encode(), 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    its.sendall(b".")
    _become(*_serve(its))


def _become(asked: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    """Be ``python ...``, from its first line to its end."""
    import torch
    from lightning_fabric.utilities.rank_zero import _get_rank, rank_zero_only

    ctypes.CDLL(None).prctl(SET_NAME, b"python", 0, 0, 0)
    if asked["new_session"]:
        os.setsid()
    _take_handles(streams[:3], [0, 1, 2])
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _fork_spare(streams[3:])
    _take_handles(streams[3:], asked.get("kept", []))
    subprocess.Popen = Started  # type: ignore[misc]
    fork_spawned()
    vars(rank_zero_only)["rank"] = _get_rank() or 0  # as when Lightning is imported
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    status: Any = 0
    try:
        _execute(asked["arguments"])
    except SystemExit as stop:
        status = stop.code
        if status is not None and not isinstance(status, int):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    # As at the end of any process, but for the time that it takes to forget all modules.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def _take_handles(received: Iterable[int], numbers: Sequence[int]) -> None:
    """Give what was received the numbers that it has in the process that asked. What had one of them is closed."""
    moved = []
    for handle in received:
        moved.append(fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, FREE))
        os.close(handle)
    for handle, number in zip(moved, numbers, strict=True):
        os.dup2(handle, number)
        os.close(handle)


def _execute(arguments: Sequence[str]) -> None:
    what, *rest = arguments
    if what == "-m":
        sys.argv = rest
        sys.path[0] = str(Path.cwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif what == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path[0] = ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [what, *rest]
        sys.path[0] = str(Path(what).resolve().parent)
        runpy.run_path(what, run_name="__main__")


def _import_all() -> None:
    """What commands import, and how they compose."""
    import colbert_lab.model.formats.known
    import colbert_lab.run.sweeping
    import colbert_lab.sources.mining
    import colbert_lab.teachers.cross_encoder
    import colbert_lab.text.scored_lists
    import colbert_lab.training.phase  # noqa: F401 - for those that are forked
    from colbert_lab.tasks.registry import TASKS
    from tests.composing import compose_fast

    for task in TASKS.values():
        resolve_name(task.function)
    compose_fast()


if __name__ == "__main__":
    _import_all()
    gc.freeze()
    _become(*_serve(socket.socket(fileno=int(sys.argv[1]))))
