"""What ends a command from outside: signals, and the loss of a process that works with it."""

from __future__ import annotations

import math
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from colbert_lab.base.interruptions import Interrupted, ProcessLost, TimeOver


class StopSignal:
    """A signal handler that raises :class:`Interrupted`; in a forked child, the child ends without a word.

    While a phase trains, SIGTERM and SIGUSR1 first ask it to save after the step that it is at; when that takes longer
    than there is time, and at a second signal, it raises as well.
    """

    def __init__(self) -> None:
        self.process = os.getpid()

    def __call__(self, number: int, _: FrameType | None) -> None:
        """End the command."""
        if os.getpid() != self.process:
            os._exit(exit_status(Interrupted(number)))
        _command.called = time.monotonic()
        if _command.at_steps and not (_command.asked or _command.lost or number == signal.SIGINT):
            _command.asked = number
            _command.later = threading.Timer(GRACE, os.kill, [self.process, number])
            _command.later.daemon = True
            _command.later.start()
            return
        stop_now(number)


GO_ON = "the same command goes on from the last checkpoint or finished part"
PARENT = "COLBERT_LAB_PARENT"
"""Tells a process which one started it, and that it is to end with that one."""
LOOK = 0.5  # seconds between looks at other processes
PATIENCE = 3.0  # seconds for the main thread to find out by itself, or to answer a signal
GRACE = 20.0  # seconds to end in order


@dataclass
class _Command:
    """What signals do to this process.

    Attributes:
        handled: whether signals are the command line's.
        answered: whether the main thread has got one, and ends.
        called: when the main thread last got one.
        at_steps: whether a phase trains, which can end after a step.
        asked: the signal that asks it to.
        later: sends that signal once more.
        lost: what became of a process that works with this one.
        parent: the process that started this one and that it ends with.
    """

    handled: bool = False
    answered: bool = False
    called: float = -math.inf
    at_steps: bool = False
    asked: int = 0
    later: threading.Timer | None = None
    lost: ProcessLost | None = None
    parent: int | None = None


_command = _Command()


def stop_at_steps(possible: bool) -> None:
    """Say whether signals are to wait for the end of a step, see :func:`stop_asked`."""
    _command.at_steps = possible


def stop_asked() -> int:
    """The number of the signal that asks to end after this step; 0 for none."""
    return _command.asked


def stop_now(number: int, instead: Interrupted | None = None) -> NoReturn:
    """Raise what a signal, the loss of a process, or something instead of a signal ends the command with."""
    _command.answered, _command.at_steps = True, False
    if _command.later is not None:
        _command.later.cancel()
    raise _command.lost or instead or Interrupted(number)


started: list[subprocess.Popen[bytes]] = []
"""Processes that work together with this one, and that it started: ranks 1, 2, ..."""


def signals_handled() -> bool:
    """Whether signals are the command line's, see :func:`stopped_by_signals`."""
    return _command.handled


@contextmanager
def stopped_by_signals(first: bool = True) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGUSR1 end what the block does with :class:`Interrupted`, see :class:`StopSignal`.

    For the command line alone: only the main thread can have handlers, and the previous ones are back after the block.
    SIGINT stays ignored where the process was started to ignore it (``nohup``).

    Args:
        first: whether this is the first or only process of those that work together. The others end at once, also when
            they wait for one another where no Python runs: what they write is whole or not there, and the first one
            notices.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = StopSignal() if first else signal.SIG_DFL
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, handler)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, handler)
    if (
        signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    ):  # which SLURM sends to all processes some time before it ends them
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, handler if first else signal.SIG_IGN)
    vars(_command).update(vars(_Command(handled=True)))
    if parent := os.environ.pop(PARENT, None):
        _command.parent = int(parent)
        threading.Thread(target=_end_with, args=[int(parent)], daemon=True).start()
    try:
        yield
    finally:
        if _command.later is not None:
            _command.later.cancel()
        vars(_command).update(vars(_Command(answered=_command.answered)))  # the next one is asked nothing
        for number, earlier in before.items():
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


