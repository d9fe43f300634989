"""Read rankings of other systems in TREC's run format."""

from __future__ import annotations

import math
from pathlib import Path

from colbert_lab.errors import InputError
from colbert_lab.text.lines import read_lines


def read_run(path: Path, key: str) -> dict[str, dict[str, float]]:
    """Read a run file: lines ``query Q0 document rank score tag``, white space between.

    The ranks are not used: the scores decide, as in trec_eval.

    Args:
        path: the file.
        key: config key to name in errors.

    Returns:
        Query id to {document id: score}.

    Raises:
        InputError: the file is missing or empty, a line is not UTF-8 or has not six columns, a score is no finite
            number, or a document is listed twice for a query.
    """
    if not path.is_file():
        raise InputError(f"{key}={path}: no such file")
    found: dict[str, dict[str, float]] = {}
    for _, where, line in read_lines(path, key):
        columns = line.split()
        if len(columns) != 6:
            raise InputError(
                f"{where}: {len(columns)} columns; a run has 6: query Q0 document rank score tag"
            )
        query, _, document, _, text, _ = columns
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise InputError(f"{where}: the score {text!r} is not a finite number; mend or remove the line")
        documents = found.setdefault(query, {})
        if document in documents:
            raise InputError(f"{where}: document {document} is listed twice for query {query}")
        documents[document] = score
    if not found:
        raise InputError(f"{key}: {path} is empty")
    return found
