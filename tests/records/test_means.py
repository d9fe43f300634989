"""Means of splits: weights, records, values behind them and their intervals."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.significance import bootstrap_interval
from colbert_lab.records.means import (
    complete_means,
    macro_interval,
    mean_records,
    split_weights,
)
from colbert_lab.records.records import Record


def test_nested_means_count_every_member_alike() -> None:
    means = {"forums": ["cqa-*"], "all": ["a", "forums", "b"]}
    splits = ["a", "b", "cqa-x", "cqa-y"]
    weights = split_weights(means, splits, splits)
    assert weights["forums"] == {"cqa-x": 0.5, "cqa-y": 0.5}
    assert weights["all"] == pytest.approx({"a": 1 / 3, "cqa-x": 1 / 6, "cqa-y": 1 / 6, "b": 1 / 3})


def test_a_mean_of_a_split_that_is_not_measured_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    means = {"all": ["a", "b"], "sources": ["lists*"], "off": None}
    weights = split_weights(means, ["a", "lists.x", "lists.y"], ["a", "b", "lists"])
    assert list(weights) == ["all", "sources"]
    with caplog.at_level(logging.WARNING):
        whole = complete_means(weights, ["a", "lists.x", "lists.y"])
    assert whole == {"sources": {"lists.x": 0.5, "lists.y": 0.5}}
    assert "evaluation.means.all: not taken, as b is not measured" in caplog.text


@pytest.mark.parametrize(
    ("means", "message"),
    [
        (
            {"all": ["a", "c"]},
            r"^evaluation\.means\.all: c is neither a split nor a mean; there are a, b, all$",
        ),
        ({"all": ["z*"]}, r"^evaluation\.means\.all: z\* is neither"),
        ({"all": ["x"], "x": ["all"]}, r"^evaluation\.means\.all: all is a member of itself"),
        ({"all": []}, r"^evaluation\.means\.all: no members"),
        ({"a": ["b"]}, r"^evaluation\.means\.a: a split has this name too"),
    ],
)
def test_means_that_cannot_be_taken_are_named(means: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_weights(means, ["a", "b"], ["a", "b"])


def record(split: str, measure: str, value: float, **changes: object) -> Record:
    values = {
        "run_id": "r",
        "system": "student",
        "phase": "before",
        "dataset": f"set {split}",
        "split": split,
        "split_fingerprint": f"mark {split}",
        "protocol_hash": f"asked {split}",
        "measure": measure,
        "value": value,
        "n_queries": 10,
        "seconds_eval": 1.5,
    }
    return Record(**(values | changes))  # type: ignore[arg-type]


def test_records_of_means_are_made_once_for_each_mode_and_measure() -> None:
    means = {"all": {"a": 0.25, "b": 0.75}, "part": {"a": 0.5, "c": 0.5}}
    records = [
        record("a", "ndcg@10", 0.2),
        record("b", "ndcg@10", 0.6, n_queries=30),
        record("a", "mrr@10", 0.1),
        record("b", "mrr@10", 0.1),
        record("a", "ndcg@10", 0.1, mode="plaid"),
    ]
    made = mean_records(means, records)
    assert [(r.split, r.measure, r.mode) for r in made] == [
        ("all", "ndcg@10", "exact"),
        ("all", "mrr@10", "exact"),
    ]
    assert made[0].value == pytest.approx(0.25 * 0.2 + 0.75 * 0.6)
    assert (made[0].dataset, made[0].n_queries, made[0].seconds_eval) == ("all", 40, 3.0)
    other = mean_records(means, [records[0], record("b", "ndcg@10", 0.6, protocol_hash="else")])
    assert other[0].protocol_hash != made[0].protocol_hash
    assert other[0].split_fingerprint == made[0].split_fingerprint
    assert mean_records(means, [*records, *made]) == []


def test_a_mean_keeps_what_its_parts_agree_on() -> None:
    one = {"student_hash": "x", "reused_from": "run"}
    parts = [record("a", "ndcg@10", 0.2, extra=one), record("b", "ndcg@10", 0.2, extra={"student_hash": "x"})]
    for order in (parts, parts[::-1]):
        (mean,) = mean_records({"all": {r.split: 0.5 for r in order}}, order)
        assert mean.extra == {"student_hash": "x"}


def test_one_split_has_the_interval_of_the_plain_bootstrap() -> None:
    values = np.random.default_rng(1).random(200)
    plain, macro = bootstrap_interval(values), macro_interval(values, ((200, 1.0),), 0.95)
    assert macro.mean == pytest.approx(plain.mean)
    width = plain.high - plain.low
    assert macro.low == pytest.approx(plain.low, abs=0.03 * width)
    assert macro.high == pytest.approx(plain.high, abs=0.03 * width)


def test_the_interval_of_a_mean_is_that_of_independent_splits() -> None:
    """Normal approximation: the variance of a weighted sum of independent means."""
    rng = np.random.default_rng(2)
    parts, weights = [rng.random(150), rng.random(300) ** 2, rng.normal(0.5, 0.3, 200)], [0.5, 0.3, 0.2]
    strata = tuple(zip(map(len, parts), weights, strict=True))
    found = macro_interval(np.concatenate(parts), strata, 0.95)
    variance = sum(w**2 * part.var() / len(part) for part, w in zip(parts, weights, strict=True))
    mean = sum(w * part.mean() for part, w in zip(parts, weights, strict=True))
    assert found.mean == pytest.approx(mean)
    assert found.n == 650
    half = 1.96 * np.sqrt(variance)
    assert found.low == pytest.approx(mean - half, abs=0.05 * half)
    assert found.high == pytest.approx(mean + half, abs=0.05 * half)
    assert macro_interval(np.concatenate(parts), strata, 0.95) == found
