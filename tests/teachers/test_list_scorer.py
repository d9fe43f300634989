"""Scores of given documents, from teachers with an index and from those that read pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from colbert_lab.teachers.bm25 import BM25
from colbert_lab.teachers.list_scorer import score_lists
from colbert_lab.text.collection import build_corpus
from tests.conftest import sentences


class Overlap:
    """Shared words of a pair; counts how many pairs it is given at once."""

    name = "overlap"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> Tensor:
        """Number of shared words."""
        self.asked.append(len(queries))
        pairs = zip(queries, documents, strict=True)
        return torch.tensor([float(len(set(q.split()) & set(d.split()))) for q, d in pairs])


def test_an_index_and_pairs_give_each_query_its_own_documents() -> None:
    texts = sentences(30)
    corpus = build_corpus([str(n) for n in range(30)], texts)
    queries = texts[:70:2] + texts[:60]
    generator = np.random.default_rng(0)
    rows = [generator.choice(30, size=1 + n % 7, replace=False) for n in range(len(queries))]
    scorer = Overlap()
    for query, own, scores in zip(queries, rows, score_lists(scorer, corpus, queries, rows), strict=True):
        assert scores.dtype == np.float32
        assert scores.tolist() == [len(set(query.split()) & set(texts[row].split())) for row in own]
    assert sum(scorer.asked) == sum(map(len, rows))
    index = BM25().index(corpus)
    for query, own, scores in zip(queries, rows, score_lists(BM25(), corpus, queries, rows), strict=True):
        assert scores.tolist() == index.scores([query])[0, own].tolist()
