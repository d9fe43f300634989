"""A baseline over candidate lists: its scores in the whole corpus, of the candidates alone."""

from __future__ import annotations

from colbert_lab.teachers.bm25 import BM25
from colbert_lab.teachers.rank_split import rank_split
from colbert_lab.teachers.scorer import rank
from colbert_lab.text.collection import build_corpus, build_split
from tests.conftest import sentences

N = 12
CORPUS = build_corpus([f"d{n}" for n in range(N)], sentences(N, low=6))
QUERIES = {f"q{n}": text for n, text in enumerate(sentences(5, seed=3, low=4))}
QRELS = {query: {f"d{n}": 1} for n, query in enumerate(QUERIES)}


def test_candidates_keep_their_scores_and_nothing_else_is_ranked() -> None:
    lists = {query: [f"d{(n + 3 * k) % N}" for k in range(4)] for n, query in enumerate(QUERIES)}
    split = build_split("toy", "test", CORPUS, QUERIES, QRELS, {}, candidates=lists)
    whole = rank(BM25(), CORPUS, dict(QUERIES), N)
    ranked = rank_split(BM25(), split, 3)
    assert list(ranked.query_ids) == list(QUERIES)
    for row, query in enumerate(QUERIES):
        pairs = zip(whole.document_ids[row], whole.scores[row], strict=True)
        expected = [(name, score) for name, score in pairs if name in lists[query]][:3]
        assert list(zip(ranked.document_ids[row], ranked.scores[row], strict=True)) == expected


def test_an_open_split_is_searched_deep_enough_for_its_exclusions() -> None:
    split = build_split("toy", "test", CORPUS, QUERIES, QRELS, {}, excluded={"q0": ["d5", "d6"]})
    assert rank_split(BM25(), split, 3) == rank(BM25(), CORPUS, dict(QUERIES), 5)
