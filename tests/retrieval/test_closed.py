"""Candidate lists (their scores are those of reranking, see test_store)."""

from __future__ import annotations

from colbert_lab.retrieval.closed import list_rows
from colbert_lab.text.collection import build_corpus, build_split


def test_rows_of_a_split() -> None:
    corpus = build_corpus(["c", "a", "b"], ["x", "y", "z"])
    lists = {"q2": ["b"], "q1": ["b", "c"]}
    split = build_split(
        "toy", "test", corpus, {"q1": "1", "q2": "2"}, {"q1": {"c": 1}, "q2": {"b": 1}}, {}, candidates=lists
    )
    assert [rows.tolist() for rows in list_rows(split)] == [[2, 0], [2]]
