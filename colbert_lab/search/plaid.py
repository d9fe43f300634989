"""PLAID search (Santhanam et al. 2022, "PLAID: An Efficient Engine for Late Interaction Retrieval") by fast-plaid.

Documents are stored as the number of their nearest centroid and a residual of a few bits a dimension. A query probes
the centroids nearest to its tokens, scores the documents found there by centroids alone, and scores the best of them
again with decompressed embeddings. fast-plaid is the optional extra ``plaid`` and needs its own environment, as its
wheels are compiled for one exact torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import read_json
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.search.exact import top_k

FAST_PLAID = "1.7.0.2110"
TORCH = "2.11.0"  # what fast-plaid's own metadata requires; 2110 in its version says the same
COMMANDS = "python3 -m venv .venv-plaid && .venv-plaid/bin/pip install -e '.[demo,plaid]'"


def installed(distribution: str) -> str | None:
    """The version of an installed distribution without its local part (``+cpu``), or None; nothing is imported."""
    try:
        return metadata.version(distribution).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def check_plaid() -> None:
    """Make sure that fast-plaid and torch are the pair that belongs together, before any import.

    On another torch, importing fast-plaid ends the whole process without a Python error, so nobody could catch it.

    Raises:
        InputError: one of the two is missing or has another version.
    """
    found = {"fast-plaid": installed("fast-plaid"), "torch": installed("torch")}
    if found != {"fast-plaid": FAST_PLAID, "torch": TORCH}:
        there = " and ".join(f"{name} {version or 'not installed'}" for name, version in found.items())
        raise InputError(
            f"evaluation.mode=plaid needs fast-plaid {FAST_PLAID} and torch {TORCH} together; this environment has "
            f"{there}. In the checkout, make one of its own: {COMMANDS} (without constraints.txt, which pins another "
            "torch)"
        )


def fast_plaid_class() -> Any:
    """The class ``FastPlaid``, imported only after :func:`check_plaid`, which may raise InputError."""
    check_plaid()
    from fast_plaid.search import FastPlaid

    return FastPlaid


BITS = (1, 2, 4, 8)  # what a byte holds without a remainder
N_PROBE = 8
N_FULL_SCORES = 4096
QUERIES_AT_ONCE = 64  # between two steps of the progress bar
FULLY_SCORED = 4  # fast-plaid decompresses one of so many candidates, as the paper does (ndocs / 4)
METADATA = "metadata.json"


class PlaidFacts(TypedDict):
    """What is read of it."""

    num_documents: int


class PlaidIndex:
    """A fast-plaid index in a folder.

    Args:
        folder: the folder of a built index.
        engine: fast-plaid's own object on that folder.

    Attributes:
        n_documents: C, number of documents.
        n_centroids: number of centroids; probing all of them finds every document.
        dim: D, dimensions of an embedding.
    """

    def __init__(self, folder: Path, engine: Any) -> None:
        self.folder = folder
        self.engine = engine
        self.n_documents = int(read_json(folder / METADATA, PlaidFacts, "build it again")["num_documents"])
        centroids = np.load(folder / "centroids.npy", mmap_mode="r")
        self.n_centroids, self.dim = (int(size) for size in centroids.shape)

    @classmethod
    def build(
        cls,
        documents: PackedEmbeddings,
        *,
        bits: int = 4,
        folder: Path,
        seed: int,
        progress: str | None = None,
    ) -> PlaidIndex:
        """Cluster the tokens of all documents (k-means), quantise the residuals and write the index.

        The number of centroids is fast-plaid's: the power of two below 16 times the square root of the number of
        tokens, as in ColBERTv2. torch's and numpy's random states are as before afterwards (k-means seeds the
        global generators).

        Args:
            documents: C packed documents of unit-length embeddings, each with at least one token; decompressed
                embeddings are normalised, so other lengths would be lost. The index is built and searched on their
                device.
            bits: bits a dimension of a residual: 1, 2, 4 or 8.
            folder: where to write; it becomes the index when it is complete.
            seed: of k-means and of the sample that the quantisation is fitted on.
            progress: title of a progress bar; None shows none. fast-plaid reports nothing while it clusters, so the
                bar moves once.

        Raises:
            InputError: fast-plaid cannot be used here, a setting cannot be kept, ``folder`` holds something other
                than an index, or there are too few tokens.
        """
        fast_plaid = fast_plaid_class()
        _check_documents(documents, bits, folder)
        device = documents.emb_TD.device
        with (
            progress_bar(total=len(documents), desc=progress, unit="document", disable=not progress) as bar,
            atomic_folder(folder) as unfinished,
            _own_random_state(),
        ):
            engine = fast_plaid(str(unfinished), device=str(device))
            engine.create(
                documents_embeddings=list(documents.emb_TD.split(documents.lengths_N.tolist())),
                nbits=bits,
                seed=seed,
                start_from_scratch=0,  # above 0, a small index also keeps the uncompressed embeddings
            )
            engine.close()
            bar.update(len(documents))
        return cls.load(folder, device=device)

    @classmethod
    def load(cls, folder: Path, *, device: torch.device | str = "cpu") -> PlaidIndex:
        """Open a built index.

        Args:
            folder: its folder.
            device: where to search.

        Raises:
            InputError: fast-plaid cannot be used here, or the folder holds no index.
        """
        fast_plaid = fast_plaid_class()
        if not (folder / METADATA).is_file() or not (folder / "centroids.npy").is_file():
            raise InputError(f"{folder}: holds no PLAID index; build it first")
        return cls(folder, fast_plaid(str(folder), device=str(device)))

    @property
    def nbytes(self) -> int:
        """Bytes of the index on disk: codes, residuals, centroids, inverted lists."""
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    def search(
        self,
        queries: PackedEmbeddings,
        ties_C: Tensor,
        k: int,
        *,
        n_probe: int = N_PROBE,
        n_full_scores: int = N_FULL_SCORES,
        progress: str | None = None,
    ) -> tuple[list[list[float]], list[list[int]]]:
        """Approximate MaxSim top-k.

        fast-plaid computes in float16 and returns float32 scores. All scored documents are taken from it, so ties are
        decided by ``ties_C`` as in exact search. On a CPU, as many queries run at once as torch has threads.

        Args:
            queries: B packed queries of unit-length embeddings.
            ties_C: see :func:`colbert_lab.search.exact.tie_ranks`.
            k: how many documents to keep a query.
            n_probe: centroids to probe for each query token; more than there are means all.
            n_full_scores: documents kept after the scores by centroids alone; a quarter of them is scored with
                decompressed embeddings and can be returned.
            progress: title of a progress bar; None shows none.

        Returns:
            Scores and document rows of each query, best first. A query has fewer than k of them when it found fewer.

        Raises:
            InputError: a setting cannot be kept, or a query found no document.
        """
        if ties_C.shape != (self.n_documents,):
            raise InputError(
                f"{self.folder}: the index has {self.n_documents} documents and the corpus {len(ties_C)}; "
                "build the index again"
            )
        if queries.emb_TD.shape[1] != self.dim:
            raise InputError(
                f"{self.folder}: the index has {self.dim} dimensions and the queries {queries.emb_TD.shape[1]}; "
                "build the index with this student"
            )
        check_probing(n_probe, n_full_scores, min(k, self.n_documents))
        ties_C = ties_C.cpu()
        texts = queries.emb_TD.split(queries.lengths_N.tolist())
        ranked: list[tuple[list[float], list[int]]] = []
        with progress_bar(total=len(texts), desc=progress, unit="query", disable=not progress) as bar:
            for start in range(0, len(texts), QUERIES_AT_ONCE):
                part = list(texts[start : start + QUERIES_AT_ONCE])
                found = self.engine.search(
                    part,
                    top_k=n_full_scores,
                    n_full_scores=n_full_scores,
                    n_ivf_probe=min(n_probe, self.n_centroids),
                    n_processes=max(1, min(torch.get_num_threads(), len(part))),
                    show_progress=False,
                )
                ranked += [_best(pairs, ties_C, k) for pairs in found]
                bar.update(len(part))
        nothing = [n for n, (_, rows) in enumerate(ranked) if not rows]
        if nothing:
            raise InputError(
                f"evaluation.plaid.n_probe={n_probe}: {len(nothing)} queries found no document (rows "
                f"{', '.join(map(str, nothing[:5]))}); raise it"
            )
        return [scores for scores, _ in ranked], [rows for _, rows in ranked]


def check_kept(bits: int, dim: int) -> None:
    """Whether fast-plaid can keep embeddings of ``dim`` dimensions with residuals of ``bits``.

    Raises:
        InputError: it cannot.
    """
    if bits not in BITS:
        raise InputError(f"evaluation.plaid.bits={bits}: must be one of {', '.join(map(str, BITS))}")
    if dim % 8:
        raise InputError(
            f"student.dim={dim}: fast-plaid packs residuals into bytes and needs a multiple of 8"
        )


def check_probing(n_probe: int, n_full_scores: int, k: int) -> None:
    """Whether a search can return ``k`` documents.

    Raises:
        InputError: it cannot.
    """
    if n_probe < 1:
        raise InputError(f"evaluation.plaid.n_probe={n_probe}: must be at least 1")
    if n_full_scores // FULLY_SCORED < k:
        raise InputError(
            f"evaluation.plaid.n_full_scores={n_full_scores}: a quarter of it is scored in full, which is fewer "
            f"than the {k} documents to return; use at least {FULLY_SCORED * k}"
        )


def _best(pairs: list[tuple[int, float]], ties_C: Tensor, k: int) -> tuple[list[float], list[int]]:
    """The k best of fast-plaid's (row, score) pairs, ties decided by ``ties_C``."""
    rows = torch.tensor([row for row, _ in pairs], dtype=torch.int64)
    scores = torch.tensor([score for _, score in pairs], dtype=torch.float32)
    best, places = top_k(scores[None], ties_C[rows], k)
    return best[0].tolist(), rows[places[0]].tolist()


def _check_documents(documents: PackedEmbeddings, bits: int, folder: Path) -> None:
    n_tokens, dim = documents.emb_TD.shape
    check_kept(bits, dim)
    if n_tokens < 10:
        raise InputError(
            f"evaluation.mode=plaid: {n_tokens} document tokens are too few; fast-plaid fits its residuals on one "
            "token in 20 and needs at least 10, use evaluation.mode=exact"
        )
    if folder.exists() and not (folder / METADATA).is_file() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds something other than a PLAID index; give another folder")


@contextmanager
def _own_random_state() -> Iterator[None]:
    """Give torch's and numpy's global generators back as they were."""
    numpy_state = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        np.random.set_state(numpy_state)
