"""Knowledge distillation from teacher scores over a query's candidate documents.

Both sides are normalised, divided by a temperature, and turned into distributions by softmax; the loss is a
Kullback-Leibler divergence between them, averaged over queries. Every choice is a setting, because teacher
scales differ wildly: raw RepLLaMA scores make an almost uniform softmax, raw SPLADE++ scores a one-hot one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from colbert_lab.training.objectives.term import (
    Learned,
    Normalisation,
    PlainQuery,
    Scored,
    Side,
    Term,
    log_shares,
    wide,
)

Direction = Literal["teacher_student", "student_teacher"]
FLAT, ONE_HOT = 0.98, 0.02  # normalised teacher entropy outside these has nothing, or only a label, to teach
EPSILON = 1e-6  # keeps min-max and z-scores of a constant list finite (they become zeros)
CONSTANT = (
    1e-6  # the reference: a list whose scores are nearer to each other than this has no order to normalise
)


def normalise_scores(scores_BK: Tensor, normalisation: Normalisation) -> Tensor:
    """Normalise each list of scores by itself.

    Args:
        scores_BK: scores, one list a row.
        normalisation: see :class:`Side`.

    Returns:
        Normalised scores [B, K]; a constant list becomes zeros under ``minmax`` and ``zscore``.
    """
    if normalisation == "none":
        return scores_BK
    if normalisation == "minmax":
        low = scores_BK.amin(dim=-1, keepdim=True)
        return (scores_BK - low) / (scores_BK.amax(dim=-1, keepdim=True) - low).clamp_min(EPSILON)
    centred = scores_BK - scores_BK.mean(dim=-1, keepdim=True)
    # The square root of the clamped variance: its gradient stays finite when all scores are equal.
    return centred / centred.square().mean(dim=-1, keepdim=True).clamp_min(EPSILON**2).sqrt()


def log_distribution(scores_BK: Tensor, side: Side) -> Tensor:
    """Log-softmax of the normalised scores over temperature, in float32 or wider [B, K]."""
    return torch.log_softmax(normalise_scores(wide(scores_BK), side.normalisation) / side.temperature, dim=-1)


@dataclass(frozen=True)
class Distillation(Term):
    """Kullback-Leibler divergence of the student's and the teacher's distributions.

    Attributes:
        teacher: the teacher's side.
        student: the student's side.
        direction: ``teacher_student`` is KL(teacher || student), what ``F.kl_div(log_student, teacher)``
            computes (PyLate, Stanford's ColBERT); ``student_teacher`` is KL(student || teacher), the formula
            on the ColBERT-AZ card.
    """

    teacher: Side = field(default_factory=Side)
    student: Side = field(default_factory=Side)
    direction: Direction = "teacher_student"
    teacher_scores: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Take sides as the config has them, as mappings."""
        for name in ("teacher", "student"):
            if isinstance(given := getattr(self, name), Mapping):
                object.__setattr__(self, name, Side(**given))

    def __call__(self, student_BK: Tensor, teacher_BK: Tensor) -> Tensor:
        """Mean divergence over the queries of a batch.

        Args:
            student_BK: student scores.
            teacher_BK: raw teacher scores of the same documents; no gradient flows into them.

        Returns:
            Scalar loss in nats.
        """
        log_s = log_distribution(student_BK, self.student)
        log_t = log_distribution(teacher_BK.detach(), self.teacher)
        if self.direction == "student_teacher":
            log_s, log_t = log_t, log_s
        return (log_t.exp() * (log_t - log_s)).sum(dim=-1).mean()

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """See :meth:`__call__`."""
        assert scored.batch.teacher_BK is not None  # checked when the phase was prepared
        return self(scored.lists_BK, scored.batch.teacher_BK)

    def side(self) -> Side:
        """The teacher's."""
        return self.teacher

    def reference(self, query: PlainQuery, learned: Learned) -> Tensor:
        """The divergence of one query as its formula is written; it shares nothing with what training computes."""
        own = torch.stack([query.score(text) for text in query.example.documents])
        given = torch.as_tensor(query.example.scores).to(own)
        log_p, log_q = _plain_log_softmax(given, self.teacher), _plain_log_softmax(own, self.student)
        if self.direction == "student_teacher":
            log_p, log_q = log_q, log_p
        return (log_p.exp() * (log_p - log_q)).sum()


def _plain_log_softmax(scores_K: Tensor, side: Side) -> Tensor:
    """For the reference: logarithms of one list's distribution, normalised, over temperature."""
    if side.normalisation == "minmax":
        spread = scores_K.max() - scores_K.min()
        scores_K = (scores_K - scores_K.min()) / spread.clamp_min(CONSTANT)
    elif side.normalisation == "zscore":
        centred = scores_K - scores_K.mean()
        variance = centred.square().mean()
        scores_K = centred / variance.clamp_min(CONSTANT**2).sqrt()
    else:
        assert side.normalisation == "none"
    return log_shares(scores_K / side.temperature)


def normalised_entropy(teacher_BK: Tensor, side: Side) -> Tensor:
    """How much a teacher's distributions say: 1 is uniform (nothing to learn), 0 is one-hot (a label).

    Args:
        teacher_BK: raw teacher scores.
        side: the teacher's normalisation and temperature.

    Returns:
        Entropy of each list over log K, [B].
    """
    log_t = log_distribution(teacher_BK, side)
    return -(log_t.exp() * log_t).sum(dim=-1) / math.log(teacher_BK.shape[-1])
