"""The other direction of contrastive training: each positive document among the queries of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.model.batches import gather_rows, process_number
from colbert_lab.settings.allowed import NO_DEFAULT, number
from colbert_lab.settings.groups import LEAST_TEMPERATURE
from colbert_lab.text.rows.examples import Examples
from colbert_lab.training.objectives.term import Learned, PlainQuery, Scored, Term, log_shares, wide


@dataclass(frozen=True)
class DocumentToQuery(Term):
    """Cross entropy of each positive document's query among all queries of the batch, of all processes.

    With ``contrastive`` of the same weight it makes the symmetric loss of CLIP (Radford et al. 2021, arXiv 2103.00020,
    figure 3). A query that has the document for a known positive is no negative of it; the queries of a batch count
    once for each row.

    Attributes:
        temperature: divides the scores.
        learnable: train the temperature too, from that value on; it is another one than that of ``contrastive``.
    """

    temperature: float = number(LEAST_TEMPERATURE, default=NO_DEFAULT)
    learnable: bool = False
    all_pairs: ClassVar[bool] = True

    def __call__(
        self, scores_DQ: Tensor, own_D: Tensor, ignore_DQ: Tensor, temperature: Tensor | None = None
    ) -> Tensor:
        """Mean loss over documents.

        Args:
            scores_DQ: scores of every document with every query.
            own_D: column of each document's own query.
            ignore_DQ: True where a query must not count as a negative; its own query is never ignored.
            temperature: the learned temperature, instead of the setting.

        Returns:
            Scalar loss in nats.
        """
        own_DQ = torch.zeros_like(ignore_DQ).scatter_(1, own_D[:, None], True)
        logits_DQ = wide(scores_DQ) / (self.temperature if temperature is None else temperature)
        return torch.nn.functional.cross_entropy(
            logits_DQ.masked_fill(ignore_DQ & ~own_DQ, -torch.inf), own_D
        )

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """The positives of this process among the queries of all: their scores are gathered, not their embeddings."""
        scores_BN, keys_N, rows_BK = scored.pairs
        positive_B = rows_BK[:, 0]
        positive_Q = gather_rows(positive_B)
        scores_QQ = gather_rows(scores_BN[:, positive_Q])
        known_QQ = gather_rows(scored.batch.positives.among(keys_N[positive_Q]))
        own_B = process_number() * len(positive_B) + torch.arange(len(positive_B), device=keys_N.device)
        return self(scores_QQ[:, own_B].T, own_B, known_QQ[:, own_B].T, learned.get("temperature"))

    def learned(self) -> Mapping[str, float]:
        """The temperature, where it is learnable."""
        return {"temperature": self.temperature} if self.learnable else {}

    def check(self, key: str, sources: Sequence[Examples], n_way: int | None, batch_size: int) -> None:
        """Whether there are several queries."""
        super().check(key, sources, n_way, batch_size)
        if batch_size == 1:
            raise InputError(
                f"{key}.weight: a batch of one query leaves nothing to contrast a document with; raise "
                f"{key.partition('.objective.')[0]}.batch_size, or set it to 0"
            )

    def reference(self, query: PlainQuery, learned: Learned) -> Tensor:
        """-log(exp(own query) / sum of exp over queries) of one query's positive; shared with training is nothing."""
        document = query.example.documents[0]
        others = [
            other.score(document)
            for other in query.batch
            if other is not query and document not in (other.example.documents[0], *other.known)
        ]
        logits = torch.stack([query.score(document), *others])
        return -log_shares(logits / learned.get("temperature", self.temperature))[0]
