"""Full and read-only disks: one line that names the setting, nothing half-written, and the same command goes on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.arena import Arena, can_mount, remount, small_disk
from tests.chaos.commands import Ended
from tests.chaos.figures import Figures
from tests.chaos.kinds import found

DISKS = {
    "train": ("outputs", "output_dir"),
    "score": ("results", "out"),
    "mine": ("results", "out"),
    "convert": ("results", "out"),
    "evaluate": ("cache", "cache_dir"),
}
"""Of each kind: the folder that is on the small disk, and the setting that names it."""


def check_refused(ended: Ended, key: str, what: str, figures: Figures) -> None:
    """One line, which names the setting of the disk and no other."""
    figures.times += 1
    figures.orphans += ended.orphans
    if ended.status is None:
        figures.hangs += 1
    if "Traceback" in ended.err:
        figures.tracebacks += 1
    lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    others = [each for each in ("output_dir", "cache_dir", "out") if each != key]
    told = lines[0] if len(lines) == 1 and ended.err.rstrip().splitlines()[-1] == lines[0] else ""
    named = told.startswith((f"error: {key}=", f"error: {key}:")) and not any(
        f" {each}=" in told for each in others
    )
    if ended.status != 2 or not named:
        figures.problems.append(f"{what}: {ended.status}: {ended.err[-2000:]}")


def fill_up(arena: Arena, kind: str, dice: random.Random, figures: Figures) -> None:
    """Leave less room than the command needs, then make room."""
    place, key = DISKS[kind]
    with arena.root() as root, small_disk(root / place) as disk:
        needed = needs(arena, kind, place)
        size = 2**24
        free = dice.randrange(needed // 10, needed // 2)
        (disk / "filler").write_bytes(b"x" * (size - max(free, 2**15)))
        ended = arena.run(kind, root)
        check_refused(ended, key, f"{figures.what}, {free} bytes left", figures)
        (disk / "filler").unlink()
        arena.go_on(kind, root, figures.what, figures)


def needs(arena: Arena, kind: str, place: str) -> int:
    """Bytes of the finished command's files in a folder."""
    arena.undisturbed(kind)
    return arena.sizes[kind][place]


def protect(arena: Arena, kind: str, dice: random.Random, figures: Figures, begun: bool) -> None:
    """Let nothing be written, from the start or after a kill, then let it."""
    place, key = DISKS[kind]
    with arena.root() as root, small_disk(root / place) as disk:
        if begun:
            arena.run(kind, root, arena.blow(kind, dice))
        remount(disk, "ro")
        before = found(root / place)
        check_refused(arena.run(kind, root), key, f"{figures.what}, begun: {begun}", figures)
        if found(root / place) != before:
            figures.problems.append(f"{figures.what}: written to a read-only disk")
        remount(disk, "rw")
        arena.go_on(kind, root, figures.what, figures)


OUTGROWN = {
    "train": (30_000, "output_dir"),
    "score": (2500, "cache_dir"),
    "mine": (2500, "out"),
    "convert": (20_000, "out"),
    "evaluate_in_memory": (20_000, "cache_dir"),
}
"""Of each kind: bytes that are too few for a file, and the setting that says where that file is."""


def outgrow(arena: Arena, kind: str, figures: Figures) -> None:
    """Let no file have more than some bytes, as a quota does."""
    largest, key = OUTGROWN[kind]
    with arena.root() as root:
        ended = arena.run(kind, root, largest=largest)
        check_refused(ended, key, f"{figures.what}, {largest} bytes", figures)
        arena.go_on(kind, root, figures.what, figures)


@pytest.mark.slow
def test_a_share_of_full_disks(arena: Arena, record_property: Any) -> None:
    figures = Figures("share: no file may grow beyond some bytes")
    outgrow(arena, "mine", figures)
    figures.done(record_property)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_no_file_may_grow(arena: Arena, record_property: Any) -> None:
    figures = Figures("no file may grow beyond some bytes")
    for kind in OUTGROWN:
        outgrow(arena, kind, figures)
    figures.done(record_property)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_disks(arena: Arena, tmp_path: Path, record_property: Any, pytestconfig: pytest.Config) -> None:
    if reason := can_mount(tmp_path / "probe"):
        pytest.skip(reason)
    dice = random.Random(f"disks {pytestconfig.getoption('--chaos-seed')}")
    full = Figures("full disk")
    for kind in DISKS:
        fill_up(arena, kind, dice, full)
    full.tell(record_property)
    still = Figures("read-only disk")
    for number, kind in enumerate(DISKS):
        protect(arena, kind, dice, still, begun=number % 2 == 0)
    still.tell(record_property)
    full.check()
    still.check()
