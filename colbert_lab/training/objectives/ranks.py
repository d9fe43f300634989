"""Losses that bound or approximate nDCG of a query's own documents, with relevance from the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.settings.allowed import number
from colbert_lab.settings.groups import LEAST_TEMPERATURE
from colbert_lab.text.rows.examples import Examples
from colbert_lab.training.objectives.term import Learned, PlainQuery, Scored, Term, wide

Relevance = Literal["order", "scores"]
Weighting = Literal["lambdarank", "ndcg_loss2", "ndcg_loss2pp"]
MU = 10.0  # weight of NDCG-Loss2 in NDCG-Loss2++, as in allRank and sentence-transformers
ROWS = 100  # of each source that are looked at before training
LARGEST = 24  # grade; float32 has 24 binary digits, so beside 2^25 the gains of small grades are lost


def relevance_of(teacher_BK: Tensor, relevance: Relevance) -> Tensor:
    """Grades of each query's documents.

    Args:
        teacher_BK: raw teacher scores.
        relevance: see :class:`Ranked`.

    Returns:
        Grades of 0 or more [B, K], in float32 or wider; without gradients.
    """
    teacher_BK = wide(teacher_BK.detach())
    if relevance == "scores":
        return teacher_BK.clamp_min(0)
    better_BK = (teacher_BK[:, None, :] > teacher_BK[:, :, None]).sum(dim=2)
    return 1 / (1 + better_BK.to(teacher_BK.dtype))


def gains(grades_BK: Tensor) -> Tensor:
    """2^grade - 1 over the best DCG that an order of the documents has, 0 where no grade is above 0 [B, K]."""
    raw_BK = torch.exp2(grades_BK) - 1
    best_B = (raw_BK.sort(dim=1, descending=True).values / torch.log2(1 + places(raw_BK))).sum(dim=1)
    return raw_BK / torch.where(best_B > 0, best_B, torch.ones_like(best_B))[:, None]


def places(like_BK: Tensor) -> Tensor:
    """1 to K, as scores are [K]."""
    return torch.arange(1, like_BK.shape[1] + 1, device=like_BK.device, dtype=like_BK.dtype)


@dataclass(frozen=True)
class Ranked(Term):
    """What the losses over ranks share: the grades of documents, and a temperature.

    Attributes:
        relevance: a document's grade. ``order`` is 1 over its rank by the teacher's scores, as RankGPT has it for the
            orders of a language model (Sun et al. 2023, arXiv 2304.09542); documents with equal scores share the best
            rank of theirs. ``scores`` takes the teacher's scores for grades as they are, such as labels of 0 to 3, and
            those below 0 for 0, as sentence-transformers and Lightning IR do.
        temperature: divides differences of the student's scores.
    """

    relevance: Relevance = "order"
    temperature: float = number(LEAST_TEMPERATURE, default=1.0)
    teacher_scores: ClassVar[bool] = True

    def check(self, key: str, sources: Sequence[Examples], n_way: int | None, batch_size: int) -> None:
        """Whether scores that are grades tell documents apart, by the first rows of each source."""
        super().check(key, sources, n_way, batch_size)
        if self.relevance != "scores":
            return
        for source in sources:
            rows = (
                source.example(row, n_way or source.fewest, np.random.default_rng(row)).scores
                for row in range(min(ROWS, len(source)))
            )
            scores = np.concatenate([row for row in rows if row is not None])
            largest = float(scores.max())
            if largest <= 0 or largest > LARGEST:
                what = (
                    "none is above 0"
                    if largest <= 0
                    else f"they are up to {largest:g}, and 2^{largest:g} is too large"
                )
                raise InputError(
                    f"{key}.relevance=scores: scores of {source.name} are no grades: {what}; set it to order"
                )


@dataclass(frozen=True)
class LambdaLoss(Ranked):
    """Bounds of nDCG by pairs of documents: LambdaRank, NDCG-Loss2 and NDCG-Loss2++ (Wang et al. 2018, LambdaLoss).

    Of each pair whose grades differ it is log2(1 + exp(-(difference of scores) / temperature)), the better one's score
    less the other's, times the difference of their gains, times what their places in the student's present order say:
    ``lambdarank`` the difference of their discounts 1 / log2(1 + place); ``ndcg_loss2`` the difference of the discounts
    of two places as far from the top as they are from each other; ``ndcg_loss2pp`` 10 times the second and the first.
    The sum over pairs is a query's loss, as in the paper; sentence-transformers and allRank take the mean over pairs.

    Attributes:
        weighting: see above.
    """

    weighting: Weighting = "ndcg_loss2pp"

    def __call__(self, student_BK: Tensor, teacher_BK: Tensor) -> Tensor:
        """Mean loss over the queries of a batch.

        Args:
            student_BK: student scores.
            teacher_BK: raw teacher scores of the same documents.

        Returns:
            Scalar loss, in bits times nDCG.
        """
        order_BK = student_BK.detach().argsort(dim=1, descending=True, stable=True)
        scores_BK = wide(student_BK).gather(1, order_BK)
        grades_BK = relevance_of(teacher_BK, self.relevance)
        gains_BK = gains(grades_BK).gather(1, order_BK)
        # Rows and columns are places in the student's order; only pairs whose row is the better one count.
        apart_BKK = (gains_BK[:, :, None] - gains_BK[:, None, :]).clamp_min(0)
        differences_BKK = (scores_BK[:, :, None] - scores_BK[:, None, :]) / self.temperature
        bits_BKK = torch.nn.functional.softplus(-differences_BKK) / torch.log(differences_BKK.new_tensor(2.0))
        return (self._weights(scores_BK) * apart_BKK * bits_BKK).sum(dim=(1, 2)).mean()

    def _weights(self, like_BK: Tensor) -> Tensor:
        """What two places say [K, K]."""
        place = places(like_BK)
        discounts = 1 / torch.log2(1 + place)
        rank = (discounts[:, None] - discounts[None, :]).abs()
        if self.weighting == "lambdarank":
            return rank
        far = (place[:, None] - place[None, :]).abs()
        # Two documents at one place are no pair; any number does there.
        loss2 = (1 / torch.log2(1 + far.clamp_min(1)) - 1 / torch.log2(2 + far)).abs()
        return loss2 if self.weighting == "ndcg_loss2" else rank + MU * loss2

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """See :meth:`__call__`."""
        assert scored.batch.teacher_BK is not None  # checked when the phase was prepared
        return self(scored.lists_BK, scored.batch.teacher_BK)

    def reference(self, query: PlainQuery, learned: Learned) -> Tensor:
        """The sum over one query's pairs; nothing is shared with what training computes."""
        scores = [query.score(text) for text in query.example.documents]
        gain = _plain_gains(query, self.relevance)
        ranking = sorted(range(len(scores)), key=lambda n: -float(scores[n].detach()))
        place = {n: rank for rank, n in enumerate(ranking, start=1)}
        total = 0 * scores[0]
        for i, better in enumerate(scores):
            for j, worse in enumerate(scores):
                if gain[i] <= gain[j]:
                    continue
                rank = abs(1 / np.log2(1 + place[i]) - 1 / np.log2(1 + place[j]))
                far = abs(place[i] - place[j])
                loss2 = abs(1 / np.log2(1 + far) - 1 / np.log2(2 + far))
                weight = {"lambdarank": rank, "ndcg_loss2": loss2, "ndcg_loss2pp": rank + MU * loss2}
                miss = torch.logaddexp(0 * better, (worse - better) / self.temperature) / np.log(2)
                total = total + float(weight[self.weighting] * (gain[i] - gain[j])) * miss
        return total


