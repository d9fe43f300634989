"""Planted duplicates are counted and named."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import pytest

from colbert_lab.audit.ngrams import TextIndex
from colbert_lab.audit.overlaps import Contamination, find_contamination, find_duplicates
from colbert_lab.audit.training_text import training_text
from colbert_lab.base.types import Split
from tests.audit.support import lists, split, triples


def test_without_duplicates_nothing_is_found() -> None:
    found = find_duplicates(training_text(triples([("q1", "a", ["b"]), ("q2", "c", ["d"])])))
    assert (found.rows, found.queries, found.documents) == (2, 2, 4)
    assert found.repeated_queries == found.repeated_documents == found.repeated_pairs == 0
    assert found.repeated_in_row == found.own_negatives == 0
    assert not any(found.examples.values())


def test_planted_duplicates_of_triples() -> None:
    rows = [
        ("What is it?", "a stone", ["red", "blue"]),
        (
            "what  is it",
            "a fish",
            ["A FISH!", "green"],
        ),  # the query of another id; its positive is a negative
        ("where", "a bird", ["old", "Old."]),  # twice in one row
        ("where", "a tree", ["a bird", "new"]),  # the same id again, whose other positive is a negative here
        ("where", "A tree.", ["leaf", "wing"]),  # the pair again
    ]
    found = find_duplicates(training_text(triples(rows, ids=["q1", "q2", "q3", "q3", "q3"])))
    assert (found.rows, found.queries, found.documents) == (5, 3, 15)
    assert (found.repeated_queries, found.examples["queries"]) == (1, [["q1", "q2"]])
    assert found.repeated_documents == 4
    assert ["row 1", "row 1 negative 1"] in found.examples["documents"]
    assert found.repeated_pairs == 1
    assert found.examples["pairs"] == [["query q3, document row 3", "query q3, document row 4"]]
    assert found.repeated_in_row == 2
    assert found.examples["in_row"][1] == [
        "query q3, document row 2 negative 1",
        "query q3, document row 2 negative 2",
    ]
    assert found.own_negatives == 2
    assert found.examples["own_negatives"] == [
        ["query q2, document row 1 negative 1"],
        ["query q3, document row 3 negative 1"],
    ]


def test_planted_duplicates_of_lists() -> None:
    documents = ["red stone", "Red stone.", "fish", "not used", "not  used"]
    source = lists(["a query", "other"], documents, [[2, 0, 1], [0, 2]], [[1, 3, 2], [5, 1]])
    found = find_duplicates(training_text(source))
    assert (found.documents, found.repeated_documents) == (3, 1)
    assert found.examples["documents"] == [["d0", "d1"]]
    assert (found.repeated_in_row, found.own_negatives) == (1, 1)
    assert found.examples["own_negatives"] == [["query q0, document d1"]]


Pairs = list[tuple[str, str, list[str]]]

WORDS = [f"w{number}" for number in range(200)]
LONG = " ".join(WORDS[:40])
NEAR = " ".join([*WORDS[100:136], "x1", "x2", "x3"])  # 29 of 32 runs of 8 words are trained on
HALF = " ".join([*WORDS[150:170], *(f"y{n}" for n in range(20))])
SOURCE = " ".join(["before", *WORDS[100:136], "after"])
COMMON = "the what is of a how in to where an which are"


def held() -> Split:
    documents = {
        "exact": LONG.upper() + ".",
        "near": NEAR,
        "half": HALF,
        "common": "what is the use of a stone in an old river to a fish",
        "short": "an old red stone",
        "tiny": "red stone",
    }
    queries = {
        "q-exact": "Where does the river end?",
        "q-near": "which bird holds a fin in the water of an old river now",
        "q-inside": "the small bird swims fast",
        "q-clean": "where is the fish of the stone",
    }
    relevant = {"q-exact": "exact", "q-near": "near", "q-inside": "exact", "q-clean": "common"}
    return split(documents, queries, relevant)


ROWS = [
    ("where does the river  end", LONG, [COMMON]),
    ("say which bird holds a fin in the water of an old river", SOURCE, ["one an old red stone lies"]),
    ("again", "so it is said that the small bird swims fast and far", [" ".join(WORDS[150:170])]),
    ("red stone fish", "a red stone there", ["stone fish of the where is"]),
]


def audit(near: float = 0.8, ngram: int = 8, documents: int | None = None) -> Contamination:
    text = training_text(triples(ROWS, ids=["t0", "t1", "t2", "t3"]))
    (found,) = find_contamination(
        {"test": held()}, [text], ngram=ngram, near=near, documents=documents, seed=0
    )
    return found


def test_planted_texts_are_found_with_their_ids() -> None:
    found = audit()
    queries, documents = found.queries.matches, found.documents.matches
    assert set(queries) == {"q-exact", "q-near", "q-inside"}
    assert (found.queries.exact, found.queries.near, found.queries.looked_at) == (1, 2, 4)
    assert queries["q-exact"].places == [("made", "query", "t0")]
    assert queries["q-near"].places == [("made", "query", "t1")]
    assert queries["q-near"].share == pytest.approx(5 / 6)
    assert queries["q-inside"].places == [("made", "document", "row 2")]
    assert set(documents) == {"exact", "near", "short"}
    assert documents["exact"].exact
    assert documents["exact"].places == [("made", "document", "row 0")]
    assert not documents["near"].exact
    assert documents["near"].places == [("made", "document", "row 1")]
    assert documents["near"].share == pytest.approx(29 / 32)
    assert documents["short"].places == [("made", "document", "row 1 negative 1")]
    assert (found.relevant.looked_at, set(found.relevant.matches)) == (3, {"exact", "near"})
    assert not found.shared_corpus


def test_the_share_that_counts_as_near_is_a_setting() -> None:
    assert "half" in audit(near=0.35).documents.matches
    assert "near" not in audit(near=0.95).documents.matches
    assert "common" in audit(near=0.2, ngram=2).documents.matches


def test_a_text_pieced_together_from_several_is_found() -> None:
    pieces: Pairs = [("q", " ".join(WORDS[start : start + 14]), []) for start in (0, 6, 12, 18, 24, 30)]
    held_out = split({"d": " ".join([*WORDS[:40], "end"])}, {"q": "none of it"}, {"q": "d"})
    (found,) = find_contamination(
        {"test": held_out}, [training_text(triples(pieces))], ngram=8, near=0.8, documents=None, seed=0
    )
    match = found.documents.matches["d"]
    assert (match.exact, match.count) == (False, 6)
    assert match.places[0] == ("made", "document", "row 0")


def test_runs_do_not_go_over_the_end_of_a_text() -> None:
    halves: Pairs = [
        ("one two", " ".join(WORDS[:6]), []),
        ("three", " ".join(WORDS[6:12]), []),
    ]
    held_out = split({"d": " ".join(WORDS[:12])}, {"q": "none"}, {"q": "d"})
    (found,) = find_contamination(
        {"test": held_out}, [training_text(triples(halves))], ngram=8, near=0.1, documents=None, seed=0
    )
    assert not found.documents.matches


def test_one_corpus_for_both_is_said() -> None:
    documents = [f"document number {n} of {WORDS[n]}" for n in range(20)]
    source = lists(["some query"], documents, [list(range(5))], [[5, 4, 3, 2, 1]])
    texts = {f"d{n}": text for n, text in enumerate(documents)}
    settings = {"ngram": 8, "near": 0.8, "documents": None, "seed": 0}
    other = split({f"e{n}": text for n, text in enumerate(documents)}, {"q": "other"}, {"q": "e3"})
    (found,) = find_contamination({"test": other}, [training_text(source)], **settings)  # type: ignore[arg-type]
    assert (found.shared_corpus, found.training_documents_in_corpus) == (True, 1.0)
    assert (found.documents.exact, found.relevant.exact) == (5, 1)
    same = split(texts, {"q": "other"}, {"q": "d9"})
    marked = find_contamination(
        {"test": same},
        [training_text(triples([("query", "something else", [])]))],
        corpora=[source.corpus.fingerprint],
        **settings,  # type: ignore[arg-type]
    )
    assert marked[0].shared_corpus


def test_training_documents_are_counted_over_blocks_and_sources() -> None:
    documents = [f"document number {n} of w{n}" for n in range(3000)]
    text = training_text(triples([(f"query {n}", document, []) for n, document in enumerate(documents)]))
    held_out = split({f"d{n}": document for n, document in enumerate(documents)}, {"q": "x"}, {"q": "d1"})
    (found,) = find_contamination({"test": held_out}, [text, text], ngram=8, near=0.8, documents=None, seed=0)
    assert (found.training_documents_in_corpus, found.documents.exact) == (1.0, 3000)
    assert found.documents.matches["d2500"].count == 2
    assert found.documents.matches["d2500"].places == [("made", "document", "row 2500")]


def test_a_cut_corpus_keeps_relevant_documents() -> None:
    found = audit(documents=4)
    assert (found.documents.looked_at, found.documents_in_corpus) == (4, 6)
    assert {"exact", "near"} <= set(found.documents.matches)
    assert audit(documents=1).documents.looked_at == 3  # the relevant ones are more than that


def test_splits_of_one_corpus_share_its_documents() -> None:
    one = held()
    found = find_contamination(
        {"a": one, "b": one}, [training_text(triples(ROWS))], ngram=8, near=0.8, documents=None, seed=0
    )
    assert found[0].documents == found[1].documents
    assert found[0].queries == found[1].queries


def stream(count: int) -> Iterator[tuple[str, str]]:
    return ((str(n), f"text {n} about {n % 977} things and {n % 31} more of {n % 7}") for n in range(count))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stream() -> None:
    index = TextIndex([f"text {n} about {n} things and {n} more of {n}" for n in range(5)] + [LONG], 8)
    index.scan("warm", "document", stream(2_000))
    gc.collect()
    tracemalloc.start()
    index.scan("made", "document", stream(200_000))
    grown, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 1e6
    assert peak < 12e6  # a block of 2,000 texts and its words; 200,000 texts would take 30 MB
    assert [match.places[0][2] for match in index.matches(0.8).values()] == ["0", "1", "2", "3", "4"]
