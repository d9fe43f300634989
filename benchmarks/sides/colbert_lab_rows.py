"""Rows of the suite's file as training data of colbert_lab, in their order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from talk import Suite

from colbert_lab.text.fingerprint import text_keys
from colbert_lab.text.rows.examples import Example
from colbert_lab.training.data import Batch, MicroBatches
from colbert_lab.training.sampler import Drawn


class File:
    """Rows of the suite's file as training data.

    Args:
        batches: rows of each batch, with the positive (or the teacher's best) first.
    """

    def __init__(self, batches: list[list[dict[str, Any]]]) -> None:
        self.name = self.fingerprint = "suite"
        self.rows = [row for batch in batches for row in batch]

    @cached_property
    def fewest(self) -> int:
        """Documents of the shortest row."""
        return min(len(row["documents"]) for row in self.rows)

    @property
    def scored(self) -> bool:
        """Whether rows have teacher scores."""
        return "scores" in self.rows[0]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def example(self, row: int, n_way: int, generator: np.random.Generator) -> Example:
        """A row as the file has it."""
        found = self.rows[row]
        scores = np.array(found["scores"], dtype=np.float32) if self.scored else None
        names = [f"{row}:{n}" for n in range(len(found["documents"]))]
        return Example(str(row), found["query"], names, found["documents"], scores)

    def training_queries(self) -> Iterator[tuple[str, str]]:
        """Ids and texts of all queries."""
        return ((str(n), row["query"]) for n, row in enumerate(self.rows))

    def query_keys(self) -> np.ndarray:
        """Keys of all queries."""
        return text_keys(row["query"] for row in self.rows)

    def positive_texts(self, pairs: np.ndarray) -> Iterator[str]:
        """Positives of some rows."""
        return (self.rows[row]["documents"][0] for row in pairs.tolist())


class InOrder(MicroBatches):
    """Micro-batch k is the file's batch k instead of a random draw, made in the same way."""

    suite: Suite

    @classmethod
    def of(cls, batches: MicroBatches, suite: Suite) -> InOrder:
        """The same settings and rows, with a clock."""
        ordered = cls.__new__(cls)
        ordered.__dict__.update(batches.__dict__)
        ordered.suite = suite
        return ordered

    def examples(self, k: int | Drawn) -> list[Example]:
        """The rows of batch k; after the last one the first again."""
        number = k if isinstance(k, int) else k.number
        (source,), first = self.sources, number * self.batch_size
        generator = np.random.default_rng(0)
        return [
            source.example((first + n) % len(source), source.fewest, generator)
            for n in range(self.batch_size)
        ]

    def __getitem__(self, k: int | Drawn) -> Batch:
        begun = time.perf_counter()
        batch = super().__getitem__(k)
        self.suite.tokenising += time.perf_counter() - begun
        return batch
