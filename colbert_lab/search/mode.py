"""Search modes of a class of their own, which ``evaluation.own_modes`` names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.search.store import TokenStore


class Found(NamedTuple):
    """What a search found, best first.

    Attributes:
        scores: for each query, float32.
        rows: for each query, the documents' rows in the corpus, int64.
    """

    scores: Sequence[Tensor]
    rows: Sequence[Tensor]


@dataclass(frozen=True)
class Searchable:
    """A corpus that is to be searched.

    Attributes:
        store: the documents' token embeddings, pooled and kept as the config asks.
        ties_C: what decides between equal scores, see :func:`colbert_lab.search.exact.tie_ranks`.
        dim: of a token.
        folder: a folder for an index that lives in files; it is there and empty.
        device: where to compute.
        progress: title of progress bars; None shows none.
    """

    store: TokenStore
    ties_C: Tensor
    dim: int
    folder: Path
    device: torch.device
    progress: str | None


class Index(Protocol):
    """What a mode searches."""

    @property
    def nbytes(self) -> int:
        """Its size, without that of :attr:`Searchable.store`."""

    def search(self, queries: PackedEmbeddings, k: int) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The best documents of every query, at most k, best first: see :class:`Found`."""


@dataclass(frozen=True, kw_only=True)
class SearchMode:
    """A way to search. A subclass is a frozen dataclass whose fields are its settings, in ``evaluation.own_modes``.

    ``task=plan`` takes the time of a search to grow with the corpus.

    Attributes:
        stored: whether it scores the stored token embeddings, so that ``evaluation.storage`` is for it too and their
            size counts; other modes get them as float32 and keep what they need of them.
    """

    stored: ClassVar[bool] = False

    def index(self, corpus: Searchable) -> Index:
        """What is searched, made from the token embeddings of a corpus."""
        raise NotImplementedError


def checked_found(
    found: tuple[Sequence[Tensor], Sequence[Tensor]], queries: int, k: int, documents: int, key: str
) -> Found:
    """What a mode of a user's own found, where it is a ranking.

    Args:
        found: what its index returned.
        queries: how many there were.
        k: how many documents were asked for.
        documents: of the corpus.
        key: of the mode in the config, for errors.

    Raises:
        InputError: it is none; measures would not be what they are called.
    """
    try:
        scores, rows = ([torch.as_tensor(each).cpu() for each in part] for part in found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{key}: must find scores and rows of documents for every query ({error})"
        ) from error
    if not len(scores) == len(rows) == queries:
        raise InputError(
            f"{key}: found {len(scores)} lists of scores and {len(rows)} of rows for {queries} queries"
        )
    for n, (score, row) in enumerate(zip(scores, rows, strict=True)):
        for wrong, problem in _faults(score, row, k, documents):
            if wrong:
                raise InputError(f"{key}: what it found for query number {n + 1} {problem}")
        scores[n], rows[n] = score.float(), row.long()
    return Found(scores, rows)


def _faults(score: Tensor, row: Tensor, k: int, documents: int) -> Iterator[tuple[bool, str]]:
    """What may be wrong with a query's ranking, and whether it is; each can be told only if none before it is."""
    yield score.ndim != 1 or score.shape != row.shape, "needs one score for each row"
    yield len(row) > k, f"has {len(row)} documents, and {k} were asked for"
    whole = not (row.is_floating_point() or row.is_complex() or row.dtype == torch.bool)
    yield not whole and len(row) > 0, "needs whole numbers as rows"
    row = row.long()
    yield bool(((row < 0) | (row >= documents)).any()), f"has a row that the corpus of {documents} lacks"
    yield len(row.unique()) < row.numel(), "has a document twice"
    yield score.is_complex() or bool(score.isnan().any()), "has a score that is not a number"
    score = score.float()
    yield bool((score[1:] > score[:-1]).any()), "is not in the order of its scores, best first"
