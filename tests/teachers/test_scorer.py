"""Rankings of a scorer, and z-scores."""

import numpy as np
import pytest
import torch

from colbert_lab.teachers import scorer as subject
from colbert_lab.teachers.scorer import indexed, rank, zscore
from colbert_lab.text.collection import build_corpus
from colbert_lab.types import Corpus
from tests.teachers.support import Given, Hashed, make_corpus

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
    monkeypatch.setattr(subject, "QUERIES_AT_ONCE", 3)
    assert rank(Hashed("x"), corpus, queries, 5) == whole
    assert len({tuple(row) for row in whole.document_ids}) == 7


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
