"""Which value on dev is the best one, and when a phase ends: against numpy and Lightning's own rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping

from colbert_lab.settings.groups import PhaseSettings
from colbert_lab.training.evaluating import count_evaluations
from colbert_lab.training.selection import DevValue, Selection
from tests.training.support import phase_settings

CURVES = [np.random.default_rng(seed).integers(0, 12, 20).astype(float) / 12 for seed in range(20)]
"""Values on a coarse grid, so that some are equal."""


def selection(keep: str = "best", patience: int | None = None, min_delta: float = 0.0) -> Selection:
    early = {"measure": "ndcg@10", "patience": patience, "min_delta": min_delta}
    found = Selection.of(phase_settings(keep=keep, early_stopping=early))
    assert found is not None
    return found


def seen(curve: np.ndarray, asked: Selection) -> int | None:
    """Give a selection a curve, one value every 5 steps; the step at which it stops."""
    for n, value in enumerate(curve):
        asked.see(5 * n, float(value))
        if asked.stops:
            return 5 * n
    return None


@pytest.mark.parametrize("curve", CURVES)
def test_the_best_is_the_first_of_the_highest(curve: np.ndarray) -> None:
    asked = selection()
    assert [n for n, value in enumerate(curve) if asked.see(5 * n, float(value))] == [
        n for n in range(len(curve)) if n == 0 or curve[n] > curve[:n].max()
    ]
    first = int(np.argmax(curve))  # numpy takes the first of equal ones
    assert asked.kept == DevValue(5 * first, curve[first])
    last = selection("last", patience=100)
    assert seen(curve, last) is None
    assert (last.kept, last.best) == (DevValue(95, curve[-1]), asked.best)


@pytest.mark.parametrize("min_delta", [0.0, 1 / 12, 0.2])
@pytest.mark.parametrize("patience", [1, 2, 5])
def test_a_phase_ends_where_lightning_would_end_it(patience: int, min_delta: float) -> None:
    ends = []
    for curve in CURVES:
        theirs = EarlyStopping("dev", min_delta, patience, mode="max")
        stops = [theirs._evaluate_stopping_criteria(torch.tensor(value))[0] for value in curve]
        ends.append(5 * stops.index(True) if True in stops else None)
        assert seen(curve, selection(patience=patience, min_delta=min_delta)) == ends[-1]
    assert len(set(ends)) > 1


def test_it_goes_on_from_its_state() -> None:
    for curve in CURVES[:5]:
        whole, resumed = selection(patience=3), selection(patience=3)
        for n, value in enumerate(curve):
            again = selection(patience=3)
            again.restore(resumed.state())
            resumed = again
            assert whole.see(n, value) == resumed.see(n, value)
            assert (whole.told(20), whole.stops) == (resumed.told(20), resumed.stops)


@pytest.mark.parametrize(
    ("keep", "patience", "chooses"),
    [
        ("last", None, None),
        ("best", None, "keep=best"),
        ("best", 2, "keep=best"),
        ("last", 2, "early_stopping.patience=2"),
    ],
)
def test_what_decides_is_named(keep: str, patience: int | None, chooses: str | None) -> None:
    settings: PhaseSettings = phase_settings(keep=keep, early_stopping={"patience": patience})
    assert settings.chooses == chooses
    assert (Selection.of(settings) is None) == (chooses is None)


@pytest.mark.parametrize(
    ("done", "every", "steps", "at"),
    [
        (0, 2, 6, [0, 2, 4, 6]),
        (0, 4, 6, [0, 4, 6]),
        (0, 9, 6, [0, 6]),
        (2, 2, 6, [4, 6]),
        (5, 2, 6, [6]),
        (6, 4, 6, []),
    ],
)
def test_evaluations_are_counted(done: int, every: int, steps: int, at: list[int]) -> None:
    assert count_evaluations(done, every, steps) == len(at)
