"""The evaluator against every query-document pair scored by itself in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import pytrec_eval
import torch

from colbert_lab.errors import InputError
from colbert_lab.metrics import evaluator as subject
from colbert_lab.metrics.evaluator import Evaluator
from colbert_lab.student.encode import encode
from colbert_lab.student.student import Student, build_student
from colbert_lab.text.collection import build_corpus, build_split
from colbert_lab.types import Embeddings, PackedEmbeddings, Ranking, Role, Split
from tests.conftest import sentences

MEASURES = ["ndcg@10", "mrr@10", "recall@5", "map@10"]
TREC = {"ndcg@10": "ndcg_cut_10", "recall@5": "recall_5", "map@10": "map_cut_10"}
DEPTH = 10


def make_split(name: str, n_queries: int, documents: int = 25, seed: int = 0) -> Split:
    """Random text; every query has judgments of five documents, two of them not relevant."""
    corpus = build_corpus([f"d{n}" for n in range(documents)], sentences(documents, seed=seed))
    queries = {
        f"{name}{n}": text for n, text in enumerate(sentences(n_queries, seed=seed + n_queries, high=7))
    }
    qrels = {
        query: {f"d{(5 * n + 3 * k) % documents}": (0, 2, 1, 0, 1)[k] for k in range(5)}
        for n, query in enumerate(queries)
    }
    return build_split("toy", name, corpus, queries, qrels, {})


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    torch.manual_seed(0)
    return build_student(**student_settings)


def make_evaluator(splits: Mapping[str, Split], **changes: Any) -> Evaluator:
    settings: dict[str, Any] = {
        "measures": MEASURES,
        "depth": DEPTH,
        "token_budget": 100,
        "precision": "32-true",
    }
    return Evaluator(splits, **(settings | changes))


def embed(student: Student, text: str, role: Role) -> torch.Tensor:
    student.model.eval()
    with torch.no_grad():
        embeddings: Embeddings = student.model(student.tokenizer([text], role))
    return embeddings.emb_NLD[0][embeddings.mask_NL[0]].double()


def brute_force(student: Student, split: Split) -> dict[str, dict[str, float]]:
    """MaxSim of every query with every document: {query id: {document id: score}}."""
    documents = {
        name: embed(student, text, "document")
        for name, text in zip(split.corpus.ids, split.corpus.texts, strict=True)
    }
    scores = {}
    for query, text in split.queries.items():
        asked = embed(student, text, "query")
        scores[query] = {name: float((asked @ m.T).amax(dim=1).sum()) for name, m in documents.items()}
    return scores


def test_a_student_is_searched_and_measured_as_by_brute_force(student: Student) -> None:
    splits = {"first": make_split("dev", 6), "second": make_split("test", 4, seed=7)}
    for result in make_evaluator(splits).evaluate_student(student, "test", progress=False):
        split = splits[result.key]
        scores = brute_force(student, split)
        orders = {query: sorted(row, key=row.__getitem__, reverse=True) for query, row in scores.items()}
        for query, order in orders.items():
            gaps = [scores[query][a] - scores[query][b] for a, b in pairwise(order)]
            assert min(gaps[:DEPTH]) > 1e-5, "too close for float32: choose another seed"
        assert list(result.ranking.query_ids) == list(split.queries)
        assert [list(row) for row in result.ranking.document_ids] == [o[:DEPTH] for o in orders.values()]
        for query, row in zip(result.ranking.query_ids, result.ranking.scores, strict=True):
            assert list(row) == pytest.approx([scores[query][d] for d in orders[query][:DEPTH]], abs=1e-5)
        qrels = {query: dict(grades) for query, grades in split.qrels.items()}
        expected = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.5", "map_cut.10"}).evaluate(
            scores
        )
        assert result.per_query.query_ids == tuple(split.queries)
        for position, query in enumerate(result.per_query.query_ids):
            for measure, name in TREC.items():
                value = result.per_query.values[measure][position]
                assert value == pytest.approx(expected[query][name], abs=1e-9), (query, measure)
            relevant = [
                rank for rank, d in enumerate(orders[query][:10], start=1) if qrels[query].get(d, 0) > 0
            ]
            first = 1 / relevant[0] if relevant else 0.0
            assert result.per_query.values["mrr@10"][position] == pytest.approx(first, abs=1e-9)


def test_results_say_which_split_and_how_it_was_searched(student: Student) -> None:
    split = make_split("dev", 3)
    (result,) = make_evaluator({"mine": split}).evaluate_student(student, "test", progress=False)
    assert result.key == "mine"
    assert result.split is split
    rules = student.tokenizer.rules.to_dict()
    assert result.protocol == {"mode": "exact", "depth": DEPTH, "encoder_precision": "32-true", **rules}
    assert result.seconds > 0


def test_only_the_asked_splits_are_searched(student: Student) -> None:
    splits = {key: make_split("dev", 2) for key in ("a", "b", "c")}
    results = make_evaluator(splits).evaluate_student(student, "test", ["c", "a"], progress=False)
    assert [result.key for result in results] == ["c", "a"]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the number of documents of every corpus that is encoded."""
    sizes: list[int] = []

    def watched(student: Student, texts: Sequence[str], role: Role, **settings: Any) -> PackedEmbeddings:
        if role == "document":
            sizes.append(len(texts))
        return encode(student, texts, role, **settings)

    monkeypatch.setattr(subject, "encode", watched)
    return sizes


def test_a_shared_corpus_is_encoded_once(student: Student, encoded: list[int]) -> None:
    dev, test = make_split("dev", 3), make_split("test", 2)
    assert dev.corpus is not test.corpus
    shared = replace(test, corpus=dev.corpus)
    other = make_split("test", 2, documents=24)
    evaluator = make_evaluator({"dev": dev, "same object": shared, "same text": test, "other": other})
    results = {r.key: r for r in evaluator.evaluate_student(student, "test", progress=False)}
    assert encoded == [25, 24]
    assert results["same object"].ranking == results["same text"].ranking
    (alone,) = make_evaluator({"other": other}).evaluate_student(student, "test", progress=False)
    assert alone.ranking.document_ids == results["other"].ranking.document_ids


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 9}, r"evaluation\.measures: ndcg@10 looks deeper than evaluation\.depth=9"),
        ({"measures": ["recall@5", "map@11"]}, r"evaluation\.measures: map@11 looks deeper than .*depth=10"),
        ({"measures": ["ndgc@10"]}, r"evaluation\.measures: unknown measure 'ndgc@10'"),
    ],
)
def test_bad_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_evaluator({}, **changes)


def test_a_ranking_of_another_system_is_measured() -> None:
    split = make_split("dev", 2)
    first, second = split.queries
    relevant = [name for name, grade in split.qrels[first].items() if grade > 0]
    other = next(name for name in split.corpus.ids if split.qrels[first].get(name, 0) == 0)
    ranking = Ranking([first], [[other, relevant[0]]], [[2.0, 1.0]])
    result = make_evaluator({"mine": split}).evaluate_ranking("mine", ranking, {"scorer": "by hand"}, 1.5)
    assert result.per_query.query_ids == (first, second)
    assert result.per_query.values["mrr@10"].tolist() == [0.5, 0.0]
    assert result.per_query.values["recall@5"].tolist() == pytest.approx([1 / 3, 0.0])
    assert result.protocol == {"mode": "exact", "depth": DEPTH, "scorer": "by hand"}
    assert (result.key, result.split, result.ranking, result.seconds) == ("mine", split, ranking, 1.5)
