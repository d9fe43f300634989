"""BM25 against its formula, written out in float64."""

import math

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.teachers.bm25 import BM25
from colbert_lab.text.collections.collection import build_corpus

# Texts with the terms that stemming and stop words leave of them, by hand.
DOCUMENTS = {
    "d1": ("The rivers are blue.", ["river", "blue"]),
    "d2": (
        "Fish swim in the river; other fish swim.",
        ["fish", "swim", "river", "other", "fish", "swim"],
    ),
    "d3": ("", []),
    "d4": ("Swimming is for FISHES", ["swim", "fish"]),
    "d5": (
        "stone stone stone stone blue-green stones",
        ["stone", "stone", "stone", "stone", "blue", "green", "stone"],
    ),
    "d6": ("of the and", []),
}
QUERIES = {
    "blue rivers": ["blue", "river"],
    "swimming fish and more fish": ["swim", "fish", "more", "fish"],
    "the stone": ["stone"],
    "unknown words beside a green one": ["unknown", "word", "besid", "green", "one"],
}
CORPUS = build_corpus(list(DOCUMENTS), [text for text, _ in DOCUMENTS.values()])


def formula(query: list[str], k1: float, b: float) -> list[float]:
    """Lucene's BM25 of every document; a term counts as often as it is in the query."""
    documents = [terms for _, terms in DOCUMENTS.values()]
    mean_length = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for term in query:
            holding = sum(term in other for other in documents)
            weight = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            count = document.count(term)
            if count:
                score += weight * count / (count + k1 * (1 - b + b * len(document) / mean_length))
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.5, 0.75), (2.0, 0.0), (0.3, 1.0)])
def test_scores_equal_the_formula(k1: float, b: float) -> None:
    scores = BM25(k1=k1, b=b).index(CORPUS).scores(list(QUERIES))
    expected = torch.tensor([formula(terms, k1, b) for terms in QUERIES.values()], dtype=torch.float64)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), expected, rtol=1e-6, atol=1e-7)


def test_the_default_settings_are_anserinis() -> None:
    expected = BM25(k1=0.9, b=0.4).index(CORPUS).scores(list(QUERIES))
    assert torch.equal(BM25().index(CORPUS).scores(list(QUERIES)), expected)


def test_a_query_without_known_terms_gives_zeros() -> None:
    index = BM25().index(CORPUS)
    scores = index.scores(["", "the of", "zebra", "blue"])
    assert torch.equal(scores[:3], torch.zeros(3, len(CORPUS)))
    assert scores[3].max() > 0


def test_scores_do_not_depend_on_the_queries_beside() -> None:
    index = BM25().index(CORPUS)
    alone = torch.cat([index.scores([query]) for query in QUERIES])
    assert torch.equal(index.scores(list(QUERIES)), alone)


def test_a_corpus_without_a_term_is_refused() -> None:
    with pytest.raises(InputError, match="bm25: the documents have no term to search by"):
        BM25().index(build_corpus(["d1", "d2"], ["the of", "?!"]))


def test_tables_name_the_settings() -> None:
    assert BM25.system == "bm25"
    assert "k1=1.2, b=0.75" in BM25(k1=1.2, b=0.75).name
