"""Top-k inner products over one vector a document, exact or approximate, by faiss (the extra ``search``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.search.exact import score_of, sort_keys

HNSW_M = 32
"""Links a vector and layer of the graph; twice as many in the lowest layer."""
EF_CONSTRUCTION = 200
"""Candidates kept while a vector is linked."""
EF_SEARCH = 256
"""Least number of candidates that a search of the graph keeps; k, when that is more."""


@dataclass(frozen=True, eq=False)
class InnerProductIndex:
    """Vectors of documents, searched by inner product. Build it with :meth:`build`.

    Attributes:
        index: the faiss index: IndexFlatIP, or IndexHNSWFlat with the inner product as metric.
        ties_C: int64, which document wins a tie, see :func:`colbert_lab.search.exact.tie_ranks`.
        approximate: whether a graph (HNSW, Malkov & Yashunin 2016, arXiv 1603.09320) is searched instead of all.
        threads: CPU threads of a call.
    """

    index: Any
    ties_C: Tensor
    approximate: bool
    threads: int = 1

    @classmethod
    def build(
        cls,
        vectors_CF: Tensor | Iterable[Tensor],
        ties_C: Tensor,
        *,
        approximate: bool,
        threads: int = 1,
    ) -> InnerProductIndex:
        """Index one vector a document.

        Args:
            vectors_CF: the vectors, float32, or consecutive blocks of their rows, so that they need not be in memory
                beside the index's own copy.
            ties_C: see :func:`colbert_lab.search.exact.tie_ranks`.
            approximate: search a graph; False compares with every vector.
            threads: CPU threads of building and searching. More than one link vectors in an order that varies, so
                two graphs of the same vectors may differ a little; exact search does not depend on it.

        Raises:
            InputError: faiss is missing; no vectors, or some that are not finite.
            ValueError: ``ties_C`` is not one number a vector.
        """
        faiss = _faiss()
        index = None
        for block in [vectors_CF] if isinstance(vectors_CF, Tensor) else vectors_CF:
            rows = _finite(block, "documents")
            if index is None and approximate:
                index = faiss.IndexHNSWFlat(rows.shape[1], HNSW_M, faiss.METRIC_INNER_PRODUCT)
                index.hnsw.efConstruction = EF_CONSTRUCTION
            elif index is None:
                index = faiss.IndexFlatIP(rows.shape[1])
            with _threads(faiss, threads):
                index.add(rows)
        if index is None or index.ntotal == 0:
            raise InputError("there are no document vectors to index: the corpus is empty")
        if len(ties_C) != index.ntotal:
            raise ValueError(f"{len(ties_C)} tie ranks for {index.ntotal} vectors")
        return cls(index, ties_C.cpu(), approximate, threads)

    def __len__(self) -> int:
        """Number of documents."""
        return int(self.index.ntotal)

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors and, when approximate, of the graph's links (not the tie ranks)."""
        vectors = 4 * len(self) * int(self.index.d)
        if not self.approximate:
            return vectors
        graph = self.index.hnsw
        links = 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
        return vectors + int(links)

    def search(self, queries_BF: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k best documents of each query.

        Equal scores are ordered by ``ties_C`` (larger wins). Exact search also decides by it which of them are among
        the k; the approximate one knows only those that it found.

        Args:
            queries_BF: one vector a query.
            k: how many documents to keep.

        Returns:
            float32 scores [B, k'] and int64 document rows [B, k'], best first, k' = min(k, C). Where the graph led to
            fewer documents, the rest has score -inf and row -1.

        Raises:
            InputError: the queries are not finite, or have another size than the documents.
            ValueError: k is below 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}, and a search returns at least one document")
        queries = _finite(queries_BF, "queries")
        if queries.shape[1] != self.index.d:
            raise InputError(
                f"evaluation.muvera: queries have {queries.shape[1]} values and the index {self.index.d}: encode both "
                "with the same settings"
            )
        k = min(k, len(self))
        found = 1 + k if not self.approximate else k
        kept, kept_rows = torch.empty(len(queries), k), torch.empty(len(queries), k, dtype=torch.int64)
        open_B = torch.arange(len(queries))
        faiss = _faiss()
        with _threads(faiss, self.threads):
            while len(open_B):
                scores, rows = self._found(faiss, queries[open_B.numpy()], min(found, len(self)))
                # A tie across the cut may go on beyond what was found: look at twice as many until it ends.
                settled = (scores[:, -1] < scores[:, k - 1]) | (self.approximate or found >= len(self))
                keys, columns = sort_keys(scores, self.ties_C[rows.clamp(min=0)]).topk(k, dim=1)
                kept[open_B[settled]] = score_of(keys)[settled]
                kept_rows[open_B[settled]] = rows.gather(1, columns)[settled]
                open_B, found = open_B[~settled], 2 * found
        return kept, kept_rows

    def _found(self, faiss: Any, queries: np.ndarray, n: int) -> tuple[Tensor, Tensor]:
        """Scores and rows [B, n] as faiss orders them; what is missing has score -inf and row -1."""
        parameters = None
        if self.approximate:
            parameters = faiss.SearchParametersHNSW(efSearch=max(n, EF_SEARCH))
        scores, rows = map(torch.from_numpy, self.index.search(queries, n, params=parameters))
        return scores.masked_fill(rows < 0, -torch.inf), rows


def _faiss() -> Any:
    try:
        return import_module("faiss")
    except ImportError as error:
        raise InputError(
            "evaluation.mode=muvera searches with faiss, which cannot be imported: install the extra "
            f'"search", pip install "colbert-lab[search]" ({error})'
        ) from error


def _finite(vectors: Tensor, whose: str) -> np.ndarray:
    """float32 rows for faiss, all finite."""
    bad = (~torch.isfinite(vectors)).any(dim=1).nonzero().flatten().tolist()
    if bad:
        raise InputError(
            f"vectors of {whose} are not finite (rows {bad[:5]}): the student is broken, train it anew"
        )
    return np.ascontiguousarray(vectors.detach().cpu().float().numpy())


@contextmanager
def _threads(faiss: Any, n: int) -> Iterator[None]:
    """Let faiss use n threads in the block; it may share its thread count with torch, so both are put back."""
    of_torch, of_faiss = torch.get_num_threads(), faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(n)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(of_faiss)
        if torch.get_num_threads() != of_torch:
            torch.set_num_threads(of_torch)
