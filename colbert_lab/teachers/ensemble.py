"""An ensemble teacher: the mean of its members' z-scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus
from colbert_lab.teachers.scorer import Index, Scorer, hits, indexed, zscore


class Ensemble:
    """Mean of z-scores over the corpus, so that members of any scale count alike.

    Args:
        members: name to scorer; at least two.

    Raises:
        InputError: fewer than two members.
    """

    system: ClassVar[str] = "teacher"

    def __init__(self, members: Mapping[str, Scorer]) -> None:
        if len(members) < 2:
            raise InputError(
                "teacher.members: an ensemble needs at least two members; use the single one directly"
            )
        self.members = dict(members)

    @property
    def name(self) -> str:
        """What a table calls it."""
        return f"ensemble of {', '.join(self.members)}"

    def index(self, corpus: Corpus) -> EnsembleIndex:
        """Index the corpus with every member."""
        return EnsembleIndex([indexed(member, corpus) for member in self.members.values()])


@dataclass(frozen=True, eq=False)
class EnsembleIndex:
    """The members' indexes of one corpus.

    Attributes:
        members: one index a member.
    """

    members: Sequence[Index]

    def scores(self, queries: Sequence[str]) -> Tensor:
        """Mean z-score of all documents: float32 [B, C]."""
        return self.hits(queries)[0]

    def hits(self, queries: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Mean z-scores, and True for what any member finds [B, C]."""
        scores, found = zip(*(hits(member, queries) for member in self.members), strict=True)
        return torch.stack([zscore(own) for own in scores]).mean(dim=0), torch.stack(found).any(dim=0)
