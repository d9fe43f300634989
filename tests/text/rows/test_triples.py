"""Queries with a positive and negatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from colbert_lab.base.errors import InputError
from colbert_lab.text.rows.triples import Triples, column_of, make_triples

COLUMNS: dict[str, list[Any]] = {
    "query_id": ["a", "b", "c"],
    "query": ["qa", "qb", "qc"],
    "document": ["da", "db", "dc"],
    "negative": [["a1", "a2", "a3"], ["b1", "b2"], ["c1", "c2", "c3", "c4"]],
}


def made(negatives: int | None = 2, **changes: Any) -> Triples:
    columns = {name: values for name, values in (COLUMNS | changes).items() if values is not None}
    return make_triples("toy", Dataset.from_dict(columns), negatives, "data.path")


def test_a_row_has_its_positive_first_and_negatives_of_its_own() -> None:
    triples = made()
    assert (len(triples), triples.fewest, triples.scored) == (3, 3, False)
    example = triples.example(2, 3, np.random.default_rng(0))
    assert (example.query_id, example.query, example.documents[0]) == ("c", "qc", "dc")
    assert sorted(example.documents[1:]) == ["c1", "c2"]
    assert list(example.document_ids) == ["toy row c", "toy row c negative 1", "toy row c negative 2"]
    assert example.scores is None


def test_negatives_are_drawn_from_the_first_ones_alone() -> None:
    drawn = [made(2).example(2, 2, np.random.default_rng(seed)).documents[1] for seed in range(40)]
    assert set(drawn) == {"c1", "c2"}


def test_a_draw_depends_on_the_generator_alone() -> None:
    triples = made(2)
    assert triples.example(0, 3, np.random.default_rng(5)) == triples.example(0, 3, np.random.default_rng(5))


def test_pairs_need_no_negatives_and_rows_may_have_no_ids() -> None:
    pairs = made(None, negative=None, query_id=None)
    assert (pairs.negatives, pairs.fewest) == (0, 1)
    assert list(pairs.training_queries()) == [("0", "qa"), ("1", "qb"), ("2", "qc")]
    assert pairs.example(1, 1, np.random.default_rng(0)).documents == ["db"]


def test_whole_numbers_are_ids_too() -> None:
    triples = made(query_id=[7, 8, 8])
    assert [name for name, _ in triples.training_queries()] == ["7", "8", "8"]
    assert [text for _, text in triples.without({"8"}).training_queries()] == ["qa"]


def test_left_out_queries_are_gone_and_the_fingerprint_tells() -> None:
    triples = made()
    left = triples.without({"b"})
    assert [name for name, _ in left.training_queries()] == ["a", "c"]
    assert (left.negatives, left.name) == (triples.negatives, triples.name)
    assert left.example(1, 1, np.random.default_rng(0)).query == "qc"
    assert len({triples.fingerprint, left.fingerprint, triples.without({"a"}).fingerprint}) == 3


@pytest.mark.parametrize(
    "other",
    [
        made(query=["qa", "qb", "other"]),
        made(document=["da", "db", "other"]),
        made(negative=[["a1", "a2"], ["b1", "b2"], ["c1", "c2"]]),
        made(1),
        made(None),
    ],
)
def test_the_fingerprint_changes_with_what_is_trained_on(other: Triples) -> None:
    assert other.fingerprint != made().fingerprint


def test_the_fingerprint_does_not_change_with_anything_else() -> None:
    assert made(shard=[0, 1, 2]).fingerprint == made().fingerprint
    assert made(10).fingerprint == made(2).fingerprint  # the fewest decide


@pytest.mark.parametrize(
    ("negatives", "changes", "message"),
    [
        (2, {"document": None}, r"^data\.path: toy has no column document; it has query_id, query, negative"),
        (2, {"negative": None}, r"^data\.path: toy has no column negative"),
        (
            2,
            {"query": ["q", " ", ""]},
            r"^data\.path: toy: query is empty in rows 2 \(1, 2\); mend them, or set data\.skip_empty",
        ),
        (
            2,
            {"document": ["d", None, "e"]},
            r"^data\.path: toy: document is empty in rows 1 \(1\)",
        ),
        (2, {"negative": [["n"], [], None]}, r"^data\.path: toy: rows without negatives: 2 \(1, 2\)"),
        (
            2,
            {"negative": [["n"], ["n", ""], ["n", None]]},
            r"negative holds an empty text in rows 2 \(1, 2\)",
        ),
        (2, {"negative": ["one", "two", "three"]}, r"negative must be a list of texts, not string"),
        (2, {"query": [1, 2, 3]}, r"query must be text, not int64"),
        (2, {"negative": [[1], [2], [3]]}, r"negative must be a list of texts, not list<.*int64>"),
        (2, {"query": [None, None, None]}, r"query is empty in rows 3 \(0, 1, 2\)"),
        (2, {"negative": [None, None, None]}, r"negative must be a list of texts, not null"),
        (
            2,
            {"query_id": [1.0, 2.5, 3.0]},
            r"query_id must hold ids \(strings or whole numbers\), not double",
        ),
        (2, {"query_id": ["a", None, "c"]}, r"query_id is null in row 1; give every row one"),
        (2, {name: [] for name in COLUMNS}, r"^data\.path: toy is empty; leave the source out"),
    ],
)
def test_mistakes_are_named(negatives: int | None, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(negatives, **changes)


def test_a_column_is_read_in_blocks() -> None:
    table = Dataset.from_dict({"query": [str(n) for n in range(25_000)]})
    assert list(column_of(table, "query")) == [str(n) for n in range(25_000)]
