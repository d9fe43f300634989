"""Start commands, disturb them, and see what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import forked
from tests.chaos.disturbed import COUNTER
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
    """Commands of one test process, one after the other, see :mod:`tests.chaos.disturbed`."""

    folder: Path
    number: int = 0

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
        asked = {
            "arguments": arguments, "below": str(below), "counter": str(files["counter"]),
            "last": blow and blow.write, "largest": largest, "sizes": dict(sizes or {}),
        }  # fmt: skip
        begun = time.monotonic()
        with files["out"].open("w") as out, files["err"].open("w") as err:
            process = forked.Python(
                ["-m", "tests.chaos.disturbed", json.dumps(asked)], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                cwd=ROOT, env=os.environ | ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
        if blow is not None and blow.write is None:
            self._strike(
                process, blow, lambda: COUNTER.unpack(files["counter"].read_bytes())[1], begun + limit
            )
        status: int | None = None
        try:
            status = process.wait(begun + limit - time.monotonic())
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        writes, first, last = COUNTER.unpack(files["counter"].read_bytes())
        orphans = end_session(process.pid)
        told, wrong = (files[name].read_text(errors="replace") for name in ("out", "err"))
        for file in files.values():
            file.unlink()
        return Ended(status, told, wrong, writes, last - first, first - begun, orphans)

    def _strike(self, process: forked.Python, blow: Blow, first: Callable[[], float], end: float) -> None:
        """Send the signal, unless the command ends before."""
        at = None if blow.delay is None else time.monotonic() + blow.delay
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.001)
            if at is None and first():
                at = first() + (blow.after or 0.0)
            if at is None or time.monotonic() < at:
                continue
            target = process.pid
            if blow.second:
                others = forked.children(process.pid)
                if not others:
                    continue
                target = others[-1]
            with suppress(ProcessLookupError):
                os.kill(target, blow.number)
            return


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
