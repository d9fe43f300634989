"""What every teacher and baseline retriever is: something that scores all documents of a corpus for a query."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from tqdm.auto import tqdm

from colbert_lab.retrieval.exact import tie_ranks, top_k
from colbert_lab.types import Corpus, Ranking

QUERIES_AT_ONCE = 64


class Index(Protocol):
    """A corpus made ready for scoring."""

    def scores(self, queries: Sequence[str]) -> Tensor:
        """Score all documents for each query: float32 [B, C]."""
        ...


class Scorer(Protocol):
    """A teacher or retriever: hashable settings, no state. Equal settings share one index of a corpus."""

    @property
    def system(self) -> str:
        """Kind of system in the records: ``bm25`` or ``dense`` or ``teacher``."""
        ...

    @property
    def name(self) -> str:
        """What a table calls it."""
        ...

    def __hash__(self) -> int:
        """Equal settings hash alike."""
        ...

    def index(self, corpus: Corpus) -> Index:
        """Make a corpus ready for scoring."""
        ...


@lru_cache(maxsize=8)
def indexed(scorer: Scorer, corpus: Corpus) -> Index:
    """The scorer's index of a corpus, built once per process."""
    return scorer.index(corpus)


def rank(
    scorer: Scorer, corpus: Corpus, queries: dict[str, str], k: int, progress: str | None = None
) -> Ranking:
    """The k best documents of each query under a scorer; ties by document id descending, as in trec_eval.

    Args:
        scorer: the system.
        corpus: the documents.
        queries: query id to text.
        k: how many documents to keep.
        progress: title of a progress bar; None shows none.
    """
    index, ties_C = indexed(scorer, corpus), tie_ranks(list(corpus.ids))
    ids, texts = list(queries), list(queries.values())
    scores, rows = [], []
    starts = range(0, len(ids), QUERIES_AT_ONCE)
    for start in tqdm(starts, desc=progress, unit="block", disable=None if progress else True, leave=False):
        block_scores, block_rows = top_k(index.scores(texts[start : start + QUERIES_AT_ONCE]), ties_C, k)
        scores += block_scores.tolist()
        rows += block_rows.tolist()
    return Ranking(ids, [[corpus.ids[r] for r in row] for row in rows], scores)


def zscore(scores_BC: Tensor) -> Tensor:
    """Scores of each query brought to mean 0 and deviation 1 over the corpus; a constant row becomes zeros."""
    constant_B1 = scores_BC.amax(dim=1, keepdim=True) == scores_BC.amin(dim=1, keepdim=True)
    # The mean of equal numbers is rounded, and a rounding error divided by itself would be 1.
    centred = (scores_BC - scores_BC.mean(dim=1, keepdim=True)).masked_fill(constant_B1, 0.0)
    return centred / centred.square().mean(dim=1, keepdim=True).sqrt().clamp_min(
        torch.finfo(torch.float32).tiny
    )
