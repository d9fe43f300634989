"""Contrastive training: InfoNCE (van den Oord et al. 2018) over scored documents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from colbert_lab.errors import InputError


@dataclass(frozen=True)
class Contrastive:
    """Cross entropy of each query's positive among all documents of the batch.

    Attributes:
        temperature: divides the scores (ColBERT-Zero's script 0.02 and 0.2, ColBERT-AZ 0.05).
        learnable: train the temperature too, from that value on.
        false_negative_ratio: leave out a query's own negatives that the teacher scores above this share of the
            positive (ColBERT-AZ 0.9); None keeps all.
        own_negatives: whether a query's own negatives count beside the documents of the other queries; ColBERTv2
            leaves them to the distillation.
        batch_negatives: whether the documents of the other queries count; ColBERT-AZ takes a query's own list alone.
    """

    temperature: float
    learnable: bool = False
    false_negative_ratio: float | None = None
    own_negatives: bool = True
    batch_negatives: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.temperature > 0:
            raise InputError(f"objective.contrastive.temperature={self.temperature}: must be above 0")
        if self.false_negative_ratio is not None and not self.false_negative_ratio > 0:
            raise InputError(
                f"objective.contrastive.false_negative_ratio={self.false_negative_ratio}: must be above 0"
            )
        if self.false_negative_ratio is not None and not self.own_negatives:
            raise InputError(
                "objective.contrastive.false_negative_ratio: has no effect with own_negatives=false; set it to null"
            )
        if not self.own_negatives and not self.batch_negatives:
            raise InputError(
                "objective.contrastive: nothing to contrast with when own_negatives and batch_negatives are both false"
            )

    def __call__(
        self,
        scores_BN: Tensor,
        positive_B: Tensor,
        ignore_BN: Tensor | None = None,
        temperature: Tensor | None = None,
    ) -> Tensor:
        """Mean InfoNCE loss over the queries of a batch.

        Args:
            scores_BN: scores of every query against every document.
            positive_B: column of each query's positive.
            ignore_BN: True where a document must not count as a negative of that query (see :func:`ignored`); the
                positive itself is never ignored.
            temperature: the learned temperature, instead of the setting.

        Returns:
            Scalar loss in nats.
        """
        logits_BN = scores_BN.float() / (self.temperature if temperature is None else temperature)
        if ignore_BN is not None:
            keep_BN = torch.zeros_like(ignore_BN).scatter_(1, positive_B[:, None], True)
            logits_BN = logits_BN.masked_fill(ignore_BN & ~keep_BN, -torch.inf)
        return torch.nn.functional.cross_entropy(logits_BN, positive_B)


def ignored(
    keys_N: Tensor,
    rows_BK: Tensor,
    teacher_BK: Tensor | None,
    false_negative_ratio: float | None,
    own_negatives: bool = True,
    batch_negatives: bool = True,
) -> Tensor:
    """Documents that must not count as negatives of a query.

    They are copies of its positive anywhere in the batch; those of its own negatives that the teacher scores
    above ``false_negative_ratio`` times the positive, or all of them without ``own_negatives``, with their copies;
    what is no document of its own without ``batch_negatives``; and all but the first copy of any document, so that the
    loss does not depend on how the batch is spread over processes.

    Args:
        keys_N: int64 keys of all documents; equal keys mean equal documents.
        rows_BK: columns of each query's own documents, the positive first.
        teacher_BK: their teacher scores, for the filter.
        false_negative_ratio: see :class:`Contrastive`.
        own_negatives: see there.
        batch_negatives: see there.

    Returns:
        True where ignored [B, N]; may be True for a positive, which the loss keeps.
    """
    keys_BK = keys_N[rows_BK]
    ignore_BN = keys_N == keys_BK[:, :1]
    ignore_BN |= _repeated(keys_N)
    out_BK = torch.full_like(rows_BK, not own_negatives, dtype=torch.bool)
    if false_negative_ratio is not None and teacher_BK is not None:
        out_BK |= teacher_BK > false_negative_ratio * teacher_BK[:, :1]
    own_BN = torch.zeros_like(ignore_BN)
    for k in range(1, rows_BK.shape[1]):
        copies_BN = keys_N == keys_BK[:, k : k + 1]
        own_BN |= copies_BN
        ignore_BN |= copies_BN & out_BK[:, k : k + 1]
    return ignore_BN if batch_negatives else ignore_BN | ~own_BN


def _repeated(keys_N: Tensor) -> Tensor:
    """True for every document that has a copy before it [N]."""
    order = torch.argsort(keys_N, stable=True)
    ordered = keys_N[order]
    same = torch.zeros_like(keys_N, dtype=torch.bool)
    same[1:] = ordered[1:] == ordered[:-1]
    return torch.zeros_like(same).scatter_(0, order, same)
