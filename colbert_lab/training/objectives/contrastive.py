"""Contrastive training: InfoNCE (van den Oord et al. 2018) over scored documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.settings.allowed import NO_DEFAULT, number
from colbert_lab.settings.groups import LEAST_TEMPERATURE
from colbert_lab.text.rows.examples import Examples
from colbert_lab.training.data import Batch
from colbert_lab.training.objectives.term import Learned, PlainQuery, Scored, Term, log_shares
from colbert_lab.training.positives import DocumentKeys

Scores = TypeVar("Scores", float, Tensor)


@dataclass(frozen=True)
class Contrastive(Term):
    """Cross entropy of each query's positive among all documents of the batch.

    Attributes:
        temperature: divides the scores (ColBERT-Zero's script 0.02 and 0.2, ColBERT-AZ 0.05).
        learnable: train the temperature too, from that value on.
        false_negative_ratio: leave out a query's own negatives that the teacher scores above :func:`share_of` the
            positive (ColBERT-AZ 0.9); None keeps all.
        own_negatives: whether a query's own negatives count beside the documents of the other queries; ColBERTv2
            leaves them to the distillation.
        batch_negatives: whether the documents of the other queries count; ColBERT-AZ takes a query's own list alone.
    """

    temperature: float = number(LEAST_TEMPERATURE, default=NO_DEFAULT)
    learnable: bool = False
    false_negative_ratio: float | None = number(above=0, default=None)
    own_negatives: bool = True
    batch_negatives: bool = True
    all_pairs: ClassVar[bool] = True
    parts: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.false_negative_ratio is not None and not self.own_negatives:
            raise InputError("false_negative_ratio: has no effect with own_negatives=false; set it to null")
        if not self.own_negatives and not self.batch_negatives:
            raise InputError(
                "own_negatives: nothing to contrast with when it and batch_negatives are both false"
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

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """InfoNCE over the documents of all processes; logged is how many queries have their positive first."""
        scores_BN, keys_N, rows_BK = scored.pairs
        ignore_BN = self.ignored(scored.batch, keys_N, rows_BK)
        scored.log("accuracy", first_B(scores_BN.detach(), rows_BK[:, :1], ignore_BN))
        return self(scores_BN, rows_BK[:, 0], ignore_BN, learned.get("temperature"))

    def ignored(self, batch: Batch, keys_N: Tensor, rows_BK: Tensor) -> Tensor:
        """See :func:`ignored`, of a micro-batch and the documents of all processes [B, N]."""
        return ignored(
            keys_N,
            rows_BK,
            batch.teacher_BK,
            self.false_negative_ratio,
            self.own_negatives,
            self.batch_negatives,
            batch.positives,
        )

    def learned(self) -> Mapping[str, float]:
        """The temperature, where it is learnable."""
        return {"temperature": self.temperature} if self.learnable else {}

    def check(self, key: str, sources: Sequence[Examples], n_way: int | None, batch_size: int) -> None:
        """Whether each setting has an effect on this data."""
        super().check(key, sources, n_way, batch_size)
        unscored = [source.name for source in sources if not source.scored]
        if self.false_negative_ratio is not None and unscored:
            raise InputError(
                f"{key}.false_negative_ratio: has no effect, {unscored[0]} has no teacher scores; set it to null, or "
                "choose data with scores"
            )
        if self.own_negatives and self.batch_negatives:
            return
        switched = "own_negatives" if not self.own_negatives else "batch_negatives"
        if n_way == 1 or all(source.fewest == 1 for source in sources):
            what = "has no effect" if switched == "own_negatives" else "leaves nothing to contrast with"
            raise InputError(f"{key}.{switched}=false: {what}, queries have no negatives of their own")
        if switched == "own_negatives" and batch_size == 1:
            raise InputError(
                f"{key}.own_negatives=false: leaves nothing to contrast with in a batch of one query; raise "
                f"{key.partition('.objective.')[0]}.batch_size"
            )

    def reference(self, query: PlainQuery, learned: Learned) -> Tensor:
        """-log(exp(positive) / sum of exp) of one query; it shares nothing with what training computes."""
        texts = [query.example.documents[0], *self._negatives(query)]
        logits = torch.stack([query.score(text) for text in texts])
        return -log_shares(logits / learned.get("temperature", self.temperature))[0]

    def _negatives(self, query: PlainQuery) -> list[str]:
        """For the reference: the documents that a query's positive is contrasted with."""
        example, ratio = query.example, self.false_negative_ratio
        own = set(example.documents[1:])
        out = {example.documents[0], *query.known}
        if not self.own_negatives:
            out |= own
        if ratio is not None and example.scores is not None:
            teacher = torch.as_tensor(example.scores)
            # A ratio of 0.9 asks for a tenth of the positive's score less: of -2 that is -2.2.
            above = teacher > teacher[0] * (ratio if teacher[0] > 0 else 2 - ratio)
            out |= {text for text, drop in zip(example.documents, above.tolist(), strict=True) if drop}
        allowed = set(query.everything) if self.batch_negatives else own
        return [text for text in query.everything if text in allowed and text not in out]


def first_B(scores_BN: Tensor, positive_B1: Tensor, ignore_BN: Tensor) -> Tensor:  # noqa: N802
    """1 for each query whose positive scores above all its negatives, else 0 [B].

    Args:
        scores_BN: scores of every query against every document.
        positive_B1: column of each query's positive.
        ignore_BN: True where a document does not count as a negative of that query.
    """
    before_BN = (scores_BN >= scores_BN.gather(1, positive_B1)) & ~ignore_BN
    return 1.0 - before_BN.scatter(1, positive_B1, False).any(dim=1).float()


def share_of(positive: Scores, ratio: float) -> Scores:
    """The score above which a negative is too near to its positive: ``positive - (1 - ratio) * |positive|``.

    That is exactly ``ratio * positive`` where the positive is above 0 (NV-Retriever's TopK-PercPos, ColBERT-AZ's
    filter). For a ratio below 1 the bound stays below the positive for any sign, which ``ratio * positive`` does not: a
    share of -2 is above it. sentence-transformers (pull request 3821) bounds its relative margin in the same way.

    Args:
        positive: a score, or a tensor of scores.
        ratio: above 0.
    """
    # |x| - x is 0 where x is not below 0, so that nothing is rounded there.
    return ratio * positive - (1 - ratio) * (abs(positive) - positive)


def ignored(
    keys_N: Tensor,
    rows_BK: Tensor,
    teacher_BK: Tensor | None,
    false_negative_ratio: float | None,
    own_negatives: bool = True,
    batch_negatives: bool = True,
    positives: DocumentKeys | None = None,
) -> Tensor:
    """Documents that must not count as negatives of a query.

    They are its known positives (also those that are not in its row) and their copies, anywhere in the batch; those of
    its own negatives that the teacher scores above :func:`share_of` the positive, or all of them without
    ``own_negatives``, with their copies; what is no document of its own without ``batch_negatives``; and all but the
    first copy of any document, so that the loss does not depend on how the batch is spread over processes.

    Args:
        keys_N: int64 keys of all documents; equal keys mean equal documents.
        rows_BK: columns of each query's own documents, the positive first.
        teacher_BK: their teacher scores, for the filter.
        false_negative_ratio: see :class:`Contrastive`.
        own_negatives: see there.
        batch_negatives: see there.
        positives: keys of each query's known positives; None where its own is the only one.

    Returns:
        True where ignored [B, N]; may be True for a positive, which the loss keeps.
    """
    keys_BK = keys_N[rows_BK]
    ignore_BN = (DocumentKeys.of_lists(keys_BK[:, :1]) if positives is None else positives).among(keys_N)
    ignore_BN |= repeated(keys_N)
    out_BK = torch.full_like(rows_BK, not own_negatives, dtype=torch.bool)
    if false_negative_ratio is not None and teacher_BK is not None:
        out_BK |= teacher_BK > share_of(teacher_BK[:, :1], false_negative_ratio)
    own_BN = torch.zeros_like(ignore_BN)
    for k in range(1, rows_BK.shape[1]):
        copies_BN = keys_N == keys_BK[:, k : k + 1]
        own_BN |= copies_BN
        ignore_BN |= copies_BN & out_BK[:, k : k + 1]
    return ignore_BN if batch_negatives else ignore_BN | ~own_BN


def repeated(keys_N: Tensor) -> Tensor:
    """True for every document that has a copy before it [N]."""
    order = torch.argsort(keys_N, stable=True)
    ordered = keys_N[order]
    same = torch.zeros_like(keys_N, dtype=torch.bool)
    same[1:] = ordered[1:] == ordered[:-1]
    return torch.zeros_like(same).scatter_(0, order, same)
