"""Ready score files of other systems, in the formats in which they come."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colbert_lab.errors import InputError
from colbert_lab.text.list_problems import Problems
from colbert_lab.text.score_rows import rows_of_scores

KEY = "score.files"


class Scored(NamedTuple):
    """The scores of one query.

    Attributes:
        documents: document ids.
        scores: one float64 score each.
    """

    documents: list[str]
    scores: np.ndarray


def read_scores(path: Path, queries: Collection[str], documents: Collection[str]) -> dict[str, Scored]:
    """Read a score file (see :mod:`colbert_lab.text.score_rows`) and check it against a collection.

    Args:
        path: the file.
        queries: known query ids.
        documents: known document ids.

    Returns:
        Query id to scores, in the order of the file.

    Raises:
        InputError: the file is missing, empty, of another type or malformed; an id is unknown or repeated; a list
            has fewer than 2 documents, or not one finite score for each.
    """
    problems = Problems()
    found: dict[str, Scored] = {}
    for row in rows_of_scores(path, KEY):
        with np.errstate(over="ignore"):
            in_32_bits = np.array(row.scores, dtype=np.float64).astype(np.float32)
        if not problems.of_row(row, in_32_bits, documents, queries, found):
            found[row.query_id] = Scored(row.document_ids, np.array(row.scores, dtype=np.float64))
    problems.raise_first()
    if not found:
        raise InputError(f"{KEY}: {path}: holds no scores")
    return found
