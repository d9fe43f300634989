"""Texts that occur more than once in a training source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from colbert_lab.audit.training_text import Hashes, TrainingText

GROUPS, MEMBERS = 50, 5  # groups of duplicates that are named, and ids of each
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Duplicates:
    """Counts of repeated texts, compared in their normal form.

    Attributes:
        source: its name.
        rows: how many it has.
        queries: different query ids.
        repeated_queries: how many of them have the text of an earlier one.
        documents: documents, see ``TrainingText.documents``.
        repeated_documents: how many of them have the text of an earlier one.
        repeated_pairs: rows whose query and positive are those of an earlier row.
        repeated_in_row: documents that have the text of an earlier one of their own row.
        own_negatives: rows in which a positive of the query is a negative.
        examples: by the names above, ids of the first groups of equal texts.
    """

    source: str
    rows: int
    queries: int
    repeated_queries: int
    documents: int
    repeated_documents: int
    repeated_pairs: int
    repeated_in_row: int
    own_negatives: int
    examples: dict[str, list[list[str]]]


def find_duplicates(text: TrainingText) -> Duplicates:
    """Count duplicates in one pass over a source; 8 bytes are kept of each text.

    Args:
        text: the source.
    """
    hashes = text.hashes()
    _, first = np.unique(hashes.query_ids, return_index=True)
    first.sort()
    of_member = np.repeat(np.arange(len(hashes.ends)), np.diff(hashes.ends, prepend=0))
    starts = np.concatenate([[0], hashes.ends[:-1]])
    texts = hashes.documents[hashes.members]
    pairs = _paired(hashes.queries[of_member], texts)
    positive = np.zeros(len(pairs), dtype=bool)
    positive[starts] = True
    inside = _paired(of_member.astype(np.uint64), texts)
    own = ~positive & np.isin(pairs, pairs[starts])
    groups = {
        "queries": _groups(hashes.queries[first], lambda n: hashes.query_id(int(first[n]))),
        "documents": _groups(hashes.documents, hashes.document_id),
        "pairs": _groups(pairs[starts], lambda n: _pair_id(hashes, int(starts[n]), n)),
        "in_row": _groups(inside, lambda n: _pair_id(hashes, n, int(of_member[n]))),
        "own_negatives": [
            [_pair_id(hashes, int(n), int(of_member[n]))] for n in np.flatnonzero(own)[:GROUPS]
        ],
    }
    return Duplicates(
        text.name,
        len(text),
        len(first),
        _repeated(hashes.queries[first]),
        len(hashes.documents),
        _repeated(hashes.documents),
        _repeated(pairs[starts]),
        _repeated(inside),
        len(np.unique(of_member[own])),
        groups,
    )


def _paired(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A hash of two hashes, in which their order counts."""
    paired: np.ndarray = (one ^ (one >> np.uint64(29))) * _ODD + other
    return paired


def _repeated(values: np.ndarray) -> int:
    return len(values) - len(np.unique(values))


def _groups(values: np.ndarray, name: Callable[[int], str]) -> list[list[str]]:
    """Ids of the first groups of equal values, in order of their first members."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    sizes = np.diff(edges)
    starts = edges[:-1][sizes > 1]
    sizes = sizes[sizes > 1]
    chosen = np.argsort(order[starts], kind="stable")[:GROUPS]
    return [
        [name(int(n)) for n in order[starts[c] : starts[c] + min(int(sizes[c]), MEMBERS)]] for c in chosen
    ]


def _pair_id(hashes: Hashes, member: int, row: int) -> str:
    return f"query {hashes.query_id(row)}, document {hashes.document_id(int(hashes.members[member]))}"
