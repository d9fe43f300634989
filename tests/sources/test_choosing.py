"""Shares, quotas, turns, and the choice itself."""

from __future__ import annotations

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.sources.choosing import PositiveAware, check_shares, choose, quotas, turns
from colbert_lab.training.objectives.contrastive import share_of


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


@pytest.mark.parametrize(
    ("positive", "ratio", "bound"),
    [
        (4.0, 0.95, 0.95 * 4.0),
        (0.3, 0.9, 0.9 * 0.3),
        (0.0, 0.9, 0.0),
        (-2.0, 0.9, -2.2),
        (-2.0, 1.0, -2.0),
        (-2.0, 1.1, -1.8),
    ],
)
def test_a_share_is_below_the_positive_at_any_sign(positive: float, ratio: float, bound: float) -> None:
    assert share_of(positive, ratio) == (bound if positive >= 0 else pytest.approx(bound, abs=1e-12))
    together = share_of(torch.tensor([positive, 7.0]), ratio)
    torch.testing.assert_close(together, torch.tensor([bound, 7.0 * ratio]))
    bounds = PositiveAware(ratio=ratio)
    assert bounds.reason(bound + 0.01, positive) == "ratio"
    assert bounds.reason(bound - 0.01, positive) is None


@pytest.mark.parametrize(
    ("shares", "n", "expected"),
    [
        ({"a": 0.5, "b": 0.25, "c": 0.25}, 8, (4, 2, 2)),
        ({"a": 0.5, "b": 0.5}, 5, (3, 2)),  # equal remainders: the first
        ({"a": 0.1, "b": 0.2, "c": 0.7}, 10, (1, 2, 7)),  # 0.7 x 10 is below 7 in floating point
        ({"a": 0.29, "b": 0.71}, 100, (29, 71)),
        ({"a": 0.45, "b": 0.55}, 10, (5, 5)),  # equal remainders but for rounding: 0.55 x 10 > 5.5
        ({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, 8, (3, 3, 2)),
        ({"a": 0.6, "b": 0.3, "c": 0.1}, 1, (1, 0, 0)),
        ({"a": 0.4, "b": 0.35, "c": 0.25}, 3, (1, 1, 1)),
    ],
)
def test_quotas_are_those_of_the_largest_remainders(
    shares: dict[str, float], n: int, expected: tuple[int, ...]
) -> None:
    assert tuple(quotas(shares, n).values()) == expected


def test_turns_are_spread_so_that_the_first_ones_are_in_proportion() -> None:
    assert turns({"a": 4, "b": 2, "c": 2}) == ["a", "b", "c", "a", "a", "b", "c", "a"]
    assert turns({"a": 3, "b": 1}) == ["a", "a", "b", "a"]
    assert turns({"a": 0, "b": 2}) == ["b", "b"]


def test_shares() -> None:
    assert check_shares(None, ["a", "b"]) == {"a": 0.5, "b": 0.5}
    given = check_shares({"random": 0.25, "b": 0.75, "a": 0}, ["a", "b"])
    assert list(given.items()) == [("b", 0.75), ("random", 0.25)]


@pytest.mark.parametrize(
    ("shares", "names", "message"),
    [
        ({"a": 0.5}, ["a"], r"^mine\.shares: add up to 0\.5; they must add up to 1"),
        ({"a": 0.5, "z": 0.5}, ["a"], r"^mine\.shares\.z: no such retriever; there are a, random"),
        ({"a": 1.0}, ["a", "b"], r"^mine\.shares: b has none; give it one, or mine\.shares\.b=0"),
        (None, [], r"^mine\.retrievers: empty"),
        (None, ["random"], r"^mine\.retrievers\.random: the name stands for random documents"),
    ],
)
def test_shares_that_cannot_be(shares: dict[str, float] | None, names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_shares(shares, names)


def test_a_retriever_that_runs_short_is_stood_in_for_by_the_others() -> None:
    chosen = choose(
        {"a": [1, 2, 3, 4, 5], "b": [1, 9], "c": [6, 7, 8]},
        ["a", "b", "c", "a", "b", "c"],
        {9: "ratio"}.get,
        str,
    )
    assert list(zip(chosen.rows, chosen.sources, strict=True)) == [
        (1, "a"), (6, "c"), (2, "a"), (7, "c"), (3, "a"), (8, "c"),
    ]  # fmt: skip
    assert chosen.counts == {
        "a": {"kept": 3, "not_needed": 2},
        "b": {"chosen_already": 1, "ratio": 1, "not_needed": 0},
        "c": {"kept": 3, "not_needed": 0},
    }


def test_copies_are_chosen_once() -> None:
    chosen = choose({"a": [1, 2, 3]}, ["a"] * 3, lambda row: None, {1: "x", 2: "x", 3: "y"}.__getitem__)
    assert chosen.rows == [1, 3]
    assert chosen.counts == {"a": {"kept": 2, "copy": 1, "not_needed": 0}}
