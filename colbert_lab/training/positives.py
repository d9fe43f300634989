"""Which documents are known positives of a query, so that no batch takes them for its negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from colbert_lab.text.fingerprint import text_key, text_keys
from colbert_lab.text.passes import MANY, kept_pass
from colbert_lab.text.rows.examples import Example, Examples


@dataclass(frozen=True)
class DocumentKeys:
    """Keys of some documents of each query of a batch, of each as many as it has.

    They are not padded: one query of a large set may have a hundred thousand positives, and those beside it one.

    Attributes:
        keys: int64, of all queries end to end.
        rows: which query each belongs to, int64.
        n: queries of the batch.
    """

    keys: Tensor
    rows: Tensor
    n: int

    @classmethod
    def of_lists(cls, keys_BK: Tensor) -> DocumentKeys:
        """As many of each query."""
        b, k = keys_BK.shape
        return cls(
            keys_BK.flatten().contiguous(), torch.arange(b, device=keys_BK.device).repeat_interleave(k), b
        )

    def among(self, keys_N: Tensor) -> Tensor:
        """True where a document is one of a query's [B, N], by their keys; equal keys are equal documents."""
        ordered_N = keys_N.sort().values
        # Equal keys share the place of the first of them. What is not there goes to a place of its own, behind all.
        places = torch.searchsorted(ordered_N, self.keys)
        there = ordered_N[places.clamp(max=len(ordered_N) - 1)] == self.keys
        found_BN = torch.zeros(self.n, len(ordered_N) + 1, dtype=torch.bool, device=keys_N.device)
        found_BN[self.rows, torch.where(there, places, len(ordered_N))] = True
        return found_BN[:, torch.searchsorted(ordered_N, keys_N)]

    def to(self, device: torch.device, non_blocking: bool = False) -> DocumentKeys:
        """The same keys on another device; ``non_blocking`` as in ``Tensor.to``."""
        keys, rows = (part.to(device, non_blocking=non_blocking) for part in (self.keys, self.rows))
        return DocumentKeys(keys, rows, self.n)

    def pin_memory(self) -> DocumentKeys:
        """The same keys in memory that a GPU copies from by itself."""
        return DocumentKeys(self.keys.pin_memory(), self.rows.pin_memory(), self.n)


class KnownPositives:
    """The positives of queries that have several, over all rows of the training data.

    Queries and documents are told apart by their texts, so rows of one query in several sources count together. Texts
    of positives are read for queries that occur more than once alone.

    Args:
        sources: the training data.

    Attributes:
        queries: how many queries have several positives.
        pairs: how many positives these have together.
    """

    def __init__(self, sources: Sequence[Examples]) -> None:
        decides = [source.fingerprint for source in sources] if sum(map(len, sources)) >= MANY else None
        kept = kept_pass("positives", decides, lambda: _positives(sources))
        self._queries, self._positives = kept["queries"], kept["positives"]
        self.queries, self.pairs = int(kept["count"][0]), len(self._queries)

    def of(self, query: str) -> np.ndarray:
        """Keys (see :func:`colbert_lab.text.fingerprint.text_key`) of its positives, int64; none where it has one."""
        key = text_key(query)
        start, end = np.searchsorted(self._queries, key, "left"), np.searchsorted(self._queries, key, "right")
        return self._positives[start:end]


def _positives(sources: Sequence[Examples]) -> dict[str, np.ndarray]:
    """Keys of the queries that have several positives, sorted, each with a positive; and how many queries these are."""
    keys = [source.query_keys() for source in sources]
    values, counts = np.unique(np.concatenate(keys), return_counts=True)
    repeated = values[counts > 1]
    found = [np.empty((0, 2), dtype=np.int64)]
    for source, own in zip(sources, keys, strict=True):
        pairs = np.flatnonzero(np.isin(own, repeated))
        found.append(np.stack([own[pairs], text_keys(source.positive_texts(pairs))], axis=1))
    unique = np.unique(np.concatenate(found), axis=0)
    values, inverse, counts = np.unique(unique[:, 0], return_inverse=True, return_counts=True)
    several = unique[(counts > 1)[inverse]]
    return {
        "queries": np.ascontiguousarray(several[:, 0]),
        "positives": np.ascontiguousarray(several[:, 1]),
        "count": np.array([(counts > 1).sum()]),
    }


def positive_keys(examples: Sequence[Example], known: KnownPositives | None) -> DocumentKeys:
    """Keys of each query's known positives: its own first, which may come again among those of all its rows."""
    own = [np.array([text_key(example.documents[0])]) for example in examples]
    found = [
        np.concatenate([first, *([known.of(example.query)] if known else [])])
        for first, example in zip(own, examples, strict=True)
    ]
    rows = np.repeat(np.arange(len(found)), [len(keys) for keys in found])
    return DocumentKeys(torch.from_numpy(np.concatenate(found)), torch.from_numpy(rows), len(found))
