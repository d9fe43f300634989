"""How the embeddings of a micro-batch become the scores that terms get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from colbert_lab.base.types import Embeddings
from colbert_lab.model.backends import AllPairs, maxsim_blocked
from colbert_lab.model.maxsim import MAXSIM, scoring_queries
from colbert_lab.model.token_pooling import pooled_chunk
from colbert_lab.settings.groups import TokenPoolingSettings


@dataclass(frozen=True)
class Scoring:
    """How embeddings become the scores that a phase trains.

    Attributes:
        all_pairs: scores every query of a batch against every document.
        score: the student's, see :data:`colbert_lab.model.maxsim.SCORES`.
        pooling: of the tokens of documents.
    """

    all_pairs: AllPairs = maxsim_blocked
    score: str = MAXSIM
    pooling: TokenPoolingSettings = field(default_factory=TokenPoolingSettings)

    def queries(self, queries: Embeddings) -> Embeddings:
        """See :func:`colbert_lab.model.maxsim.scoring_queries`."""
        return scoring_queries(queries, self.score)

    def documents(self, chunks: Sequence[Embeddings]) -> list[Embeddings]:
        """Documents as they are scored, see :func:`colbert_lab.model.token_pooling.pooled_chunk`."""
        return [pooled_chunk(chunk, self.pooling.factor, self.pooling.protected) for chunk in chunks]
