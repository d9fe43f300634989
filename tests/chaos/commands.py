"""Start commands, disturb them, and see what is left of them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.server import COUNTER
from tests.conftest import ROOT

LIMIT = 240.0  # seconds after which a command counts as hanging
ORPHANS = 60.0  # seconds in which all processes of an ended command must have ended
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Blow:
    """A signal to a command, and when.

    Attributes:
        number: the signal.
        write: number of the write before which the command sends SIGKILL to itself.
        after: seconds after the first write.
        delay: seconds after the start.
        second: whether the process gets it that the command started, once there is one.
    """

    number: signal.Signals = signal.SIGKILL
    write: int | None = None
    after: float | None = None
    delay: float | None = None
    second: bool = False


@dataclass(frozen=True)
class Ended:
    """What became of a command.

    Attributes:
        status: exit status, minus the signal that killed it; None where it hung.
        out: standard output.
        err: standard error.
        writes: how often it changed files.
        span: seconds between the first and the last of these.
        before: seconds until the first.
        orphans: processes of it that did not end.
    """

    status: int | None
    out: str
    err: str
    writes: int = 0
    span: float = 0.0
    before: float = 0.0
    orphans: int = 0


def of_session(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, its = stat.read_text().rpartition(")")[2].split()[:4]
            if state != "Z" and int(its) == session:
                found.append(int(stat.parent.name))
    return found


def end_session(session: int) -> int:
    """How many processes of a session are left after a minute; they are killed."""
    end = time.monotonic() + ORPHANS
    while (left := of_session(session)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


@dataclass
class Commands:
    """Commands of one test process, one after the other, see :mod:`tests.chaos.server`."""

    folder: Path
    server: subprocess.Popen[bytes] = field(init=False)
    number: int = 0

    def __post_init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT, env=os.environ | ENVIRONMENT,
        )  # fmt: skip
        assert self._line(600) == "ready"

    def close(self) -> None:
        """End the server."""
        self.server.communicate()

    def run(
        self,
        arguments: list[str],
        below: Path,
        blow: Blow | None = None,
        largest: int = 0,
        sizes: Mapping[str, float] | None = None,
        limit: float = LIMIT,
    ) -> Ended:
        """Execute ``python -m colbert_lab``.

        Args:
            arguments: of the command.
            below: the folder whose changes are counted.
            blow: what disturbs it.
            largest: bytes that a file may have; 0 for any number.
            sizes: values of constants, by ``module:name``.
            limit: seconds after which it hangs.
        """
        self.number += 1
        files = {name: self.folder / f"{self.number}.{name}" for name in ("out", "err", "counter")}
        files["counter"].write_bytes(COUNTER.pack(0, 0.0, 0.0))
        asked = {name: str(file) for name, file in files.items()} | {
            "arguments": arguments, "below": str(below), "last": blow and blow.write, "largest": largest,
            "sizes": dict(sizes or {}),
        }  # fmt: skip
        assert self.server.stdin is not None
        begun = time.monotonic()
        self.server.stdin.write(json.dumps(asked).encode() + b"\n")
        pid = int(self._line(60) or 0)
        if blow is not None and blow.write is None:
            self._strike(pid, blow, lambda: COUNTER.unpack(files["counter"].read_bytes())[1], begun + limit)
        status = self._line(begun + limit - time.monotonic())
        if status is None:
            os.killpg(pid, signal.SIGKILL)
            self._line(60)
        writes, first, last = COUNTER.unpack(files["counter"].read_bytes())
        orphans = end_session(pid)
        out, err = (files[name].read_text(errors="replace") for name in ("out", "err"))
        for file in files.values():
            file.unlink()
        return Ended(
            None if status is None else int(status), out, err, writes, last - first, first - begun, orphans
        )

    def _strike(self, pid: int, blow: Blow, first: Callable[[], float], end: float) -> None:
        """Send the signal, unless the command ends before."""
        assert self.server.stdout is not None
        at = None if blow.delay is None else time.monotonic() + blow.delay
        while time.monotonic() < end and not select.select([self.server.stdout], [], [], 0.001)[0]:
            if at is None and first():
                at = first() + (blow.after or 0.0)
            if at is None or time.monotonic() < at:
                continue
            target = pid
            if blow.second:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                if not children:
                    continue
                target = int(children[-1])
            with suppress(ProcessLookupError):
                os.kill(target, blow.number)
            return

    def _line(self, seconds: float) -> str | None:
        """The server's next line; None when it does not come in time."""
        assert self.server.stdout is not None
        if not select.select([self.server.stdout], [], [], max(seconds, 0))[0]:
            return None
        return self.server.stdout.readline().decode().strip()


@contextmanager
def started(folder: Path) -> Iterator[Commands]:
    """A server for the block."""
    commands = Commands(folder)
    try:
        yield commands
    finally:
        commands.close()


def alone(arguments: list[str]) -> Ended:
    """Execute ``python -m colbert_lab`` as a user does."""
    try:
        done: Any = subprocess.run(
            [sys.executable, "-m", "colbert_lab", *arguments],
            capture_output=True, text=True, check=False, timeout=LIMIT, cwd=ROOT, env=os.environ | ENVIRONMENT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as hung:
        return Ended(None, "", str(hung))
    return Ended(done.returncode, done.stdout, done.stderr)
