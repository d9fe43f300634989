"""Which rows of which source a global batch holds, and which documents it may not take for negatives.

The rows are a pure function of (sizes, weights, seed, phase, k).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from colbert_lab.text.fingerprint import text_key, text_keys
from colbert_lab.text.passes import MANY, kept_pass
from colbert_lab.text.rows.examples import Example, Examples


@dataclass(frozen=True)
class Drawn:
    """Rows of a micro-batch: all that a worker has to be told.

    Attributes:
        number: of the micro-batch.
        source: which source they are of.
        rows: of this process, in order.
    """

    number: int
    source: int
    rows: np.ndarray


class SourceSampler:
    """Endless batches of one source each.

    Without weights an epoch reads every source once: each source fills ``size // batch_size`` batches, in shuffled
    order, so sources come in proportion to their size. With weights, the same number of batches is drawn with those
    probabilities, and a source that is used up before the epoch ends begins again in another order. Rows that do not
    fill a batch wait for the next epoch's order.

    Args:
        sizes: rows of each source; each at least ``batch_size``.
        batch_size: rows of a global batch.
        weights: relative frequency of each source's batches; None for proportional to size.
        entropy: seed of everything.
    """

    def __init__(
        self, sizes: Sequence[int], batch_size: int, weights: Sequence[float] | None, entropy: int
    ) -> None:
        self.sizes = list(sizes)
        self.batch_size = batch_size
        self.weights = weights
        self.entropy = entropy
        self.batches = [size // batch_size for size in sizes]
        self.per_epoch = sum(self.batches)
        # The order of the epoch and of the sources at hand; older ones are recomputed when asked for.
        self._order = lru_cache(maxsize=2)(self._make_order)
        self._permutation = lru_cache(maxsize=2 * len(self.sizes))(self._make_permutation)

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes make their own orders, should they ask for one."""
        return SourceSampler, (self.sizes, self.batch_size, self.weights, self.entropy)

    def rows(self, k: int) -> tuple[int, np.ndarray]:
        """The source of batch ``k`` and its rows in it."""
        epoch, position = divmod(k, self.per_epoch)
        order, turns = self._order(epoch)
        source, turn = int(order[position]), int(turns[position])
        again, place = divmod(turn, self.batches[source])
        permutation = self._permutation(epoch, source, again)
        return source, permutation[place * self.batch_size : (place + 1) * self.batch_size].astype(np.int64)

    def _make_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The source of every batch of an epoch, and how many batches of that source came before it."""
        generator = np.random.default_rng([self.entropy, 0, epoch])
        if self.weights is None:
            order = generator.permutation(np.repeat(np.arange(len(self.sizes)), self.batches))
        else:
            shares = np.asarray(self.weights, dtype=np.float64)
            order = generator.choice(len(self.sizes), size=self.per_epoch, p=shares / shares.sum())
        turns = np.empty(len(order), dtype=np.int64)
        for source in range(len(self.sizes)):
            mine = order == source
            turns[mine] = np.arange(int(mine.sum()))
        return order, turns

    def _make_permutation(self, epoch: int, source: int, again: int) -> np.ndarray:
        rows = np.arange(self.sizes[source], dtype=np.uint32)  # half the memory of int64, in the same order
        np.random.default_rng([self.entropy, 1, epoch, source, again]).shuffle(rows)
        return rows


class FromMicroBatch(Sampler[Drawn]):
    """The rows of micro-batches ``start .. total-1``.

    They are drawn in the training process, so that no worker keeps an order of all rows. Its length is ``total``:
    Lightning counts the micro-batches before ``start`` as done when it resumes.
    """

    def __init__(self, drawn: Callable[[int], Drawn], start: int, total: int) -> None:
        self.drawn = drawn
        self.start = start
        self.total = total

    def __iter__(self) -> Iterator[Drawn]:
        return map(self.drawn, range(self.start, self.total))

    def __len__(self) -> int:
        return self.total


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

    def of(self, query: str) -> list[int]:
        """Keys (see :func:`colbert_lab.text.fingerprint.text_key`) of its positives; none where it has one alone."""
        key = text_key(query)
        start, end = np.searchsorted(self._queries, key, "left"), np.searchsorted(self._queries, key, "right")
        keys: list[int] = self._positives[start:end].tolist()
        return keys


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


def positive_keys(examples: Sequence[Example], known: KnownPositives | None) -> Tensor:
    """Keys of each query's known positives, int64 [B, P]: its own first, and again where other queries have more."""
    own = [text_key(example.documents[0]) for example in examples]
    others = [known.of(example.query) if known else [] for example in examples]
    longest = max(map(len, others))
    rows = zip(own, others, strict=True)
    return torch.tensor([[key, *keys, *[key] * (longest - len(keys))] for key, keys in rows])
