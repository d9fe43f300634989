"""The micro-batches of a phase, counted, and from a few measured ones to the time and memory of all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from colbert_lab.training.data import Batch, MicroBatches
from colbert_lab.training.prepare import PreparedPhase


@dataclass(frozen=True)
class Work:
    """Size of a piece of work, known from tokenization alone.

    Attributes:
        padded: tokens that the encoder computes, padding included.
        area: sum over texts of the squared padded length; what attention computes.
        cells: similarities between query and document tokens, padding included, of a batch that is scored as a whole.
    """

    padded: float
    area: float
    cells: float = 0.0


@dataclass(frozen=True)
class Rates:
    """Seconds (or bytes) as a linear function of the work.

    Attributes:
        fixed: of a piece of work of any size.
        per_token: of a padded token.
        per_area: of a unit of ``area``.
        per_cell: of a unit of ``cells``.
    """

    fixed: float
    per_token: float
    per_area: float
    per_cell: float = 0.0

    def of(self, work: Work) -> float:
        """What a piece of work takes."""
        return (
            self.fixed + self.per_token * work.padded + self.per_area * work.area + self.per_cell * work.cells
        )


def fit_rates(works: Sequence[Work], taken: Sequence[float], per_cell: float = 0.0) -> Rates:
    """The rates that come closest to what was measured, in relative terms; none is below 0.

    Args:
        works: what was measured; at least one piece.
        taken: what each took.
        per_cell: of ``cells``, when it was measured by itself.

    Raises:
        ValueError: nothing was measured.
    """
    if not works:
        raise ValueError("nothing was measured")
    measured = np.array([t - per_cell * work.cells for t, work in zip(taken, works, strict=True)])
    measured = np.maximum(measured, 1e-9)
    columns = np.array([[1.0, work.padded, work.area] for work in works])
    sizes = np.maximum(columns.max(axis=0), 1e-12)  # numbers of one magnitude
    weighted = columns / sizes / measured[:, None]
    found = nnls(weighted, np.ones(len(measured)))[0] / sizes
    fixed, per_token, per_area = (float(value) for value in found)
    return Rates(fixed, per_token, per_area, per_cell)


def evenly(order: Sequence[int], n: int) -> list[int]:
    """Up to ``n`` of some things, evenly over their order, the first and the last included.

    Args:
        order: numbers of the things, from small to large.
        n: at least 1; 1 takes the last.
    """
    if n >= len(order):
        return list(order)
    places = np.unique(np.linspace(len(order) - 1, 0, n).round().astype(int))
    return [order[place] for place in places]


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
        packed: what is computed of them where texts are packed.
        area: see :class:`~colbert_lab.plan.counting.Work`.
        cells: see there.
    """

    queries: int
    documents: int
    tokens: int
    padded: int
    packed: int
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
        packed=batch.n_packed,
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
