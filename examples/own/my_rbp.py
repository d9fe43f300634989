"""A measure: rank-biased precision (Moffat and Zobel 2008)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from colbert_lab.evaluation.measure import Measure
from colbert_lab.settings.allowed import number


@dataclass(frozen=True, kw_only=True)
class RankBiased(Measure):
    """What a reader gains who goes on to the next document with a fixed probability.

    Args:
        persistence: that probability.
    """

    persistence: float = number(above=0, below=1, default=0.8)

    def value(self, documents: Sequence[str], grades: Mapping[str, int], k: int) -> float:
        """Of one query, 0 to 1."""
        p = self.persistence
        return (1 - p) * sum(p**n for n, document in enumerate(documents) if grades.get(document, 0) > 0)
