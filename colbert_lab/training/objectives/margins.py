"""Losses over the margins between a query's positive and its own negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from colbert_lab.settings.allowed import number
from colbert_lab.settings.groups import LEAST_TEMPERATURE
from colbert_lab.text.rows.examples import Examples
from colbert_lab.training.objectives.term import (
    Learned,
    PlainQuery,
    Scored,
    Term,
    check_lists,
    log_shares,
    wide,
)


def margins(scores_BK: Tensor) -> Tensor:
    """How far column 0 is above each other column [B, K - 1], in float32 or wider."""
    scores_BK = wide(scores_BK)
    return scores_BK[:, :1] - scores_BK[:, 1:]


@dataclass(frozen=True)
class MarginMSE(Term):
    """Mean squared difference of the student's and the teacher's margins (Hofstätter et al. 2020, arXiv 2010.02666).

    A margin is the score of a query's first document (its positive, or the teacher's best) less that of one of its
    others. The paper has one negative a query; with several, the mean is over all of them, as in sentence-transformers.
    Scores of both sides count raw, as there and in the paper: the student learns the teacher's scale with its order.
    """

    teacher_scores: ClassVar[bool] = True

    def __call__(self, student_BK: Tensor, teacher_BK: Tensor) -> Tensor:
        """Mean over the queries of a batch and their negatives.

        Args:
            student_BK: student scores, the positive first.
            teacher_BK: raw teacher scores of the same documents; no gradient flows into them.

        Returns:
            Scalar loss, in squared units of the scores.
        """
        return (margins(student_BK) - margins(teacher_BK.detach())).square().mean()

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """See :meth:`__call__`."""
        assert scored.batch.teacher_BK is not None  # checked when the phase was prepared
        return self(scored.lists_BK, scored.batch.teacher_BK)

    def reference(self, query: PlainQuery, learned: Learned) -> Tensor:
        """(positive - negative - teacher's margin)^2, the mean over one query's negatives."""
        first, *others = query.example.documents
        best, *worse = torch.as_tensor(query.example.scores).tolist()
        errors = [
            (query.score(first) - query.score(text)) - (best - score)
            for text, score in zip(others, worse, strict=True)
        ]
        return torch.stack([error**2 for error in errors]).mean()


@dataclass(frozen=True)
class PairwiseSoftmax(Term):
    """Cross entropy of a query's positive against one of its own negatives at a time.

    ColBERT's first loss: the softmax over a positive and a negative (Khattab & Zaharia 2020, section 3.3), there with
    one negative a query (``n_way=2``). With several, the mean is over all of them; a negative that is a known positive
    of the query counts for none.

    Attributes:
        temperature: divides the scores; ColBERT has none, which is 1.
    """

    temperature: float = number(LEAST_TEMPERATURE, default=1.0)
    negatives: ClassVar[bool] = True

    def __call__(self, scores_BK: Tensor, negative_BK: Tensor | None = None) -> Tensor:
        """Mean over the queries of a batch; a query without a negative counts with 0.

        Args:
            scores_BK: student scores, the positive first.
            negative_BK: True where a document counts as a negative; None for all but the first.

        Returns:
            Scalar loss in nats.
        """
        each_BN = torch.nn.functional.softplus(-margins(scores_BK) / self.temperature)
        if negative_BK is None:
            return each_BN.mean()
        counts_BN = negative_BK[:, 1:].to(each_BN)
        return ((each_BN * counts_BN).sum(dim=1) / counts_BN.sum(dim=1).clamp_min(1)).mean()

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """See :meth:`__call__`."""
        return self(scored.lists_BK, scored.batch.negative_BK)

    def check(self, key: str, sources: Sequence[Examples], n_way: int | None, batch_size: int) -> None:
        """Whether queries have negatives of their own."""
        super().check(key, sources, n_way, batch_size)
        check_lists(key, sources, n_way)

    def reference(self, query: PlainQuery, learned: Learned) -> Tensor:
        """-log(exp(positive) / (exp(positive) + exp(negative))), the mean over one query's negatives."""
        first, *others = query.example.documents
        losses = [
            -log_shares(torch.stack([query.score(first), query.score(text)]) / self.temperature)[0]
            for text in others
            if text != first and text not in query.known
        ]
        return torch.stack(losses).mean() if losses else 0 * query.score(first)
