"""Scorers whose scores a test decides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from colbert_lab.text.collection import build_corpus
from colbert_lab.types import Corpus


def make_corpus(n: int) -> Corpus:
    """Documents ``d0``, ``d1``, ..."""
    return build_corpus([f"d{row}" for row in range(n)], [f"text {row}" for row in range(n)])


@dataclass(frozen=True)
class Given:
    """Scores that are given: one row a query text, in the order of the corpus."""

    name: str
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    system: ClassVar[str] = "teacher"

    def index(self, corpus: Corpus) -> Given:
        return self

    def scores(self, queries: Sequence[str]) -> Tensor:
        table = dict(self.rows)
        return torch.tensor([table[query] for query in queries])


@dataclass(frozen=True)
class Hashed:
    """Scores that are a hash of name, query and document, so all different and the same in every process."""

    name: str
    system: ClassVar[str] = "teacher"

    def index(self, corpus: Corpus) -> HashedIndex:
        return HashedIndex(self.name, tuple(corpus.texts))


@dataclass(frozen=True)
class HashedIndex:
    name: str
    texts: tuple[str, ...]

    def scores(self, queries: Sequence[str]) -> Tensor:
        return torch.tensor(
            [[_share(f"{self.name}|{query}|{text}") for text in self.texts] for query in queries]
        )


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:3], "big") / 2**24
