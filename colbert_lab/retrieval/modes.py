"""Search modes side by side on the same embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from colbert_lab.errors import InputError
from colbert_lab.retrieval.corpus import in_row_order
from colbert_lab.retrieval.exact import search
from colbert_lab.retrieval.inner_product import InnerProductIndex
from colbert_lab.retrieval.plaid import PlaidIndex
from colbert_lab.retrieval.pooling import pool
from colbert_lab.retrieval.rerank import rerank
from colbert_lab.retrieval.storage import STORAGES
from colbert_lab.retrieval.store import Shard, TokenStore, codec_for, convert, make_shard
from colbert_lab.scoring.fde import FixedDimensionalEncoding
from colbert_lab.types import PackedEmbeddings, Variant

MODES = ("exact", "rerank", "muvera", "muvera_rerank", "plaid")
STORED = ("exact", "rerank", "muvera_rerank")  # modes that score stored token embeddings
Found = tuple[Sequence[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Muvera:
    """Settings of the modes ``muvera`` and ``muvera_rerank``: see :class:`FixedDimensionalEncoding`.

    Attributes:
        approximate: search an HNSW graph instead of all vectors.
        rerank: documents that ``muvera_rerank`` scores with MaxSim.
    """

    repetitions: int = 20
    bits: int = 5
    inner_dim: int | None = 16
    final_dim: int | None = None
    fill_empty: bool = True
    seed: int = 42
    approximate: bool = False
    rerank: int = 100

    def encoding(self, dim: int) -> FixedDimensionalEncoding:
        """For tokens of ``dim`` dimensions."""
        return FixedDimensionalEncoding(
            dim, self.repetitions, self.bits, self.inner_dim, self.final_dim, self.fill_empty, self.seed
        )


@dataclass(frozen=True)
class Plaid:
    """Settings of the mode ``plaid``, see :class:`colbert_lab.retrieval.plaid.PlaidIndex`."""

    bits: int = 4
    n_probe: int = 8
    n_full_scores: int = 4096
    seed: int = 42


@dataclass(frozen=True)
class SearchSettings:
    """``evaluation``'s settings of search.

    Attributes:
        variants: what is searched, in the order of the tables.
        protected: first tokens of a document that pooling leaves alone.
        rerank_depth: documents of the first stage that ``rerank`` scores.
        first_stage: what that first stage is, for the protocol.
        muvera: see there.
        plaid: see there.
    """

    variants: tuple[Variant, ...] = (Variant(),)
    protected: int = 1
    rerank_depth: int = 100
    first_stage: Any = None
    muvera: Muvera = Muvera()
    plaid: Plaid = Plaid()

    def protocol(self, variant: Variant) -> dict[str, Any]:
        """What of these settings decides a variant's numbers; nothing for exact search of float32."""
        told: dict[str, Any] = {}
        if variant.storage not in (None, "float32"):
            told["storage"] = variant.storage
        if variant.pool_factor > 1:
            told |= {"pool_factor": variant.pool_factor, "pool_protected": self.protected}
        if variant.mode == "rerank":
            told |= {"rerank_depth": self.rerank_depth, "first_stage": self.first_stage}
        if variant.mode in ("muvera", "muvera_rerank"):
            told["muvera"] = {
                key: value
                for key, value in vars(self.muvera).items()
                if key != "rerank" or "_" in variant.mode
            }
        if variant.mode == "plaid":
            told["plaid"] = dict(vars(self.plaid))
        return told


def variants_of(
    modes: Sequence[str], storages: Sequence[str], pool_factors: Sequence[int]
) -> tuple[Variant, ...]:
    """All combinations that make sense: modes without token embeddings of their own have no storage.

    Raises:
        InputError: an unknown or repeated value, or one that no mode uses.
    """
    for key, values, known in (("mode", modes, MODES), ("storage", storages, STORAGES)):
        for value in values:
            if value not in known:
                raise InputError(f"evaluation.{key}={value}: must be one of {', '.join(known)}")
    for key, given in (("mode", modes), ("storage", storages), ("pool_factor", pool_factors)):
        if not given or len(set(given)) < len(given):
            raise InputError(f"evaluation.{key}: name one or several different values, not {list(given)}")
    for factor in pool_factors:
        if not isinstance(factor, int) or isinstance(factor, bool) or factor < 1:
            raise InputError(
                f"evaluation.pool_factor={factor}: must be a whole number of at least 1 (no pooling)"
            )
    if list(storages) != ["float32"] and not set(modes) & set(STORED):
        raise InputError(
            f"evaluation.storage={storages[0]}: has no effect, {modes[0]} keeps no token embeddings"
        )
    found = [
        Variant(mode, storage, factor)
        for factor in pool_factors
        for storage in storages
        for mode in modes
        if mode in STORED
    ]
    found += [Variant(mode, None, factor) for factor in pool_factors for mode in modes if mode not in STORED]
    return tuple(sorted(found, key=lambda v: (v.pool_factor, modes.index(v.mode))))


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
    ) -> Searched:
        """Search with one variant.

        Args:
            variant: how.
            queries: B packed queries.
            k: documents to keep a query.
            first_stage: rows that ``rerank`` scores, a query.
            lists: rows that ``exact`` scores, a query; None for all.
        """
        begun = time.perf_counter()
        index_bytes = self._prepare(variant)
        indexed = time.perf_counter()
        scores, rows = self._find(variant, queries, min(k, len(self.base)), first_stage, lists)
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
            candidates = list(self._nearest(variant.pool_factor, queries, self.settings.muvera.rerank)[1])
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
        title = self._title(f"pooling by {factor}")
        return TokenStore(self.base.codec, list(self._pooled_shards(factor, title)))

    def _pooled_shards(self, factor: int, title: str | None) -> Iterator[Shard]:
        for shard in self.base.shards:
            small = pool(self.base.packed(shard), factor, self.settings.protected, progress=title)
            yield make_shard(small, shard.rows_C, self.base.codec)

    def _stored(self, storage: str, factor: int) -> TokenStore:
        store = self.pooled(factor)
        if storage == store.codec.name:
            return store
        return convert(store, codec_for(storage, store))

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