def _end_with(parent: int) -> None:
    """End this process once the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    if os.environ.get("LOCAL_RANK", "1") == "1":
        with suppress(OSError):
            print(
                f"stopped: the process that started this one (process id {parent}) is gone; {GO_ON}",
                file=sys.stderr,
            )
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


def watch(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End this process when one of those that work with it ends with an error, and them with this one.

    The main thread may wait for another process where no Python runs, and no signal handler. A thread looks after both:
    it sees signals where Python's own part of a handler has not run, and ends the others, so that the wait is over.

    Args:
        processes: what this process has just started, by rank.
    """
    started.extend(processes)
    seen, written = socket.socketpair()
    for end in (seen, written):
        end.setblocking(False)
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a child's signals are its own
    threading.Thread(target=_watch, args=[seen, written], daemon=True).start()


def _watch(seen: socket.socket, _: socket.socket) -> None:
    while started and not _command.answered:
        stop: Interrupted | None = lost_process()
        if stop is None and select.select([seen], [], [], LOOK)[0]:
            numbers = [number for number in seen.recv(64) if isinstance(signal.getsignal(number), StopSignal)]
            stop = Interrupted(numbers[0]) if numbers else None
        if stop is None:
            continue
        since = math.inf if isinstance(stop, ProcessLost) else time.monotonic() - 1
        if _until_answered(PATIENCE, since):
            continue
        if isinstance(stop, ProcessLost):
            os.kill(os.getpid(), signal.SIGTERM)
            if _until_answered(PATIENCE):
                return
        end_processes()
        if not _until_answered(GRACE, alone=False):
            say_stopped(stop)
            os._exit(exit_status(stop))


def _until_answered(seconds: float, since: float = math.inf, alone: bool = True) -> bool:
    """Whether the main thread ends, or ends the other processes, or got a signal since then, within some seconds."""
    end = time.monotonic() + seconds
    while not (_command.answered or _command.called > since or (alone and not started)):
        if time.monotonic() > end:
            return False
        time.sleep(LOOK / 10)
    return True


def lost_process() -> ProcessLost | None:
    """What became of a process that works with this one, when it has ended with an error."""
    for number, process in enumerate(list(started), 1):
        code = process.poll()
        if code and _command.lost is None:
            rank = int(os.environ.get("NODE_RANK", "0")) * (len(started) + 1) + number
            _command.lost = ProcessLost(rank, code)
    return _command.lost


def cause(error: BaseException) -> BaseException:
    """The error itself, or the loss of a process that has brought it about.

    A process that waits for another one gets an error of the connection between them, which says nothing of the reason.
    """
    together = started or _command.parent
    if together and isinstance(error, Exception) and CONNECTION.search(f"{type(error).__name__} {error}"):
        end = time.monotonic() + PATIENCE  # in which this process ends, when the one that started it is gone
        while time.monotonic() < end:
            if lost := lost_process():
                return lost
            time.sleep(LOOK / 10)
    return error


CONNECTION = re.compile(
    r"gloo|nccl|process ?group|connection (closed|reset|refused)|broken pipe|Dist\w*Error", re.I
)
"""In errors of torch.distributed."""


def end_processes() -> None:
    """End the processes that this one started to work with it; what they write is whole or not there."""
    ended = [*started]
    started.clear()
    for process in ended:
        process.kill()
    for process in ended:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)


def say_stopped(stopped: KeyboardInterrupt) -> None:
    """One line on what ended the command, and how to go on."""
    by = signal.Signals(stopped.number if isinstance(stopped, Interrupted) else signal.SIGINT).name
    what = f": {stopped}" if isinstance(stopped, ProcessLost | TimeOver) else f" by {by}"
    with suppress(OSError):
        print(f"stopped{what}; {GO_ON}", file=sys.stderr, flush=True)


def exit_status(stopped: KeyboardInterrupt) -> int:
    """128 and the signal's number, as shells count: 130 after Ctrl-C, 143 after SIGTERM; or that of a lost process."""
    if isinstance(stopped, ProcessLost):
        return stopped.status
    return 128 + (stopped.number if isinstance(stopped, Interrupted) else signal.SIGINT)
