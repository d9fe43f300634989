"""Contrastive training: InfoNCE (van den Oord et al. 2018) over scored documents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from colbert_lab.errors import InputError


@dataclass(frozen=True)
class Contrastive:
    """Cross entropy of each query's positive among all documents it is scored against.

    Attributes:
        temperature: divides the scores (ColBERT-Zero's script 0.02 and 0.2, ColBERT-AZ 0.05).
    """

    temperature: float

    def __post_init__(self) -> None:
        """Check the temperature."""
        if not self.temperature > 0:
            raise InputError(f"objective.contrastive.temperature={self.temperature}: must be above 0")

    def __call__(self, scores_BN: Tensor, positive_B: Tensor, ignore_BN: Tensor | None = None) -> Tensor:
        """Mean InfoNCE loss over the queries of a batch.

        Args:
            scores_BN: scores of every query against every document.
            positive_B: column of each query's positive.
            ignore_BN: True where a document must not count as a negative of that query (a copy of its
                positive); the positive itself is never ignored.

        Returns:
            Scalar loss in nats.
        """
        logits_BN = scores_BN.float() / self.temperature
        if ignore_BN is not None:
            keep_BN = torch.zeros_like(ignore_BN).scatter_(1, positive_B[:, None], True)
            logits_BN = logits_BN.masked_fill(ignore_BN & ~keep_BN, -torch.inf)
        return torch.nn.functional.cross_entropy(logits_BN, positive_B)
