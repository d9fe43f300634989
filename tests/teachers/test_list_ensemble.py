"""Ensembles of score lists, against cases computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from colbert_lab.errors import InputError
from colbert_lab.teachers.list_ensemble import combine
from colbert_lab.teachers.score_files import Scored


def scored(**scores: float) -> Scored:
    return Scored(list(scores), np.array(list(scores.values()), dtype=np.float64))


# Over 10, 20, 60 the mean is 30 and the deviation sqrt(1400 / 3); over 4, 2 they are 3 and 1.
A, B = scored(a=10.0, b=20.0, c=60.0), scored(c=4.0, a=2.0)
DEVIATION = math.sqrt(1400 / 3)


def combined(how: str, missing: str, *lists: Scored) -> dict[str, float]:
    members = {f"m{n}": {"q": own} for n, own in enumerate(lists)}
    found = combine(members, how, missing)["q"]
    return dict(zip(found.documents, found.scores.tolist(), strict=True))


def test_zscores_with_the_lowest_for_what_a_member_lacks() -> None:
    found = combined("zscore", "lowest", A, B)
    expected = {
        "c": (30 / DEVIATION + 1) / 2,
        "b": (-10 / DEVIATION - 1) / 2,  # B lacks it: its lowest z-score is that of a
        "a": (-20 / DEVIATION - 1) / 2,
    }
    assert found == pytest.approx(expected)
    assert list(found) == list(expected)


def test_zscores_over_the_documents_that_all_have() -> None:
    # Of A, 10 and 60 are left: mean 35, deviation 25.
    assert combined("zscore", "drop", A, B) == pytest.approx({"c": 1.0, "a": -1.0})


def test_ranks_scaled_to_one_and_zero() -> None:
    assert combined("rank", "lowest", A, B) == pytest.approx({"c": 1.0, "b": 0.25, "a": 0.0})
    assert combined("rank", "drop", A, B) == pytest.approx({"c": 1.0, "a": 0.0})
    ties = scored(a=5.0, b=5.0, c=9.0, d=1.0, e=5.0)  # a, b and e share the mean rank 3 of 5
    found = combined("rank", "lowest", ties, ties)
    assert found == pytest.approx({"c": 1.0, "e": 0.5, "b": 0.5, "a": 0.5, "d": 0.0})
    assert list(found) == ["c", "e", "b", "a", "d"]


def test_the_scale_of_a_member_does_not_matter() -> None:
    scaled = Scored(B.documents, 1000 * B.scores - 5)
    for how in ("zscore", "rank"):
        assert combined(how, "lowest", A, scaled) == pytest.approx(combined(how, "lowest", A, B))


def test_equal_scores_count_for_nothing() -> None:
    flat = scored(a=0.1, b=0.1, c=0.1)
    assert combined("zscore", "lowest", A, flat) == pytest.approx(
        {"c": 15 / DEVIATION, "b": -5 / DEVIATION, "a": -10 / DEVIATION}
    )


def test_every_member_scores_every_query() -> None:
    with pytest.raises(InputError, match=r"queries of x that y does not score: 1 \(q2\)"):
        combine({"x": {"q1": A, "q2": A}, "y": {"q1": B}}, "zscore", "lowest")
    with pytest.raises(InputError, match=r"queries of y that x does not score: 1 \(q2\)"):
        combine({"x": {"q1": A}, "y": {"q2": B, "q1": B}}, "zscore", "lowest")


def test_too_few_common_documents_are_named() -> None:
    members = {"x": {"q1": A, "q2": scored(a=1.0, b=2.0)}, "y": {"q1": B, "q2": scored(b=1.0, c=2.0)}}
    with pytest.raises(InputError, match=r"fewer than 2 documents that all files score: 1 \(q2\).*lowest"):
        combine(members, "zscore", "drop")
    none = {"x": {"q": scored(a=1.0, b=2.0)}, "y": {"q": scored(c=1.0, d=2.0)}}
    with pytest.raises(InputError, match=r"1 \(q\)"):
        combine(none, "rank", "drop")


@pytest.mark.parametrize(
    ("how", "missing", "part"),
    [("mean", "drop", r"score\.combine=mean"), ("rank", "zero", r"score\.missing=zero")],
)
def test_unknown_settings_are_refused(how: str, missing: str, part: str) -> None:
    with pytest.raises(InputError, match=part):
        combine({"x": {"q": A}, "y": {"q": B}}, how, missing)
