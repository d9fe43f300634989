"""The weighted sum of objectives that a phase minimises."""

from __future__ import annotations

from dataclasses import dataclass

from colbert_lab.errors import InputError
from colbert_lab.objectives.contrastive import Contrastive
from colbert_lab.objectives.distillation import Distillation


@dataclass(frozen=True)
class Mix:
    """loss = distillation_weight x distillation + contrastive_weight x contrastive.

    ColBERT-AZ's card uses 0.7 and 0.3.

    Attributes:
        distillation: the distillation objective.
        contrastive: the contrastive objective.
        distillation_weight: 0 turns it off.
        contrastive_weight: 0 turns it off.
    """

    distillation: Distillation
    contrastive: Contrastive
    distillation_weight: float
    contrastive_weight: float

    def __post_init__(self) -> None:
        """Check the weights."""
        if self.distillation_weight < 0 or self.contrastive_weight < 0:
            raise InputError("objective: weights must be 0 or more")
        if self.distillation_weight == 0 and self.contrastive_weight == 0:
            raise InputError("objective: both weights are 0, so there is nothing to minimise")
