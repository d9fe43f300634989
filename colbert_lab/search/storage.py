"""How token embeddings are kept: as they are, with half the digits, as bytes, as residuals of centroids; or pooled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.model.token_pooling import pooled
from colbert_lab.settings.evaluation import STORAGES

Arrays = Mapping[str, np.ndarray]
BLOCK = 65_536  # tokens that are compared with all centroids at once


class Codec(Protocol):
    """Turns token embeddings into what is kept, and back."""

    @property
    def name(self) -> str:
        """One of ``STORAGES``."""
        ...

    def encode(self, emb_TD: Tensor) -> dict[str, np.ndarray]:
        """What is kept of each token; every array has T rows."""
        ...

    def decode(self, arrays: Arrays) -> Tensor:
        """Float32 embeddings [T, D]."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """What decoding needs beside the tokens' own arrays."""
        ...


@dataclass(frozen=True)
class Float:
    """The numbers themselves, in ``float32`` (nothing lost) or ``float16``."""

    name: str

    def encode(self, emb_TD: Tensor) -> dict[str, np.ndarray]:
        """One array."""
        return {"values": emb_TD.numpy().astype(self.name, copy=False)}

    def decode(self, arrays: Arrays) -> Tensor:
        """The same numbers as float32."""
        return tensor_of(arrays["values"]).float()

    def state(self) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class Int8:
    """A byte a dimension and a float16 scale a token: symmetric quantisation to [-127, 127]."""

    name: str = "int8"

    def encode(self, emb_TD: Tensor) -> dict[str, np.ndarray]:
        """Bytes and scales; the scale is rounded first, so that decoding uses what encoding used."""
        scale_T = (emb_TD.abs().amax(dim=1) / 127).half().clamp_min(torch.finfo(torch.float16).tiny)
        bytes_TD = (emb_TD / scale_T[:, None].float()).round().clamp(-127, 127).to(torch.int8)
        return {"bytes": bytes_TD.numpy(), "scale": scale_T.numpy()}

    def decode(self, arrays: Arrays) -> Tensor:
        """Bytes times scale."""
        return tensor_of(arrays["bytes"]).float() * tensor_of(arrays["scale"]).float()[:, None]

    def state(self) -> dict[str, np.ndarray]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class Residual:
    """Nearest centroid and a few bits a dimension of what is left, as in ColBERTv2 (Santhanam et al. 2022, 3.3).

    Buckets of the residual have their cuts at its quantiles i / 2**bits over a sample, and stand for the quantile in
    their middle. Decoded vectors are brought to unit length, as there.

    Attributes:
        bits: 1, 2 or 4.
        centroids_KD: float32, unit length.
        cuts: float32 [2**bits - 1].
        values: float32 [2**bits].
    """

    bits: int
    centroids_KD: Tensor
    cuts: Tensor
    values: Tensor

    @property
    def name(self) -> str:
        """With the bits."""
        return f"residual{self.bits}"

    def encode(self, emb_TD: Tensor) -> dict[str, np.ndarray]:
        """The centroid's number, and the buckets packed into bytes, first dimension in the lowest bits."""
        codes_T = nearest(emb_TD, self.centroids_KD)
        buckets_TD = torch.bucketize(emb_TD - self.centroids_KD[codes_T], self.cuts).to(torch.uint8)
        each = 8 // self.bits
        buckets_TD = torch.nn.functional.pad(buckets_TD, (0, -buckets_TD.shape[1] % each))
        shifts = torch.arange(each, dtype=torch.uint8) * self.bits
        packed = (buckets_TD.unflatten(1, (-1, each)) << shifts).sum(dim=2, dtype=torch.uint8)
        narrow = np.uint16 if len(self.centroids_KD) <= 65_536 else np.int32
        return {"codes": codes_T.numpy().astype(narrow), "packed": packed.numpy()}

    def decode(self, arrays: Arrays) -> Tensor:
        """Centroid plus the buckets' values, at unit length."""
        packed = tensor_of(arrays["packed"])
        shifts = torch.arange(8 // self.bits, dtype=torch.uint8) * self.bits
        buckets = (packed[:, :, None] >> shifts) & (2**self.bits - 1)
        buckets_TD = buckets.flatten(1)[:, : self.centroids_KD.shape[1]]
        codes_T = torch.from_numpy(np.asarray(arrays["codes"]).astype(np.int64))
        decoded = self.centroids_KD[codes_T] + self.values[buckets_TD.int()]
        return torch.nn.functional.normalize(decoded, dim=1)

    def state(self) -> dict[str, np.ndarray]:
        """Centroids and buckets."""
        return {
            "centroids": self.centroids_KD.numpy(),
            "cuts": self.cuts.numpy(),
            "values": self.values.numpy(),
        }


def fit_residual(sample_TD: Tensor, n_tokens: int, bits: int, seed: int) -> Residual:
    """Centroids and buckets from a sample of a corpus' tokens.

    As in ColBERTv2's indexer, there are ``2 ** floor(log2(16 * sqrt(n_tokens)))`` centroids (but at most a quarter of
    the sample, so that each has tokens of its own), from spherical k-means; buckets come from tokens that k-means did
    not see (a tenth of the sample).

    Args:
        sample_TD: unit-length embeddings in random order, at least 20.
        n_tokens: tokens of the whole corpus.
        bits: a dimension of the residual.
        seed: of k-means.

    Raises:
        InputError: faiss is missing, or the sample is too small.
    """
    held_out = max(len(sample_TD) // 10, 1)
    seen_TD, unseen_TD = sample_TD[held_out:], sample_TD[:held_out]
    if len(sample_TD) < 20:
        raise InputError(
            f"evaluation.storage=residual{bits}: {len(sample_TD)} tokens are too few for centroids; use float16"
        )
    wanted = 2 ** math.floor(math.log2(16 * math.sqrt(n_tokens)))
    centroids_KD = _k_means(seen_TD, max(1, min(wanted, len(seen_TD) // 4)), seed)
    left = (unseen_TD - centroids_KD[nearest(unseen_TD, centroids_KD)]).flatten().numpy()
    buckets = 2**bits
    cuts = np.quantile(left, np.arange(1, buckets) / buckets)
    values = np.quantile(left, (np.arange(buckets) + 0.5) / buckets)
    return Residual(bits, centroids_KD, torch.from_numpy(cuts).float(), torch.from_numpy(values).float())


def codec_of(name: str, state: Arrays) -> Codec:
    """A codec from its name and :meth:`Codec.state`.

    Raises:
        InputError: no such storage.
    """
    if name in ("float32", "float16"):
        return Float(name)
    if name == "int8":
        return Int8()
    if name in STORAGES:
        parts = (torch.from_numpy(np.array(state[key])) for key in ("centroids", "cuts", "values"))
        return Residual(int(name.removeprefix("residual")), *parts)
    raise InputError(f"evaluation.storage={name}: must be one of {', '.join(STORAGES)}")


def nearest(emb_TD: Tensor, centroids_KD: Tensor) -> Tensor:
    """The centroid with the largest inner product with each token, int64 [T]."""
    parts = [
        (emb_TD[start : start + BLOCK] @ centroids_KD.T).argmax(dim=1)
        for start in range(0, len(emb_TD), BLOCK)
    ]
    return torch.cat(parts)


def tensor_of(array: np.ndarray) -> Tensor:
    """A tensor over the same memory; a copy when the memory is a file's."""
    return torch.from_numpy(np.array(array) if isinstance(array, np.memmap) else array)


def _k_means(emb_TD: Tensor, n_centroids: int, seed: int) -> Tensor:
    try:
        import faiss
    except ImportError as error:
        raise InputError(
            "evaluation.storage: residuals need faiss; pip install 'colbert-lab[search]'"
        ) from error
    k_means = faiss.Kmeans(
        emb_TD.shape[1],
        n_centroids,
        niter=4,
        spherical=True,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=256,
    )
    k_means.train(np.ascontiguousarray(emb_TD.numpy()))
    return torch.from_numpy(np.array(k_means.centroids))


def pool(
    documents: PackedEmbeddings, factor: int, protected: int = 1, progress: str | None = None
) -> PackedEmbeddings:
    """Pool the tokens of each document to about one in ``factor``.

    See :mod:`colbert_lab.model.token_pooling`. Time and memory are quadratic in the tokens of one document.

    Args:
        documents: N packed documents of unit-length tokens, each with at least one token.
        factor: tokens a pooled token; 1 changes nothing.
        protected: tokens kept at the start of each document, such as the marker.
        progress: title of a progress bar; None shows none.

    Returns:
        N packed documents, float32 on the CPU; ``documents`` itself for factor 1.

    Raises:
        InputError: ``factor`` is below 1 or ``protected`` below 0.
    """
    for key, value, least in (("factor", factor, 1), ("protected", protected, 0)):
        if value < least:
            raise InputError(
                f"evaluation.pool_{key} is {value}: set it to a whole number of at least {least}"
            )
    if factor == 1:
        return documents
    texts = documents.emb_TD.cpu().float().split(documents.lengths_N.tolist())
    bar = progress_bar(texts, desc=progress, unit="doc", disable=not progress)
    found = [pooled(PackedEmbeddings(each, torch.tensor([len(each)])), factor, protected) for each in bar]
    return PackedEmbeddings(
        torch.cat([each.emb_TD for each in found]), torch.cat([each.lengths_N for each in found])
    )
