"""Positive-aware filters of hard negatives, as in NV-Retriever (Moreira et al. 2024, section 3.2).

A document that nobody judged may be relevant all the same. A teacher's score tells: one that comes near the score of
the query's positive, or is above it, is likely a false negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from colbert_lab.errors import InputError

FILTERS = ("max_score", "ratio", "margin")


@dataclass(frozen=True)
class PositiveAware:
    """Upper bounds of a negative's teacher score; each that is not None applies.

    The positive's score is the lowest among the query's relevant documents, so that a negative is below all of them.

    Attributes:
        max_score: an absolute bound ("TopK-Abs").
        ratio: the bound is ``ratio`` times the positive's score ("TopK-PercPos"; 0.95 was best there). Scores
            have to be above 0 for a share of them to mean something.
        margin: the bound is the positive's score minus ``margin`` ("TopK-MarginPos"; 0.05 in the paper, for
            cosines).
    """

    max_score: float | None = None
    ratio: float | None = None
    margin: float | None = None

    def __post_init__(self) -> None:
        for name in self.used:
            value = getattr(self, name)
            if not math.isfinite(value):
                raise InputError(f"mine.filter.{name}={value}: must be a finite number")
        if self.ratio is not None and self.ratio <= 0:
            raise InputError(f"mine.filter.ratio={self.ratio:g}: must be above 0, for example 0.95")

    @property
    def used(self) -> list[str]:
        """Names of the bounds that are set."""
        return [name for name in FILTERS if getattr(self, name) is not None]

    def check_positive(self, query_id: str, positive: float) -> None:
        """Refuse a share of a score that is not above 0.

        Raises:
            InputError: there is a ratio, and the positive's score is 0 or less.
        """
        if self.ratio is not None and positive <= 0:
            raise InputError(
                f"mine.filter.ratio={self.ratio:g}: the teacher scores a relevant document of query {query_id} "
                f"with {positive:g}, and a share of a score that is not above 0 means nothing; use "
                "mine.filter.margin, or a teacher whose scores are above 0"
            )

    def reason(self, score: float, positive: float) -> str | None:
        """The first bound that a negative's score is above; None when it may be used.

        Args:
            score: teacher score of the negative.
            positive: the lowest teacher score of the query's relevant documents.
        """
        if self.max_score is not None and score > self.max_score:
            return "max_score"
        if self.ratio is not None and score > self.ratio * positive:
            return "ratio"
        if self.margin is not None and score > positive - self.margin:
            return "margin"
        return None
