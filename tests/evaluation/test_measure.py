"""Measures of a user's own: they see what trec_eval sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measure import Measure
from colbert_lab.evaluation.measures import evaluate, parse_measure
from tests.evaluation.test_measures import KS, as_ranking, random_case


@dataclass(frozen=True, kw_only=True)
class Precise(Measure):
    """Precision at k."""

    def value(self, documents: Sequence[str], grades: Mapping[str, int], k: int) -> float:
        return sum(grades.get(document, 0) > 0 for document in documents) / k


@dataclass(frozen=True, kw_only=True)
class First(Measure):
    """Reciprocal rank."""

    def value(self, documents: Sequence[str], grades: Mapping[str, int], k: int) -> float:
        hits = (1 / rank for rank, document in enumerate(documents, start=1) if grades.get(document, 0) > 0)
        return next(hits, 0.0)


@dataclass(frozen=True, kw_only=True)
class Found(Measure):
    """Recall at k."""

    def value(self, documents: Sequence[str], grades: Mapping[str, int], k: int) -> float:
        relevant = {document for document, grade in grades.items() if grade > 0}
        return len(relevant & set(documents)) / max(1, len(relevant))


OWN: dict[str, Measure] = {"my_precision": Precise(), "my_mrr": First(), "my_recall": Found()}


@pytest.mark.parametrize("seed", range(3))
def test_our_measures_written_as_own_ones(seed: int) -> None:
    run, qrels = random_case(seed)
    del run["q3"]  # judged, and not searched
    del qrels["q4"]
    names = [f"{kind}@{k}" for kind in ("precision", "mrr", "recall", *OWN) for k in KS]
    found = evaluate(as_ranking(run), qrels, names, OWN)
    assert found.unjudged == 1
    for kind in ("precision", "mrr", "recall"):
        for k in KS:
            np.testing.assert_allclose(found.values[f"my_{kind}@{k}"], found.values[f"{kind}@{k}"], rtol=1e-6)


def test_a_query_without_documents_counts_as_0() -> None:
    class Never(Measure):
        def value(self, documents: Sequence[str], grades: Mapping[str, int], k: int) -> float:
            raise AssertionError("not asked")

    found = evaluate(
        Ranking(["q"], [[]], [[]]), {"q": {"a": 1}, "other": {"a": 1}}, ["never@5"], {"never": Never()}
    )
    assert found.values["never@5"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "value",
    [
        -0.1,
        1.0001,
        float("nan"),
        float("inf"),
        None,
        "much",
        [1.0, 2.0],
        pytest.param(10**400, id="long"),
        pytest.param(10**5000, id="longer"),
        np.ones(2),
        torch.ones(2),
    ],
)
def test_what_is_no_value_is_refused(value: float) -> None:
    class Constant(Measure):
        def value(self, documents: Sequence[str], grades: Mapping[str, int], k: int) -> float:
            return value

    with pytest.raises(
        InputError, match=r"evaluation\.own_measures\.constant: gave .* for query q, which is no number"
    ):
        evaluate(Ranking(["q"], [["a"]], [[1.0]]), {"q": {"a": 1}}, ["constant@5"], {"constant": Constant()})


def test_an_own_measure_is_known_by_its_name() -> None:
    assert parse_measure("my_mrr@7", OWN) == ("my_mrr", 7)
    with pytest.raises(InputError, match=r"unknown measure 'my_mrr@7'; valid are ndcg@k"):
        parse_measure("my_mrr@7")
