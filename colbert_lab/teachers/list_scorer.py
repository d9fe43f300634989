"""Scores of given documents for given queries, from any teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, cast, runtime_checkable

import numpy as np
from torch import Tensor

from colbert_lab.teachers.scorer import QUERIES_AT_ONCE, Scorer, indexed
from colbert_lab.types import Corpus


@runtime_checkable
class PairScorer(Protocol):
    """A teacher that reads query and document together (a cross-encoder), so that it has no index of a corpus."""

    @property
    def name(self) -> str:
        """What a table calls it."""
        ...

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> Tensor:
        """Score N pairs: float32 [N], in their order."""
        ...


@runtime_checkable
class ChecksQueries(Protocol):
    """A teacher that can tell beforehand which queries it cannot read."""

    def check_queries(self, query_ids: Sequence[str], queries: Sequence[str]) -> None:
        """Raise InputError that names the queries."""
        ...


def score_lists(
    scorer: Scorer | PairScorer,
    corpus: Corpus,
    queries: Sequence[str],
    rows: Sequence[np.ndarray],
    *,
    index: bool = False,
) -> Iterator[np.ndarray]:
    """Raw scores of each query's documents, one float32 array a query, in the order of its rows.

    Args:
        scorer: a teacher; one with an index scores the whole corpus and the wanted rows are taken.
        corpus: the documents.
        queries: their texts.
        rows: for each query, row numbers of the corpus.
        index: use the scorer's index of the corpus although it can score pairs; for one that is there already.
    """
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        block, wanted = queries[start : start + QUERIES_AT_ONCE], rows[start : start + QUERIES_AT_ONCE]
        if isinstance(scorer, PairScorer) and not index:
            repeated = [query for query, own in zip(block, wanted, strict=True) for _ in own]
            scores = scorer.score_pairs(
                repeated, [corpus.texts[row] for own in wanted for row in own.tolist()]
            )
            ends = np.cumsum([len(own) for own in wanted])[:-1]
            yield from np.split(scores.numpy().astype(np.float32), ends)
        else:
            scores_BC = indexed(cast(Scorer, scorer), corpus).scores(block).numpy()
            for b, own in enumerate(wanted):
                yield scores_BC[b, own].astype(np.float32)
