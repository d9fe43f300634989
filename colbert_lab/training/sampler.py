"""Which rows of which source a global batch holds.

They are a pure function of (sizes, weights, seed, phase, k).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils.data import Sampler


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
