"""Splits and their fingerprints."""

from __future__ import annotations

from typing import Any

from colbert_lab.base.types import Split
from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.collections.cut import cut_split

QUERIES = {"q1": "one", "q2": "two"}
QRELS = {"q1": {"d1": 1}, "q2": {"d3": 1}}


def split(**changes: Any) -> Split:
    corpus = build_corpus(["d1", "d2", "d3", "d4"], ["a", "b", "c", "d"])
    return build_split("toy", "test", corpus, QUERIES, QRELS, {}, **changes)


def test_a_split_without_exclusions_keeps_the_fingerprint_it_always_had() -> None:
    assert split().fingerprint == "ae77110b2be21352"
    assert split(excluded={}, candidates={}, protocol={"query_length": 8}).fingerprint == split().fingerprint


def test_exclusions_and_candidates_are_part_of_the_fingerprint() -> None:
    lists = {"q1": ["d1", "d2"], "q2": ["d3"]}
    marks = [
        split().fingerprint,
        split(excluded={"q1": ["d2"]}).fingerprint,
        split(excluded={"q2": ["d2"]}).fingerprint,
        split(candidates=lists).fingerprint,
        split(candidates=lists | {"q2": ["d3", "d4"]}).fingerprint,
    ]
    assert len(set(marks)) == len(marks)
    assert (
        split(excluded={"q1": ["d4", "d2"]}).fingerprint == split(excluded={"q1": ["d2", "d4"]}).fingerprint
    )


def test_exclusions_beyond_the_corpus_or_the_queries_are_left_out() -> None:
    made = split(excluded={"q1": ["N/A", "d2"], "q2": ["N/A"], "stray": ["d1"]})
    assert {query: set(names) for query, names in made.excluded.items()} == {"q1": {"d2"}}
    assert split(excluded={"q1": ["N/A"]}).fingerprint == split().fingerprint


def test_a_cut_keeps_exclusions_protocol_and_whole_candidate_lists() -> None:
    whole = split(excluded={"q1": ["d2"], "q2": ["d2", "d4"]}, protocol={"query_length": 8})
    small = cut_split(whole, 2, 1)
    (query,) = small.queries
    assert set(small.excluded) <= {query}
    assert all(set(names) <= set(small.corpus.ids) for names in small.excluded.values())
    assert small.protocol == {"query_length": 8}
    closed = split(candidates={"q1": ["d1", "d2"], "q2": ["d3", "d4"]})
    part = cut_split(closed, 1, 1)
    (query,) = part.queries
    assert dict(part.candidates) == {query: closed.candidates[query]}
    assert list(part.corpus.ids) == list(closed.candidates[query])
    assert cut_split(closed, 1, None) is closed
