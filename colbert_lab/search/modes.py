"""Search modes side by side on the same embeddings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from colbert_lab.base.types import PackedEmbeddings, Variant
from colbert_lab.model.matryoshka import packed_prefix
from colbert_lab.search.corpus import in_row_order
from colbert_lab.search.exact import rerank, search
from colbert_lab.search.inner_product import InnerProductIndex
from colbert_lab.search.mode import Found, Index, Searchable, SearchSettings, checked_found, encoding_of
from colbert_lab.search.plaid import PlaidIndex
from colbert_lab.search.storage import Codec, pool
from colbert_lab.search.store import TokenStore, codec_for, convert
from colbert_lab.search.xtr import search_retrieved

F = TypeVar("F", bound=Callable[..., Any])


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


def once(make: F) -> F:
    """A method that builds something, of which each is built at most once and kept in ``built`` of its object.

    A cache of bound methods would be a cycle, which outlives the search.
    """

    @wraps(make)
    def found(self: Any, *what: Any) -> Any:
        key = (make.__name__, *what)
        if key not in self.built:
            self.built[key] = make(self, *what)
        return self.built[key]

    return cast(F, found)


class Indexes:
    """The indexes of one corpus, each built when it is first asked for, all from the same embeddings.

    Args:
        base: the corpus' token embeddings.
        settings: of search.
        ties_C: see :func:`colbert_lab.search.exact.tie_ranks`.
        dim: of a token.
        folder: an empty folder for indexes that live in files.
        device: where to compute.
        progress: title of progress bars; None shows none.
        memory: bytes of token embeddings that may be held at once; copies of them that would be more go to files.
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
        memory: float = math.inf,
    ) -> None:
        self.room = [memory - base.nbytes]  # one number, which the indexes of prefixes share
        self.base = base
        self.settings = settings
        self.ties_C = ties_C
        self.folder = folder
        self.device = device
        self.progress = progress
        self.dim = dim
        self.built: dict[tuple[Any, ...], Any] = {}

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
        if variant.dim is not None:
            cut, whole = self.cut(variant.dim), replace(variant, dim=None)
            ready = time.perf_counter()
            shorter = packed_prefix(queries, variant.dim)
            found = cut.search(whole, shorter, k, first_stage, lists, excluded)
            return found._replace(variant=variant, seconds_index=found.seconds_index + ready - begun)
        index_bytes = self._prepare(variant)
        indexed = time.perf_counter()
        scores, rows = self._find(variant, queries, min(k, len(self.base)), first_stage, lists, excluded)
        return Searched(variant, scores, rows, index_bytes, indexed - begun, time.perf_counter() - indexed)

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
        if variant.mode in self.settings.own:
            size += self.own(variant).nbytes
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
        if variant.mode in self.settings.own:
            ranked = self.own(variant).search(queries, k)
            key = f"evaluation.own_modes.{variant.mode}"
            return checked_found(ranked, len(queries), k, len(self.base), key)
        if variant.mode == "plaid":
            plaid = self.settings.plaid
            values, places = self.plaid(variant.pool_factor).search(
                queries, self.ties_C, k, n_probe=plaid.n_probe, n_full_scores=plaid.n_full_scores
            )
            return Found(
                [torch.tensor(row) for row in values],
                [torch.tensor(row, dtype=torch.int64) for row in places],
            )
        if variant.mode == "muvera":
            return self._nearest(variant.pool_factor, queries, k)
        assert variant.storage is not None
        store = self.stored(variant.storage, variant.pool_factor)
        if variant.mode == "exact" and lists is None:
            scores, rows = search(queries, store, self.ties_C, k, device=self.device, progress=title)
            return Found(list(scores), list(rows))
        if variant.mode == "xtr":
            k_tokens, ties_C = self.settings.xtr.k, self.ties_C
            return Found(
                *search_retrieved(queries, store, ties_C, k, k_tokens, device=self.device, progress=title)
            )
        if lists is not None:
            candidates = list(lists)
        elif variant.mode == "rerank":
            candidates = [rows[: self.settings.rerank_depth] for rows in first_stage()]
        elif variant.mode == "muvera_rerank":
            gone, n = excluded or [], self.settings.muvera.rerank
            found = self._nearest(variant.pool_factor, queries, n + max(map(len, gone), default=0))[1]
            left = (
                [rows[~torch.isin(rows, out)] for rows, out in zip(found, gone, strict=True)]
                if gone
                else found
            )
            candidates = [rows[:n] for rows in left]
        else:
            raise AssertionError(f"no search mode {variant.mode}")
        return Found(*rerank(queries, store, candidates, self.ties_C, k, device=self.device, progress=title))

    def _nearest(self, factor: int, queries: PackedEmbeddings, k: int) -> Found:
        encoded_BF = encoding_of(self.settings.muvera, self.dim).queries(queries)
        scores, rows = self.muvera(factor).search(encoded_BF, min(k, len(self.base)))
        kept = [row >= 0 for row in rows]  # an approximate index may find fewer
        return Found(
            [s[m] for s, m in zip(scores, kept, strict=True)], [r[m] for r, m in zip(rows, kept, strict=True)]
        )

    @once
    def cut(self, dim: int) -> Indexes:
        """The indexes of the first dimensions, which share the memory that is left."""
        change = partial(packed_prefix, dim=dim)
        store = self._copy(f"cut{dim}", self.base, self.base.codec, dim / self.dim, change)
        folder = self.folder / f"dim{dim}"
        folder.mkdir()
        title = self._title(f"{dim} dimensions")
        made = Indexes(
            store, self.settings, self.ties_C, dim=dim, folder=folder, device=self.device, progress=title
        )
        made.room = self.room
        return made

    @once
    def pooled(self, factor: int) -> TokenStore:
        """The token embeddings, pooled."""
        if factor == 1:
            return self.base
        change = partial(
            pool,
            factor=factor,
            protected=self.settings.protected,
            progress=self._title(f"pooling by {factor}"),
        )
        return self._copy(f"pool{factor}", self.base, self.base.codec, 1 / factor, change)

    def _copy(self, name: str, store: TokenStore, codec: Codec, share: float, *change: Any) -> TokenStore:
        """A copy of the embeddings, of about that share of the bytes: in files when they or the copy need it."""
        in_files = self.base.in_files or share * store.nbytes > self.room[0]
        made = convert(store, codec, self.folder / name if in_files else None, *change)
        self.room[0] -= 0 if in_files else made.nbytes
        return made

    @once
    def stored(self, storage: str, factor: int) -> TokenStore:
        """The pooled token embeddings, kept in a storage."""
        store = self.pooled(factor)
        if storage == store.codec.name:
            return store
        codec = codec_for(storage, store)
        return self._copy(f"{storage}-pool{factor}", store, codec, 1 if storage == "float32" else 0.5)

    @once
    def muvera(self, factor: int) -> InnerProductIndex:
        """The documents' fixed dimensional encodings."""
        store = self.pooled(factor)
        encoding = encoding_of(self.settings.muvera, self.dim)
        parts = [encoding.documents(store.packed(shard)) for shard in store.shards]
        vectors_CF = in_row_order(store, parts)
        approximate = self.settings.muvera.approximate
        # Several threads would link a graph's vectors in an order that varies.
        threads = 1 if approximate else torch.get_num_threads()
        return InnerProductIndex.build(vectors_CF, self.ties_C, approximate=approximate, threads=threads)

    @once
    def own(self, variant: Variant) -> Index:
        """The index of a mode of a class of its own."""
        store = self.pooled(variant.pool_factor)
        if variant.storage is not None:
            store = self.stored(variant.storage, variant.pool_factor)
        folder = self.folder / f"own-{variant.label}"
        folder.mkdir()
        title = self._title(f"{variant.label} index")
        corpus = Searchable(store, self.ties_C, self.dim, folder, self.device, title)
        return self.settings.own[variant.mode].index(corpus)

    @once
    def plaid(self, factor: int) -> PlaidIndex:
        """The PLAID index."""
        store, plaid = self.pooled(factor), self.settings.plaid
        documents = store.documents(torch.arange(len(store)))
        return PlaidIndex.build(
            documents,
            bits=plaid.bits,
            folder=self.folder / f"plaid-{factor}",
            seed=plaid.seed,
            progress=self._title("PLAID index"),
        )
