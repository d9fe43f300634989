"""Disturb commands, have the same command go on to the end, and compare with one that was left alone."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colbert_lab.base.stopping import GO_ON
from tests.chaos.commands import Blow, Commands, Ended, alone
from tests.chaos.figures import Figures
from tests.chaos.kinds import KINDS, SMALL, Material, different, found

MOMENTARY = re.compile(r"\..+\.(tmp|[0-9a-f]{12})")
"""Names that something has for a moment."""
NAMED = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138}
"""Signals that end a command in order, and its exit status then."""


@dataclass
class Arena:
    """Commands of one test process, and what each kind leaves when nobody disturbs it."""

    commands: Commands
    material: Material
    folder: Path
    number: int = 0
    whole: dict[str, tuple[Ended, dict[str, Any]]] = field(default_factory=dict)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)

    def undisturbed(self, kind: str) -> tuple[Ended, dict[str, Any]]:
        """What a command does and leaves, executed once."""
        if kind not in self.whole:
            with self.root() as root:
                ended = self.run(kind, root)
                assert ended.status == 0, ended.err
                self.whole[kind] = ended, found(root)
                self.sizes[kind] = {
                    place.name: sum(each.stat().st_size for each in place.rglob("*") if each.is_file())
                    for place in root.iterdir()
                }
        return self.whole[kind]

    @contextmanager
    def root(self) -> Iterator[Path]:
        """A new folder for the block."""
        self.number += 1
        root = self.folder / f"root{self.number}"
        root.mkdir()
        try:
            yield root
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def run(self, kind: str, root: Path, blow: Blow | None = None, largest: int = 0) -> Ended:
        """Execute a command of a kind below a folder."""
        return self.commands.run(
            KINDS[kind](self.material, root), root, blow, largest=largest, sizes=SMALL.get(kind)
        )

    def blow(self, kind: str, dice: random.Random, number: signal.Signals = signal.SIGKILL) -> Blow:
        """A moment at which something is in flight, as an undisturbed command showed; at times before that."""
        ended, _ = self.undisturbed(kind)
        if number == signal.SIGKILL and dice.random() < 0.5:
            return Blow(write=dice.randint(1, ended.writes))
        second = kind == "ddp" and number == signal.SIGKILL and dice.random() < 0.5
        if number == signal.SIGKILL and dice.random() < 0.1:
            return Blow(number, delay=dice.uniform(0, ended.before))
        return Blow(number, after=dice.uniform(0, ended.span), second=second)

    def strike(self, kind: str, blow: Blow, figures: Figures, as_user: bool = False) -> None:
        """Disturb one command, and end it.

        Args:
            kind: of the command.
            blow: what disturbs it.
            figures: where it is counted.
            as_user: go on in a process that shares nothing with this one.
        """
        writes = self.undisturbed(kind)[0].writes
        with self.root() as root:
            ended = self.run(kind, root, blow)
            figures.times += 1
            what = f"{figures.what}, {blow}"
            if ended.status == 0 or (blow.number in NAMED and ended.writes >= writes):
                figures.fell["after"] += 1
            else:
                third = min(3 * ended.writes // writes, 2)
                figures.fell["before" if not ended.writes else ("first", "second", "last")[third]] += 1
            self.check_end(ended, blow, what, figures, ended.writes >= writes)
            self.go_on(kind, root, what, figures, as_user)

    def check_end(self, ended: Ended, blow: Blow, what: str, figures: Figures, done: bool) -> None:
        """Whether a disturbed command ended as it should; when all was ``done``, no handler is there any more."""
        figures.orphans += ended.orphans
        if ended.status is None:
            figures.hangs += 1
            figures.problems.append(f"{what}: hangs: {ended.err[-2000:]}")
            return
        if "Traceback" in ended.err:
            figures.tracebacks += 1
            figures.problems.append(f"{what}: {ended.err[-3000:]}")
        if ended.status == 0 or (done and ended.status == -blow.number):
            return
        last = (ended.err.splitlines() or [""])[-1]
        if blow.number in NAMED:
            right = ended.status == NAMED[blow.number] and last == f"stopped by {blow.number.name}; {GO_ON}"
        elif blow.second:
            right = ended.status == 137 and last.startswith(
                "stopped: the process with rank 1 was ended by SIGKILL"
            )
        else:
            right = ended.status == -signal.SIGKILL
        if not right:
            figures.problems.append(f"{what}: ended with {ended.status}: {ended.err[-1000:]}")

    def go_on(self, kind: str, root: Path, what: str, figures: Figures, as_user: bool = False) -> None:
        """Execute the same command to the end, and compare."""
        long_ago = time.time() - 3660  # what is younger may be of another process, and stays
        for path in root.rglob(".*"):
            if MOMENTARY.fullmatch(path.name):
                os.utime(path, (long_ago, long_ago), follow_symlinks=False)
        if kind == "convert" and (root / "results" / "out").is_dir():
            self.compare(kind, root, what, figures)  # it was done, and what is there is not written again
            return
        ended = (
            alone(KINDS[kind](self.material, root)) if as_user and kind not in SMALL else self.run(kind, root)
        )
        figures.orphans += ended.orphans
        if ended.status != 0:
            figures.hangs += ended.status is None
            figures.problems.append(f"{what}: does not go on ({ended.status}): {ended.err[-3000:]}")
            return
        self.compare(kind, root, what, figures)

    def compare(self, kind: str, root: Path, what: str, figures: Figures) -> None:
        """Whether a command left what an undisturbed one leaves."""
        _, whole = self.undisturbed(kind)
        there = found(root)
        figures.files += len(whole)
        for name in different(whole, there):
            if name in whole:
                figures.different += 1
                figures.problems.append(
                    f"{what}: {name}: {str(there.get(name))[:600]} for {str(whole[name])[:600]}"
                )
            else:
                figures.left += 1
                figures.problems.append(f"{what}: left over: {name}")


def can_mount(folder: Path) -> str | None:
    """Why a small file system cannot be mounted there; None where it can."""
    try:
        with small_disk(folder):
            return None
    except (OSError, subprocess.CalledProcessError) as problem:
        told = getattr(problem, "stderr", None)
        return f"a small file system cannot be mounted: {(told or str(problem)).strip()}"


@contextmanager
def small_disk(folder: Path, size: int = 2**24) -> Iterator[Path]:
    """A file system of some bytes in memory, for the block."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["mount", "-t", "tmpfs", "-o", f"size={size}", "chaos", str(folder)]
    subprocess.run(options, check=True, capture_output=True, text=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def remount(folder: Path, how: str) -> None:
    """Make a file system ``ro`` or ``rw``."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True, capture_output=True)
