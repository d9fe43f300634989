"""Find training queries that are also evaluation queries."""

import unicodedata
from collections.abc import Iterable, Mapping

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


def overlapping_queries(
    training: Iterable[tuple[str, str]], splits: Mapping[str, Split]
) -> dict[str, list[str]]:
    """Name the training queries whose text is a query of an evaluation split, in one pass over them.

    Equal ids alone are no overlap: collections number their queries independently.

    Args:
        training: id and text of every training query.
        splits: the evaluation splits.

    Returns:
        For each split, the ids of the training queries whose normalised text equals that of one of its queries, each
        id once, in the order of ``training``.
    """
    splits_of: dict[str, list[str]] = {}
    for key, split in splits.items():
        for text in {normalise(text) for text in split.queries.values()}:
            splits_of.setdefault(text, []).append(key)
    found: dict[str, dict[str, None]] = {key: {} for key in splits}
    for query_id, text in training:
        for key in splits_of.get(normalise(text), ()):
            found[key][query_id] = None
    return {key: list(ids) for key, ids in found.items()}


def _is_edge(character: str) -> bool:
    return character == " " or unicodedata.category(character).startswith("P")
