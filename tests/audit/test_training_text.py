"""Reading any source in one way."""

import numpy as np
import pytest

from colbert_lab.audit.training_text import draw, training_text
from colbert_lab.text.fingerprint import normalised
from tests.audit.support import lists, triples

ROWS = [("qa", "pa", ["n1", "n2"]), ("qb", "pb", ["n3", "n4", "n5"]), ("qc", "pc", ["n6", "n7"])]


def test_triples_give_their_rows_without_what_is_not_trained_on() -> None:
    text = training_text(triples(ROWS, ids=["a", "b", "c"]).without({"a"}))
    rows = list(text.rows())
    assert [(row.query_id, row.query) for row in rows] == [("b", "qb"), ("c", "qc")]
    assert rows[0].documents == [("row 1", "pb"), ("row 1 negative 1", "n3"), ("row 1 negative 2", "n4")]
    assert [row.query for row in text.rows(np.array([1]))] == ["qc"]
    assert (len(text), text.widths().tolist(), text.n_documents()) == (2, [3, 3], 6)
    assert list(text.queries()) == [("b", "qb"), ("c", "qc")]
    assert len(list(text.documents())) == 6


def test_pairs_without_ids_are_called_by_their_rows() -> None:
    text = training_text(triples([("q", "p", []), ("r", "s", [])]))
    assert [(row.query_id, row.documents) for row in text.rows()] == [
        ("0", [("row 0", "p")]),
        ("1", [("row 1", "s")]),
    ]


def test_lists_put_the_best_first_and_give_only_used_documents() -> None:
    text = training_text(
        lists(["q", "r"], ["a", "b", "c", "never"], [[0, 1], [2, 1, 0]], [[1, 2], [0, 3, 1]])
    )
    assert [[name for name, _ in row.documents] for row in text.rows()] == [["d1", "d0"], ["d1", "d2", "d0"]]
    assert list(text.documents()) == [("d0", "a"), ("d1", "b"), ("d2", "c")]
    assert (text.widths().tolist(), text.n_documents()) == ([2, 3], 3)


@pytest.mark.parametrize(
    "source", [triples(ROWS), lists(["q", "r"], ["a", "b"], [[0, 1], [1, 0]], [[1, 2], [0, 3]])]
)
def test_hashes_are_those_of_the_rows(source: object) -> None:
    text = training_text(source)  # type: ignore[arg-type]
    hashes = text.hashes()
    start = 0
    known: dict[int, str] = {}
    for n, (row, end) in enumerate(zip(text.rows(), hashes.ends.tolist(), strict=True)):
        assert hashes.query_id(n) == row.query_id
        for member, (name, document) in zip(hashes.members[start:end].tolist(), row.documents, strict=True):
            assert hashes.document_id(member) == name
            assert known.setdefault(int(hashes.documents[member]), document) == document
        start = end


@pytest.mark.parametrize("text", ["A  Stone.", "a stone", " ａ\tSTONE!", "(a stone)"])
def test_texts_that_count_as_the_same(text: str) -> None:
    assert normalised(text) == "a stone"


def test_a_draw_is_fixed_by_its_seed_and_ascends() -> None:
    one = draw(100, 10, 1)
    assert one is not None
    assert one.tolist() == sorted(set(one.tolist()))
    assert np.array_equal(one, np.asarray(draw(100, 10, 1)))
    assert not np.array_equal(one, np.asarray(draw(100, 10, 2)))
    assert draw(10, 10, 1) is draw(10, None, 1) is None