@dataclass(frozen=True)
class ApproxNDCG(Ranked):
    """1 - nDCG, with ranks that are smooth in the scores (Qin et al. 2010; Bruch et al. 2019, SIGIR).

    A document's rank is 1 plus, for each other document of the query, the sigmoid of how far that one is above it over
    the temperature. The lower the temperature, the nearer ranks are to whole numbers, and the smaller most slopes are.
    A document's gain is 2^grade - 1. A query in which no grade is above 0 has a loss of 1 and no gradient.
    """

    def __call__(self, student_BK: Tensor, teacher_BK: Tensor) -> Tensor:
        """Mean over the queries of a batch.

        Args:
            student_BK: student scores.
            teacher_BK: raw teacher scores of the same documents.

        Returns:
            Scalar loss of 0 to 1.
        """
        scores_BK = wide(student_BK)
        above_BKK = ((scores_BK[:, None, :] - scores_BK[:, :, None]) / self.temperature).sigmoid()
        ranks_BK = above_BKK.sum(dim=2) + 0.5  # a document is as far above itself as below: 1 - sigmoid(0)
        gains_BK = gains(relevance_of(teacher_BK, self.relevance))
        return (1 - (gains_BK / torch.log2(1 + ranks_BK)).sum(dim=1)).mean()

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """See :meth:`__call__`."""
        assert scored.batch.teacher_BK is not None  # checked when the phase was prepared
        return self(scored.lists_BK, scored.batch.teacher_BK)

    def reference(self, query: PlainQuery, learned: Learned) -> Tensor:
        """1 - sum of gain / log2(1 + rank) of one query; nothing is shared with what training computes."""
        scores = [query.score(text) for text in query.example.documents]
        total = 0 * scores[0]
        for i, gain in enumerate(_plain_gains(query, self.relevance)):
            rank = 1 + 0 * scores[0]
            for other in (*scores[:i], *scores[i + 1 :]):
                rank = rank + 1 / (1 + torch.exp((scores[i] - other) / self.temperature))
            total = total + gain / torch.log2(1 + rank)
        return 1 - total


def _plain_gains(query: PlainQuery, relevance: Relevance) -> list[float]:
    """For the references: gains of one query's documents."""
    teacher = torch.as_tensor(query.example.scores).double().tolist()
    if relevance == "order":
        ranking = sorted(teacher, reverse=True)
        grades = [1 / (1 + ranking.index(score)) for score in teacher]
    else:
        grades = [max(score, 0.0) for score in teacher]
    raw = [2**grade - 1 for grade in grades]
    best = sum(gain / np.log2(1 + place) for place, gain in enumerate(sorted(raw, reverse=True), start=1))
    return [float(gain / best) if best > 0 else 0.0 for gain in raw]
