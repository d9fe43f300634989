"""Search modes side by side on the same embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from colbert_lab.retrieval.corpus import in_row_order
from colbert_lab.retrieval.exact import search
from colbert_lab.retrieval.inner_product import InnerProductIndex
from colbert_lab.retrieval.plaid import PlaidIndex
from colbert_lab.retrieval.pooling import pool
from colbert_lab.retrieval.rerank import rerank
from colbert_lab.retrieval.store import TokenStore, codec_for, convert
from colbert_lab.retrieval.variants import SearchSettings
from colbert_lab.types import PackedEmbeddings, Variant

Found = tuple[Sequence[Tensor], Sequence[Tensor]]


class Searched(NamedTuple):
    """What a variant found.

    Attributes:
        variant: how it searched.
        scores: for each query, float32, best first.
        rows: the documents' rows in the corpus.
        index_bytes: size of everything that is searched.
        seconds_index: wall time to make that from the token embeddings.
        seconds_search: wall time of all queries.
    """

    variant: Variant
    scores: Sequence[Tensor]
    rows: Sequence[Tensor]
    index_bytes: int
    seconds_index: float
    seconds_search: float


class Indexes:
    """The indexes of one corpus, each built when it is first asked for, all from the same embeddings.

    Args:
        base: the corpus' token embeddings.
        settings: of search.
        ties_C: see :func:`colbert_lab.retrieval.exact.tie_ranks`.
        dim: of a token.
        folder: an empty folder for indexes that live in files.
        device: where to compute.
        progress: title of progress bars; None shows none.
    """

    def __init__(
        self,
        base: TokenStore,
        settings: SearchSettings,
        ties_C: Tensor,
        *,
        dim: int,
        folder: Path,
        device: torch.device,
        progress: str | None,
    ) -> None:
        self.base = base
        self.settings = settings
        self.ties_C = ties_C
        self.folder = folder
        self.device = device
        self.progress = progress
        self.dim = dim
        self._built: dict[
            tuple[Any, ...], Any
        ] = {}  # no cache of bound methods: a cycle would outlive the search

    def search(
        self,
        variant: Variant,
        queries: PackedEmbeddings,
        k: int,
        first_stage: Callable[[], Sequence[Tensor]],
        lists: Sequence[Tensor] | None = None,
        excluded: Sequence[Tensor] | None = None,
    ) -> Searched:
        """Search with one variant.

        Args:
            variant: how.
            queries: B packed queries.
            k: documents to keep a query.
            first_stage: rows that ``rerank`` scores, a query.
            lists: rows that ``exact`` scores, a query; None for all.
            excluded: rows that ``muvera_rerank`` leaves out before it takes the documents to score, a query.
        """
        begun = time.perf_counter()
        index_bytes = self._prepare(variant)
        indexed = time.perf_counter()
        scores, rows = self._find(variant, queries, min(k, len(self.base)), first_stage, lists, excluded)
        return Searched(variant, scores, rows, index_bytes, indexed - begun, time.perf_counter() - indexed)

    def _once(self, make: Callable[..., Any], *what: Any) -> Any:
        """What ``make`` builds of this, built at most once."""
        key = (make.__name__, *what)
        if key not in self._built:
            self._built[key] = make(*what)
        return self._built[key]

    def pooled(self, factor: int) -> TokenStore:
        """The token embeddings, pooled."""
        return cast(TokenStore, self._once(self._pooled, factor))

    def stored(self, storage: str, factor: int) -> TokenStore:
        """The pooled token embeddings, kept in a storage."""
        return cast(TokenStore, self._once(self._stored, storage, factor))

    def muvera(self, factor: int) -> InnerProductIndex:
        """The documents' fixed dimensional encodings."""
        return cast(InnerProductIndex, self._once(self._muvera, factor))

    def plaid(self, factor: int) -> PlaidIndex:
        """The PLAID index."""
        return cast(PlaidIndex, self._once(self._plaid, factor))

    def _title(self, what: str) -> str | None:
        return self.progress and f"{self.progress} {what}"

    def _prepare(self, variant: Variant) -> int:
        """Build what the variant searches; its bytes."""
        size = 0
        if variant.storage is not None:
            size += self.stored(variant.storage, variant.pool_factor).nbytes
        if variant.mode in ("muvera", "muvera_rerank"):
            size += self.muvera(variant.pool_factor).nbytes
        if variant.mode == "plaid":
            size += self.plaid(variant.pool_factor).nbytes
        return size

    def _find(
        self,
        variant: Variant,
        queries: PackedEmbeddings,
        k: int,
        first_stage: Callable[[], Sequence[Tensor]],
        lists: Sequence[Tensor] | None,
        excluded: Sequence[Tensor] | None,
    ) -> Found:
        title = self._title(f"{variant.label} search")
        if variant.mode == "plaid":
            plaid = self.settings.plaid
            values, places = self.plaid(variant.pool_factor).search(
                queries, self.ties_C, k, n_probe=plaid.n_probe, n_full_scores=plaid.n_full_scores
            )
            return [torch.tensor(row) for row in values], [
                torch.tensor(row, dtype=torch.int64) for row in places
            ]
        if variant.mode == "muvera":
            return self._nearest(variant.pool_factor, queries, k)
        assert variant.storage is not None
        store = self.stored(variant.storage, variant.pool_factor)
        if variant.mode == "exact" and lists is None:
            scores, rows = search(queries, store, self.ties_C, k, device=self.device, progress=title)
            return list(scores), list(rows)
        if lists is not None:
            candidates = list(lists)
        elif variant.mode == "rerank":
            candidates = [rows[: self.settings.rerank_depth] for rows in first_stage()]
        else:
            gone, n = excluded or [], self.settings.muvera.rerank
            found = self._nearest(variant.pool_factor, queries, n + max(map(len, gone), default=0))[1]
            left = (
                [rows[~torch.isin(rows, out)] for rows, out in zip(found, gone, strict=True)]
                if gone
                else found
            )
            candidates = [rows[:n] for rows in left]
        return rerank(queries, store, candidates, self.ties_C, k, device=self.device, progress=title)

    def _nearest(self, factor: int, queries: PackedEmbeddings, k: int) -> Found:
        encoded_BF = self.settings.muvera.encoding(self.dim).queries(queries)
        scores, rows = self.muvera(factor).search(encoded_BF, min(k, len(self.base)))
        kept = [row >= 0 for row in rows]  # an approximate index may find fewer
        return [s[m] for s, m in zip(scores, kept, strict=True)], [
            r[m] for r, m in zip(rows, kept, strict=True)
        ]

    def _pooled(self, factor: int) -> TokenStore:
        if factor == 1:
            return self.base
        change = partial(
            pool,
            factor=factor,
            protected=self.settings.protected,
            progress=self._title(f"pooling by {factor}"),
        )
        return convert(self.base, self.base.codec, self._files(f"pool{factor}"), change)

    def _files(self, name: str) -> Path | None:
        """Where a copy of the embeddings goes: to files when they are in files, which is where they fit."""
        return self.folder / name if self.base.in_files else None

    def _stored(self, storage: str, factor: int) -> TokenStore:
        store = self.pooled(factor)
        if storage == store.codec.name:
            return store
        return convert(store, codec_for(storage, store), self._files(f"{storage}-pool{factor}"))

    def _muvera(self, factor: int) -> InnerProductIndex:
        store = self.pooled(factor)
        encoding = self.settings.muvera.encoding(self.dim)
        parts = [encoding.documents(store.packed(shard)) for shard in store.shards]
        vectors_CF = in_row_order(store, parts)
        approximate = self.settings.muvera.approximate
        # Several threads would link a graph's vectors in an order that varies.
        threads = 1 if approximate else torch.get_num_threads()
        return InnerProductIndex.build(vectors_CF, self.ties_C, approximate=approximate, threads=threads)

    def _plaid(self, factor: int) -> PlaidIndex:
        store, plaid = self.pooled(factor), self.settings.plaid
        documents = store.documents(torch.arange(len(store)))
        return PlaidIndex.build(
            documents,
            bits=plaid.bits,
            folder=self.folder / f"plaid-{factor}",
            seed=plaid.seed,
            progress=self._title("PLAID index"),
        )
