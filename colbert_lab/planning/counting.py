"""The micro-batches of a phase: how many tokens, without computing anything."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from colbert_lab.planning.fits import Work
from colbert_lab.training.data import Batch, MicroBatches
from colbert_lab.training.prepare import PreparedPhase

FEWEST = 8  # micro-batches that are counted at least
TEXTS = 50_000  # texts that are tokenized at most, beyond those micro-batches


@dataclass(frozen=True)
class Size:
    """One micro-batch.

    Attributes:
        queries: of this process.
        documents: different ones.
        tokens: without padding.
        padded: with padding.
        area: see :class:`~colbert_lab.planning.fits.Work`.
        cells: see there.
    """

    queries: int
    documents: int
    tokens: int
    padded: int
    area: int
    cells: int

    def work(self, scored_whole: bool) -> Work:
        """What it takes; ``scored_whole`` where every query is scored against every document."""
        return Work(self.padded, self.area, self.cells if scored_whole else 0)


@dataclass(frozen=True)
class Counted:
    """Micro-batches of a phase.

    Attributes:
        total: how many there are to train on.
        numbers: those that were counted, in order.
        sizes: of each of them.
        seconds: to read and tokenize one, on average.
    """

    total: int
    numbers: list[int]
    sizes: list[Size]
    seconds: float

    @property
    def whole(self) -> bool:
        """Whether all were counted."""
        return len(self.numbers) == self.total

    def sum(self, name: str) -> int:
        """Sum of a size over all micro-batches; those that were not counted are like the others."""
        found: int = sum(getattr(size, name) for size in self.sizes)
        return found if self.whole else round(found * self.total / len(self.sizes))

    def mean(self, name: str) -> float:
        """Mean of a size."""
        return float(np.mean([getattr(size, name) for size in self.sizes]))


def size_of(batch: Batch) -> Size:
    """Size of a micro-batch."""
    queries = batch.queries.input_ids_NL
    documents = [chunk.input_ids_NL for chunk in batch.documents]
    padded = sum(chunk.numel() for chunk in documents)
    return Size(
        queries=len(queries),
        documents=sum(map(len, documents)),
        tokens=batch.n_tokens,
        padded=batch.n_padded,
        area=sum(chunk.numel() * chunk.shape[1] for chunk in (queries, *documents)),
        cells=queries.numel() * padded,
    )


def count(phase: PreparedPhase, batches: MicroBatches, done: int, most: int) -> Counted:
    """Count the micro-batches that are still to be trained on.

    Args:
        phase: how to train.
        batches: this process' share of them.
        done: optimizer steps that are done already.
        most: micro-batches to count; a longer phase is counted in part, evenly over it.
    """
    first = done * phase.settings.accumulation
    total = phase.max_steps * phase.settings.accumulation - first
    each = batches.batch_size * (1 + (batches.n_way or min(s.fewest for s in batches.sources)))
    most = min(most, max(FEWEST, TEXTS // each))
    if most < total:
        numbers = np.linspace(first, first + total - 1, most).round().astype(int).tolist()
    else:
        numbers = list(range(first, first + total))
    begun = time.perf_counter()
    sizes = [size_of(batches[k]) for k in numbers]
    return Counted(total, numbers, sizes, (time.perf_counter() - begun) / len(numbers))
