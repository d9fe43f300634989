"""Contrastive training where a query may have several positives in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.text.rows.examples import Examples
from colbert_lab.training.objectives.contrastive import Contrastive, repeated
from colbert_lab.training.objectives.term import Learned, PlainQuery, Scored, log_shares, wide
from colbert_lab.training.positives import DocumentKeys, KnownPositives


@dataclass(frozen=True)
class MultiPositive(Contrastive):
    """Cross entropy of all of a query's positives in the batch: the mean over them of -log of each one's share.

    That is L_out of SupCon (Khosla et al. 2020, arXiv 2004.11362, equation 2), where the share of a positive is among
    everything, its other positives included. What counts as a positive is any document of the batch that the training
    data has as a positive of the query, in any row; :class:`Contrastive` leaves out all of them but the row's own, and
    the two are equal for a query that has one alone. The settings are those of :class:`Contrastive`; with
    ``batch_negatives=false`` positives are looked for in the query's own list alone.
    """

    def several(
        self, scores_BN: Tensor, positive_BN: Tensor, negative_BN: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """Mean loss over the queries of a batch.

        Args:
            scores_BN: scores of every query against every document.
            positive_BN: True for each query's positives; at least one a query.
            negative_BN: True for its negatives.
            temperature: divides the scores.

        Returns:
            Scalar loss in nats.
        """
        logits_BN = (wide(scores_BN) / temperature).masked_fill(~(positive_BN | negative_BN), -torch.inf)
        shares_BN = logits_BN.log_softmax(dim=1).masked_fill(~positive_BN, 0)
        return -(shares_BN.sum(dim=1) / positive_BN.sum(dim=1)).mean()

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """See :meth:`several`, over the documents of all processes; each different document counts once."""
        scores_BN, keys_N, rows_BK = scored.pairs
        own_B1 = rows_BK[:, :1]
        positive_BN = scored.batch.positives.among(keys_N) & ~repeated(keys_N)
        if not self.batch_negatives:
            positive_BN &= DocumentKeys.of_lists(keys_N[rows_BK]).among(keys_N)
        # Of the copies of its own positive it is the query's own that counts.
        positive_BN &= keys_N != keys_N[own_B1]
        positive_BN.scatter_(1, own_B1, True)
        negative_BN = ~self.ignored(scored.batch, keys_N, rows_BK)
        return self.several(scores_BN, positive_BN, negative_BN, learned.get("temperature", self.temperature))

    def check(self, key: str, sources: Sequence[Examples], n_way: int | None, batch_size: int) -> None:
        """Whether queries have several positives."""
        super().check(key, sources, n_way, batch_size)
        if not KnownPositives(sources).queries:
            raise InputError(
                f"{key}.weight: is the same as contrastive here, no query of the data has several positives; set it "
                "to 0 and use contrastive"
            )

    def reference(self, query: PlainQuery, learned: Learned) -> Tensor:
        """Minus the mean over one query's positives of log(exp(positive) / sum of exp over positives and negatives)."""
        own = query.example.documents
        places = query.everything if self.batch_negatives else own
        others = [text for text in dict.fromkeys(places) if text in query.known and text != own[0]]
        positives = [own[0], *others]
        logits = torch.stack([query.score(text) for text in [*positives, *self._negatives(query)]])
        shares = log_shares(logits / learned.get("temperature", self.temperature))
        return -shares[: len(positives)].mean()
