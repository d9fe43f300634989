"""Planted duplicates are counted and named."""

from colbert_lab.audit.duplicates import find_duplicates
from colbert_lab.audit.training_text import training_text
from tests.audit.support import lists, triples


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
