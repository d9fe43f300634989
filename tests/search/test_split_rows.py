"""Candidate lists (their scores are those of reranking, see test_store)."""

from __future__ import annotations

from colbert_lab.base.types import Ranking
from colbert_lab.search.split_rows import list_rows, search_depth, without_excluded
from colbert_lab.text.collections.collection import build_corpus, build_split


def test_rows_of_a_split() -> None:
    corpus = build_corpus(["c", "a", "b"], ["x", "y", "z"])
    lists = {"q2": ["b"], "q1": ["b", "c"]}
    split = build_split(
        "toy", "test", corpus, {"q1": "1", "q2": "2"}, {"q1": {"c": 1}, "q2": {"b": 1}}, {}, candidates=lists
    )
    assert [rows.tolist() for rows in list_rows(split)] == [[2, 0], [2]]


def test_excluded_documents_leave_and_the_list_keeps_its_length() -> None:
    ranking = Ranking(["q1", "q2"], [["a", "b", "c", "d"], ["d", "c", "b", "a"]], [[4.0, 3.0, 2.0, 1.0]] * 2)
    cut = without_excluded(ranking, {"q1": {"a", "c"}}, 2)
    assert cut == Ranking(["q1", "q2"], [["b", "d"], ["d", "c"]], [[3.0, 1.0], [4.0, 3.0]])
    assert without_excluded(ranking, {}, 2) is ranking


def test_the_search_goes_deeper_by_the_longest_exclusion() -> None:
    corpus = build_corpus(list("abcde"), list("abcde"))
    queries = {"q1": "x", "q2": "y"}
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}}
    plain = build_split("toy", "test", corpus, queries, qrels, {})
    assert search_depth(plain, 3) == 3
    lists = {"q1": ["b", "c"], "q2": ["a", "not there"]}
    assert search_depth(build_split("toy", "test", corpus, queries, qrels, {}, excluded=lists), 3) == 5
