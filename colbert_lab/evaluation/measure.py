"""Measures of a class of their own, which ``evaluation.own_measures`` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from colbert_lab.base.errors import InputError, told


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How good a ranking is. A subclass is a frozen dataclass whose fields are its settings."""

    def value(self, documents: Sequence[str], grades: Mapping[str, int], k: int) -> float:
        """A number of 0 to 1, and the more the better.

        Args:
            documents: the first k of the ranking, best first, equal scores by document id, the largest first, as in
                trec_eval; one at least. Queries without documents count as 0.
            grades: document id to grade, of all documents that are judged for the query; above 0 is relevant.
            k: the cutoff in the measure's name.
        """
        raise NotImplementedError


def own_value(
    measure: Measure, name: str, k: int, query: str, documents: Sequence[str], grades: Mapping[str, int]
) -> float:
    """A query's value of a measure of a user's own.

    Args:
        measure: the measure.
        name: its name in the config.
        k: the cutoff.
        query: id, for errors.
        documents: the ranking.
        grades: of the query's judged documents.

    Raises:
        InputError: it is no number of 0 to 1, which intervals, tests and tables take it to be.
    """
    if not documents:
        return 0.0
    found = measure.value(documents[:k], dict(grades), k)
    try:
        value = float(found)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: a tensor of several numbers
        value = float("nan")
    if not 0 <= value <= 1:
        raise InputError(
            f"evaluation.own_measures.{name}: gave {told(found)} for query {query}, which is no number of 0 to 1"
        )
    return value
