"""Find training queries that are also evaluation queries."""

import unicodedata
from collections.abc import Mapping

from colbert_lab.types import Split


def normalise(text: str) -> str:
    """Bring a query to the form in which two queries count as the same.

    Args:
        text: a query.

    Returns:
        The text case-folded, with single spaces, and without punctuation or spaces at its ends. A text of
        punctuation only keeps it, so that such texts do not all become equal.
    """
    words = " ".join(text.casefold().split())
    start, end = 0, len(words)
    while start < end and _is_edge(words[start]):
        start += 1
    while end > start and _is_edge(words[end - 1]):
        end -= 1
    return words[start:end] or words


def overlapping_queries(training: Mapping[str, str], split: Split) -> list[str]:
    """Name the training queries whose text is a query of an evaluation split.

    Equal ids alone are no overlap: collections number their queries independently.

    Args:
        training: training query id to text.
        split: the evaluation split.

    Returns:
        Ids of the training queries whose normalised text equals that of a query of ``split``, in the order
        of ``training``.
    """
    evaluated = {normalise(text) for text in split.queries.values()}
    return [query_id for query_id, text in training.items() if normalise(text) in evaluated]


def _is_edge(character: str) -> bool:
    return character == " " or unicodedata.category(character).startswith("P")
