"""Hard negatives from a retriever."""

from __future__ import annotations

import numpy as np
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.sources.negatives import mine_triples, rows_of
from colbert_lab.teachers.bm25 import BM25
from colbert_lab.text.collections.collection import build_corpus, build_split
from tests.teachers.support import Given
from tests.tiny import sentences


def split_of(texts: dict[str, str], queries: dict[str, str], qrels: dict[str, dict[str, int]]) -> Split:
    return build_split("toy", "train", build_corpus(list(texts), list(texts.values())), queries, qrels, {})


@pytest.fixture
def split() -> Split:
    """Documents d0 to d5; q1 has two relevant documents, of which d1 has a copy."""
    texts = {"d0": "red", "d1": "blue bird", "d2": "blue bird", "d3": "blue", "d4": "bird", "d5": "fish"}
    return split_of(
        texts,
        {"q0": "red fish", "q1": "blue bird flies"},
        {"q0": {"d0": 1, "d3": 0}, "q1": {"d1": 2, "d4": 1}},
    )


def test_every_relevant_document_makes_a_pair(split: Split) -> None:
    (pairs,) = rows_of(lambda: [split], None, None)
    rows = [pairs.example(row, 1, np.random.default_rng(0)) for row in range(len(pairs))]
    assert [(row.query_id, row.query, row.documents) for row in rows] == [
        ("q0", "red fish", ["red"]),
        ("q1", "blue bird flies", ["blue bird"]),
        ("q1", "blue bird flies", ["bird"]),
    ]
    assert (pairs.name, pairs.negatives) == ("toy/train", 0)


def test_negatives_are_the_best_that_are_not_relevant_and_no_copy_of_it(split: Split) -> None:
    scores = Given("given", (("red fish", (6, 1, 2, 5, 4, 3)), ("blue bird flies", (1, 6, 5, 3, 4, 2))))
    triples = mine_triples(split, scores, 2)
    assert triples.table["negative"][:] == [["blue", "bird"], ["blue", "fish"], ["blue", "fish"]]
    assert triples.table["document"][:] == ["red", "blue bird", "bird"]
    assert triples.negatives == 2


def test_copies_do_not_take_the_place_of_others() -> None:
    texts = {f"d{n}": "the same" for n in range(5)} | {"d5": "another", "d6": "last", "good": "good"}
    split = split_of(texts, {"q": "query"}, {"q": {"good": 1}})
    scores = Given("given", (("query", (9, 8, 7, 6, 5, 2, 1, 10)),))
    assert mine_triples(split, scores, 2).table["negative"][:] == [["the same", "another"]]
    assert mine_triples(split, scores, 3).table["negative"][:] == [["the same", "another", "last"]]
    with pytest.raises(
        InputError,
        match=r"^data\.negatives=4: toy has fewer other documents for queries 1 \(q\)",
    ):
        mine_triples(split, scores, 4)


def test_a_query_without_a_relevant_document_has_no_row(split: Split) -> None:
    texts = dict(zip(split.corpus.ids, split.corpus.texts, strict=True))
    judged = split_of(texts, dict(split.queries), {"q0": {"d0": 0}, "q1": {"d3": 1}})
    triples = mine_triples(judged, BM25(0.9, 0.4), 2)
    assert [name for name, _ in triples.training_queries()] == ["q1"]
    nothing = split_of(texts, {"q0": "red"}, {"q0": {"d0": 0}})
    with pytest.raises(InputError, match=r"^data\.path: toy/train is empty"):
        mine_triples(nothing, BM25(0.9, 0.4), 2)


def test_bm25_never_gives_a_relevant_document_or_a_copy_of_one() -> None:
    unique = sentences(40, low=4, high=7)
    texts = {f"d{n}": unique[n % 40] for n in range(60)}  # the first 20 twice
    queries = {f"q{n}": unique[n] for n in range(30)}
    qrels = {f"q{n}": {f"d{n}": 1, f"d{n + 30}": 1} for n in range(30)}
    split = split_of(texts, queries, qrels)
    triples = mine_triples(split, BM25(0.9, 0.4), 3)
    assert len(triples) == 60
    for row in range(60):
        values = triples.table[row]
        good = {texts[document] for document in qrels[values["query_id"]]}
        assert values["document"] in good
        assert len(set(values["negative"])) == 3
        assert not good & set(values["negative"])
