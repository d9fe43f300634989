"""Bounds of negatives' scores."""

from __future__ import annotations

import pytest

from colbert_lab.errors import InputError
from colbert_lab.teachers.positive_aware import PositiveAware


@pytest.mark.parametrize(
    ("bounds", "score", "reason"),
    [
        (PositiveAware(), 100, None),
        (PositiveAware(max_score=3), 3, None),
        (PositiveAware(max_score=3), 3.1, "max_score"),
        (PositiveAware(ratio=0.5), 2, None),
        (PositiveAware(ratio=0.5), 2.1, "ratio"),
        (PositiveAware(margin=1), 3, None),
        (PositiveAware(margin=1), 3.1, "margin"),
        (PositiveAware(max_score=3, ratio=0.5, margin=3), 1.5, "margin"),
        (PositiveAware(max_score=3, ratio=0.5, margin=3), 2.5, "ratio"),
        (PositiveAware(max_score=3, ratio=0.5, margin=3), 3.5, "max_score"),
    ],
)
def test_a_score_above_a_bound_is_refused(bounds: PositiveAware, score: float, reason: str | None) -> None:
    assert bounds.reason(score, 4.0) == reason


@pytest.mark.parametrize("positive", [0.0, -2.0])
def test_a_share_of_a_score_that_is_not_above_zero_is_an_error(positive: float) -> None:
    PositiveAware(margin=1, max_score=0).check_positive("q7", positive)
    with pytest.raises(
        InputError, match=r"^mine\.filter\.ratio=0\.95: .* query q7 with .*use mine\.filter\.margin"
    ):
        PositiveAware(ratio=0.95).check_positive("q7", positive)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 0.0}, r"^mine\.filter\.ratio=0: must be above 0"),
        ({"ratio": -1.0}, r"^mine\.filter\.ratio=-1: must be above 0"),
        ({"margin": float("nan")}, r"^mine\.filter\.margin=nan: must be a finite number"),
        ({"max_score": float("inf")}, r"^mine\.filter\.max_score=inf: must be a finite"),
    ],
)
def test_bounds_that_cannot_be(values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PositiveAware(**values)
