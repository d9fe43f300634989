"""Commands that are killed, or that a signal ends: the same command goes on, and ends as if nothing had been."""

from __future__ import annotations

import random
import signal
from typing import Any

import pytest

from tests.chaos.arena import NAMED, Arena
from tests.chaos.commands import Blow
from tests.chaos.figures import Figures

SHARES = {
    "train": 16, "score": 8, "mine": 8, "convert": 4, "sweep": 7, "evaluate": 6, "evaluate_in_memory": 5, "ddp": 6,
}  # fmt: skip
"""Of 60 kills, how many hit a command of each kind."""
SIGNALLED = ("train", "score", "mine", "sweep", "evaluate", "ddp")


def kill(arena: Arena, kind: str, times: int, seed: str, as_user: bool = False) -> Figures:
    """Kill a kind of command at seeded moments; a command that was faster than its blow is no kill."""
    figures, dice = Figures(f"SIGKILL: {kind.replace('_', ' ')}"), random.Random(f"{seed} {kind}")
    while figures.times - figures.fell["after"] < times and figures.times < 2 * times:
        arena.strike(kind, arena.blow(kind, dice), figures, as_user and not figures.times)
    return figures


@pytest.mark.slow
def test_a_share_of_kills(arena: Arena, record_property: Any) -> None:
    kill(arena, "train", 1, "share").done(record_property)
    kill(arena, "mine", 2, "share").done(record_property)
    figures = Figures("SIGTERM: mine")
    arena.strike("mine", Blow(signal.SIGTERM, after=0.1), figures)
    figures.done(record_property)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", SHARES)
def test_kills(kind: str, arena: Arena, record_property: Any, pytestconfig: pytest.Config) -> None:
    times = -(-SHARES[kind] * pytestconfig.getoption("--kills") // 60)
    figures = kill(arena, kind, times, pytestconfig.getoption("--chaos-seed"), as_user=True)
    figures.done(record_property)
    assert figures.times - figures.fell["after"] >= times
    assert figures.fell["before"] <= times // 2  # most of them in the middle of work


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", SIGNALLED)
def test_signals(kind: str, arena: Arena, record_property: Any, pytestconfig: pytest.Config) -> None:
    figures = Figures(f"SIGTERM, SIGINT, SIGUSR1: {kind}")
    dice = random.Random(f"signals {pytestconfig.getoption('--chaos-seed')} {kind}")
    for number in NAMED:
        arena.strike(kind, arena.blow(kind, dice, number), figures)
    figures.done(record_property)
