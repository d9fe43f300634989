"""Top-k inner products over one vector a document, exact or approximate, by faiss (the extra ``search``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import read_json
from colbert_lab.search.exact import score_of, sort_keys

SETTINGS, VECTORS, TIES = "index.json", "vectors.faiss", "ties.npy"


@dataclass(frozen=True, eq=False)
class InnerProductIndex:
    """Vectors of documents, searched by inner product. Build it with :meth:`build` or :meth:`load`.

    Attributes:
        index: the faiss index: IndexFlatIP, or IndexHNSWFlat with the inner product as metric.
        ties_C: int64, which document wins a tie, see :func:`colbert_lab.search.exact.tie_ranks`.
        approximate: whether a graph (HNSW, Malkov & Yashunin 2016, arXiv 1603.09320) is searched instead of all.
        ef_search: least number of candidates that a search of the graph keeps; k, when that is more.
        threads: CPU threads of a call.
    """

    index: Any
    ties_C: Tensor
    approximate: bool
    ef_search: int = 256
    threads: int = 1

    @classmethod
    def build(
        cls,
        vectors_CF: Tensor | Iterable[Tensor],
        ties_C: Tensor,
        *,
        approximate: bool,
        hnsw_m: int = 32,
        ef_construction: int = 200,
        ef_search: int = 256,
        threads: int = 1,
    ) -> InnerProductIndex:
        """Index one vector a document.

        Args:
            vectors_CF: the vectors, float32, or consecutive blocks of their rows, so that they need not be in memory
                beside the index's own copy.
            ties_C: see :func:`colbert_lab.search.exact.tie_ranks`.
            approximate: search a graph; False compares with every vector.
            hnsw_m: links a vector and layer of the graph (twice as many in the lowest layer).
            ef_construction: candidates kept while a vector is linked.
            ef_search: see the class.
            threads: CPU threads of building and searching. More than one link vectors in an order that varies, so
                two graphs of the same vectors may differ a little; exact search does not depend on it.

        Raises:
            InputError: faiss is missing; a setting below its least value; no vectors, or some that are not finite.
            ValueError: ``ties_C`` is not one number a vector.
        """
        faiss = _faiss()
        for key, value, least in (
            ("hnsw_m", hnsw_m, 2),
            ("ef_construction", ef_construction, 1),
            ("ef_search", ef_search, 1),
            ("threads", threads, 1),
        ):
            if value < least:
                raise InputError(
                    f"evaluation.muvera.{key} is {value}: set it to a whole number of at least {least}"
                )
        index = None
        for block in [vectors_CF] if isinstance(vectors_CF, Tensor) else vectors_CF:
            rows = _finite(block, "documents")
            if index is None and approximate:
                index = faiss.IndexHNSWFlat(rows.shape[1], hnsw_m, faiss.METRIC_INNER_PRODUCT)
                index.hnsw.efConstruction = ef_construction
            elif index is None:
                index = faiss.IndexFlatIP(rows.shape[1])
            with _threads(faiss, threads):
                index.add(rows)
        if index is None or index.ntotal == 0:
            raise InputError("there are no document vectors to index: the corpus is empty")
        if len(ties_C) != index.ntotal:
            raise ValueError(f"{len(ties_C)} tie ranks for {index.ntotal} vectors")
        return cls(index, ties_C.cpu(), approximate, ef_search, threads)

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
            parameters = faiss.SearchParametersHNSW(efSearch=max(n, self.ef_search))
        scores, rows = map(torch.from_numpy, self.index.search(queries, n, params=parameters))
        return scores.masked_fill(rows < 0, -torch.inf), rows

    def save(self, path: Path) -> None:
        """Write the index into a folder, which is replaced when it exists.

        Raises:
            OSError: the folder cannot be written.
        """
        faiss = _faiss()
        settings = {"approximate": self.approximate, "ef_search": self.ef_search, "documents": len(self)}
        with atomic_folder(path) as folder:
            try:
                faiss.write_index(self.index, str(folder / VECTORS))
            except RuntimeError as error:
                raise OSError(f"{path}: the index cannot be written: {error}") from error
            np.save(folder / TIES, self.ties_C.numpy(), allow_pickle=False)
            (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")

    @classmethod
    def load(cls, path: Path, threads: int = 1) -> InnerProductIndex:
        """Read what :meth:`save` wrote.

        Args:
            path: the folder.
            threads: CPU threads of a search.

        Raises:
            InputError: faiss is missing, or the folder is not a whole index.
        """
        faiss = _faiss()
        try:
            settings = read_json(path / SETTINGS, dict[str, Any])
            index = faiss.read_index(str(path / VECTORS))
            ties_C = torch.from_numpy(np.load(path / TIES, allow_pickle=False))
            approximate, ef_search = bool(settings["approximate"]), int(settings["ef_search"])
            whole = index.ntotal == len(ties_C) == settings["documents"]
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} cannot be read as an index: build it again ({reason})") from error
        if not whole:
            raise InputError(f"{path} is not a whole index: its files are of different sizes, build it again")
        return cls(index, ties_C, approximate, ef_search, threads)


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
