"""A teacher: how many words a document shares with the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from colbert_lab.base.types import Corpus


@dataclass(frozen=True)
class Overlap:
    """The number of shared words, to a power.

    Args:
        power: of the number.
        system: what the records call it.
        name: what tables call it.
    """

    power: float = 1.0
    system: str = "teacher"
    name: str = "overlap"

    def index(self, corpus: Corpus) -> Shared:
        """The words of every document."""
        return Shared([set(text.split()) for text in corpus.texts], self.power)


@dataclass
class Shared:
    """Scores of one corpus."""

    words: list[set[str]]
    power: float

    def scores(self, queries: Sequence[str]) -> Tensor:
        """[queries, documents]."""
        return torch.tensor(
            [[len(set(q.split()) & own) ** self.power for own in self.words] for q in queries]
        )
