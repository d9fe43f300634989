"""What teachers and baselines are: something that scores all documents of a corpus for a query, or given documents."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import Corpus, Ranking, Split
from colbert_lab.search.exact import list_rows, search_depth, tie_ranks, top_k
from colbert_lab.teachers.revision import identified

LEAST_QUERIES, MOST_QUERIES, SCORES = 64, 2048, 2**23
"""Queries that are scored together, and the scores that these may be: 32 MiB in float32."""
TEACHER = "teacher"
"""What teachers and retrievers call their own config key in errors, see :func:`told_of`."""


class Index(Protocol):
    """A corpus made ready for scoring."""

    def scores(self, queries: Sequence[str]) -> Tensor:
        """Score all documents for each query: float32 [B, C]."""
        ...


@runtime_checkable
class Finds(Protocol):
    """An index that scores every document and finds some of them only, as BM25 does."""

    def hits(self, queries: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The :meth:`Index.scores` [B, C], and True for what the query finds [B, C]."""
        ...


class Scorer(Protocol):
    """A teacher or retriever: hashable settings, no state. Equal settings share one index of a corpus."""

    @property
    def system(self) -> str:
        """Kind of system: ``bm25``, ``dense`` or ``teacher``. Records have a baseline's name in the config instead."""
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


def queries_at_once(documents: int) -> int:
    """How many queries to score together: of many, those of one length share a batch, and few are padded.

    Args:
        documents: that each is scored with.
    """
    return max(LEAST_QUERIES, min(MOST_QUERIES, SCORES // max(1, documents)))


@contextmanager
def told_of(key: str) -> Iterator[None]:
    """Name the config key of a teacher or retriever in its errors, where it calls itself ``teacher``.

    Args:
        key: the key that it is configured at.
    """
    try:
        yield
    except InputError as error:
        own, rest = str(error)[: len(TEACHER)], str(error)[len(TEACHER) :]
        if own != TEACHER or not rest.startswith((".", ":")):
            raise
        raise InputError(f"{key}{rest}") from error


def indexed(scorer: Scorer, corpus: Corpus) -> Index:
    """The scorer's index of a corpus, built once per process and state of its model."""
    return _indexed(scorer, corpus, identified(scorer))


@lru_cache(maxsize=8)
def _indexed(scorer: Scorer, corpus: Corpus, _: str) -> Index:
    return scorer.index(corpus)


def hits(index: Index, queries: Sequence[str], key: str = "teacher") -> tuple[Tensor, Tensor]:
    """Scores of all documents and which of them are found, both [B, C]; everything, where the index does not say.

    Args:
        index: of a teacher or retriever.
        queries: B texts.
        key: see :func:`finite_scores`.
    """
    if isinstance(index, Finds):
        return index.hits(queries)
    scores_BC = finite_scores(index, queries, key)
    return scores_BC, torch.ones_like(scores_BC, dtype=torch.bool)


def finite_scores(index: Index, queries: Sequence[str], key: str = "teacher") -> Tensor:
    """Scores of all documents for each query: float32 [B, C].

    Args:
        index: of a teacher or retriever.
        queries: B texts.
        key: the config key to name in errors.

    Raises:
        InputError: some are NaN or infinite, which no ranking and no distribution can be made of.
    """
    scores_BC = index.scores(queries)
    bad = (~scores_BC.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise InputError(
            f"{key}: {type(index).__name__}: scores that are not finite numbers for {len(bad)} queries (first: "
            f"{queries[bad[0]]!r:.80}); its weights are damaged, or too large for its precision"
        )
    return scores_BC


def top_hits(scores_BC: Tensor, found_BC: Tensor, ties_C: Tensor, k: int) -> list[tuple[Tensor, Tensor]]:
    """The k best of the documents that are found, fewer where fewer are.

    Args:
        scores_BC: of all documents.
        found_BC: see :func:`hits`.
        ties_C: see :func:`colbert_lab.search.exact.tie_ranks`.
        k: how many to keep.

    Returns:
        For each query, scores and columns, best first.
    """
    values, columns = top_k(scores_BC.float().masked_fill(~found_BC, -torch.inf), ties_C, k)
    ends = found_BC.sum(dim=1).tolist()
    return [(values[b, :end], columns[b, :end]) for b, end in enumerate(ends)]


def rank(
    scorer: Scorer, corpus: Corpus, queries: dict[str, str], k: int, progress: str | None = None
) -> Ranking:
    """The k best documents that a scorer finds for each query; ties by document id descending, as in trec_eval.

    Args:
        scorer: the system.
        corpus: the documents.
        queries: query id to text.
        k: how many documents to keep; a list is shorter where fewer are found.
        progress: title of a progress bar; None shows none.
    """
    index, ties_C = indexed(scorer, corpus), tie_ranks(list(corpus.ids))
    ids, texts = list(queries), list(queries.values())
    scores, rows = [], []
    step = queries_at_once(len(corpus))
    starts = range(0, len(ids), step)
    for start in progress_bar(starts, desc=progress, unit="block", disable=not progress, leave=False):
        for best, columns in top_hits(*hits(index, texts[start : start + step]), ties_C, k):
            scores.append(best.tolist())
            rows.append(columns.tolist())
    return Ranking(ids, [[corpus.ids[r] for r in row] for row in rows], scores)


def zscore(scores_BC: Tensor) -> Tensor:
    """Scores of each query brought to mean 0 and deviation 1 over the corpus; a constant row becomes zeros."""
    constant_B1 = scores_BC.amax(dim=1, keepdim=True) == scores_BC.amin(dim=1, keepdim=True)
    # The mean of equal numbers is rounded, and a rounding error divided by itself would be 1.
    centred = (scores_BC - scores_BC.mean(dim=1, keepdim=True)).masked_fill(constant_B1, 0.0)
    return centred / centred.square().mean(dim=1, keepdim=True).sqrt().clamp_min(
        torch.finfo(torch.float32).tiny
    )


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
    key: str = "teacher",
) -> Iterator[np.ndarray]:
    """Raw scores of each query's documents, one float32 array a query, in the order of its rows.

    Args:
        scorer: a teacher; one with an index scores the whole corpus and the wanted rows are taken.
        corpus: the documents.
        queries: their texts.
        rows: for each query, row numbers of the corpus.
        index: use the scorer's index of the corpus although it can score pairs; for one that is there already.
        key: the config key to name in errors.
    """
    pairs = isinstance(scorer, PairScorer) and not index
    step = LEAST_QUERIES if pairs else queries_at_once(len(corpus))
    for start in range(0, len(queries), step):
        block, wanted = queries[start : start + step], rows[start : start + step]
        if pairs:
            assert isinstance(scorer, PairScorer)
            repeated = [query for query, own in zip(block, wanted, strict=True) for _ in own]
            scores = scorer.score_pairs(
                repeated, [corpus.texts[row] for own in wanted for row in own.tolist()]
            )
            ends = np.cumsum([len(own) for own in wanted])[:-1]
            yield from np.split(scores.numpy().astype(np.float32), ends)
        else:
            scores_BC = finite_scores(indexed(cast(Scorer, scorer), corpus), block, key).numpy()
            for b, own in enumerate(wanted):
                yield scores_BC[b, own].astype(np.float32)


log = logging.getLogger(__name__)


def rank_split(scorer: Scorer, split: Split, depth: int, progress: str | None = None) -> Ranking:
    """Search a split's queries; ties by document id descending, as in trec_eval.

    A list holds what the system finds, so that it may be shorter than ``depth``. Queries for which it finds nothing are
    counted in the log.

    Args:
        scorer: the system.
        split: the queries and what they search: the whole corpus, or each its own candidates. Candidates keep the
            scores they have in the corpus of all candidates.
        depth: documents that a ranking keeps; excluded documents are still in it, and are searched for on top.
        progress: title of a progress bar; None shows none.
    """
    if not split.candidates:
        ranking = rank(scorer, split.corpus, dict(split.queries), search_depth(split, depth), progress)
        return _told(scorer, split, ranking)
    index, ties_C, rows = indexed(scorer, split.corpus), tie_ranks(list(split.corpus.ids)), list_rows(split)
    texts, ids = list(split.queries.values()), split.corpus.ids
    scores: list[list[float]] = []
    documents: list[list[str]] = []
    step = queries_at_once(len(split.corpus))
    for start in range(0, len(texts), step):
        end = start + step
        for scores_C, found_C, rows_K in zip(*hits(index, texts[start:end]), rows[start:end], strict=True):
            own = scores_C[rows_K][None], found_C[rows_K][None]
            ((values, columns),) = top_hits(*own, ties_C[rows_K], depth)
            scores.append(values.tolist())
            documents.append([ids[row] for row in rows_K[columns].tolist()])
    return _told(scorer, split, Ranking(list(split.queries), documents, scores))


def _told(scorer: Scorer, split: Split, ranking: Ranking) -> Ranking:
    """The ranking; the log says for how many queries there is nothing in it."""
    nothing = [q for q, found in zip(ranking.query_ids, ranking.document_ids, strict=True) if not found]
    if nothing:
        _warn(
            f"{scorer.name} finds nothing for {len(nothing)} of {len(split.queries)} queries of {split.dataset}/"
            f"{split.name}, as no document has a word of theirs; they count as 0: {some_ids(nothing)}"
        )
    return ranking


@lru_cache(maxsize=1024)
def _warn(message: str) -> None:
    """Once a process: a first stage is asked at every evaluation."""
    log.warning("%s", message)
