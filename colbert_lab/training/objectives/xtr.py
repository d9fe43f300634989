"""XTR: contrastive training on the document tokens that a query's tokens retrieve from the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.model.xtr import EQUAL, xtr_scores
from colbert_lab.settings.allowed import whole
from colbert_lab.text.rows.examples import Examples
from colbert_lab.training.objectives.contrastive import Contrastive, repeated
from colbert_lab.training.objectives.term import Learned, PlainQuery, Scored, log_shares


@dataclass(frozen=True)
class XTR(Contrastive):
    """Cross entropy of each query's positive by XTR's score (Lee et al. 2023, arXiv 2304.01982, section 3).

    Each query token keeps the k most similar of all document tokens of the batch, of all processes: of positives, own
    negatives and the documents of other queries, a document's copies counting once. A document's score is the mean,
    over the query tokens that kept one of its tokens, of the largest similarity; 0 where none did. It is a mean
    whatever ``student.score`` is. The other settings are those of :class:`Contrastive`; they choose which documents are
    negatives, not whose tokens are kept.

    Attributes:
        k: document tokens that a query token keeps; all of them where the batch has fewer.
    """

    k: int = whole(1, default=256)
    tokens: ClassVar[bool] = True

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """See :meth:`Contrastive.__call__`, of XTR's scores of the documents of all processes."""
        queries, documents, keys_N, rows_BK = scored.tokens
        scores_BN = xtr_scores(queries, documents, self.k, ~repeated(keys_N))
        ignore_BN = self.ignored(scored.batch, keys_N, rows_BK)
        return self(scores_BN, rows_BK[:, 0], ignore_BN, learned.get("temperature"))

    def check(self, key: str, sources: Sequence[Examples], n_way: int | None, batch_size: int) -> None:
        """Whether a batch has several documents."""
        super().check(key, sources, n_way, batch_size)
        if batch_size == 1 and (n_way == 1 or all(source.fewest == 1 for source in sources)):
            raise InputError(
                f"{key}.weight: a batch of one document leaves nothing to contrast it with; raise "
                f"{key.partition('.objective.')[0]}.batch_size, or set it to 0"
            )

    def reference(self, query: PlainQuery, learned: Learned) -> Tensor:
        """-log(exp(positive) / sum of exp) of one query, token by token; shared with training is nothing."""
        found = {text: query.tokens(text) for text in query.everything}
        rounded_QT = torch.cat([rounded for _, rounded in found.values()], dim=1)
        place = min(self.k, rounded_QT.shape[1]) - 1
        least_Q = rounded_QT.sort(dim=1, descending=True).values[:, place]

        def score(text: str) -> Tensor:
            kept = [
                exact[near.argmax()]
                for exact, near, least in zip(*found[text], least_Q, strict=True)
                if near.max() >= least - EQUAL
            ]
            return torch.stack(kept).sum() / len(kept) if kept else 0 * found[text][0].sum()

        texts = [query.example.documents[0], *self._negatives(query)]
        logits = torch.stack([score(text) for text in texts])
        return -log_shares(logits / learned.get("temperature", self.temperature))[0]
