"""A loss: the margins of the student are those of the teacher (MarginMSE, Hofstaetter et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from colbert_lab.settings.allowed import number
from colbert_lab.training.objectives.term import Learned, Scored, Term


@dataclass(frozen=True)
class Margin(Term):
    """Mean squared difference between margins: a query's first document against each of its others.

    Args:
        scale: how large the student's margins are to be, as a multiple of the teacher's.
    """

    scale: float = number(above=0, default=1.0)
    teacher_scores: ClassVar[bool] = True

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """See :class:`colbert_lab.training.objectives.term.Term`."""
        student, teacher = scored.lists_BK, scored.batch.teacher_BK
        assert teacher is not None
        apart = (student[:, :1] - student[:, 1:]) - self.scale * (teacher[:, :1] - teacher[:, 1:])
        return apart.square().mean()
