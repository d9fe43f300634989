"""Read score files in the formats in which they come.

======================== ==============================================================================
``.jsonl``, ``.json``    a line is ``{"query_id", "document_ids", "scores"}``, or, as in Stanford's ColBERT,
                         ``[query, [document, score], [document, score], ...]``
``.parquet``             columns query_id, document_ids, scores
``.tsv``                 lines ``query <tab> document <tab> score``
``.run .trec .txt``      TREC run: ``query Q0 document rank score tag``
a folder of ``task=score`` its ``train/*.parquet``
======================== ==============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.errors import InputError
from colbert_lab.text.jsonl import parse_json, parse_object
from colbert_lab.text.lines import read_lines
from colbert_lab.text.list_rows import ROW_COLUMNS, ListRow, as_id, parse_row, renamed
from colbert_lab.text.run_file import read_run

RUNS = (".run", ".trec", ".txt")
ENDINGS = (".jsonl", ".json", ".parquet", ".tsv", *RUNS)
NAMED = (".jsonl", ".json", ".parquet")  # formats with column names
ROWS_AT_ONCE = 1000


def check_scores(path: Path, key: str) -> None:
    """Make sure that :func:`rows_of_scores` can begin.

    Raises:
        InputError: no such file, or one of another type.
    """
    if path.is_dir():
        if not list(path.glob("train/*.parquet")):
            raise InputError(f"{key}: {path}: a folder without train/*.parquet; name a file")
    elif not path.is_file():
        raise InputError(f"{key}: {path}: no such file; a file of score lists is expected")
    elif path.suffix not in ENDINGS:
        raise InputError(f"{key}: {path}: unknown file type; there are {', '.join(ENDINGS)}")


def rows_of_scores(path: Path, key: str, columns: Mapping[str, str] | None = None) -> Iterator[ListRow]:
    """Read a score file.

    Args:
        path: a file or folder, see the head of this module.
        key: config key to name in errors.
        columns: our column name to the file's.

    Raises:
        InputError: the file is missing, of another type or malformed, lacks a column, or has no column names to map.
    """
    check_scores(path, key)
    columns = columns or {}
    if path.is_dir():
        for part in sorted(path.glob("train/*.parquet")):
            yield from _parquet(part, key, columns)
        return
    lists = path.suffix not in NAMED or (path.suffix != ".parquet" and _first_character(path, key) == "[")
    if columns and lists:
        raise InputError(f"data.columns: has no effect on {path}, which has no column names; leave it out")
    if path.suffix == ".parquet":
        yield from _parquet(path, key, columns)
    elif path.suffix in NAMED:
        for _, where, line in read_lines(path, key):
            if lists:
                yield _nway(line, where)
            else:
                yield parse_row(renamed(parse_object(line, where), ROW_COLUMNS, columns, where), where)
    elif path.suffix == ".tsv":
        yield from _tsv(path, key)
    else:
        for query, scores in read_run(path, key).items():
            yield ListRow(f"{key}: {path}", query, list(scores), list(scores.values()))


def _parquet(path: Path, key: str, columns: Mapping[str, str]) -> Iterator[ListRow]:
    number = 0
    try:
        with pq.ParquetFile(path) as parquet:
            for batch in parquet.iter_batches(ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    where = f"{key}: {path} row {number}"
                    yield parse_row(renamed(row, ROW_COLUMNS, columns, where), where)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{key}: {path}: not readable as Parquet ({reason})") from error


def _nway(line: str, where: str) -> ListRow:
    """A line ``[query, [document, score], ...]``."""
    values = parse_json(line, where)
    pairs = values[1:] if isinstance(values, list) else None
    if not pairs or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise InputError(f"{where}: [query, [document, score], [document, score], ...] is expected")
    documents, scores = [document for document, _ in pairs], [score for _, score in pairs]
    return parse_row({"query_id": values[0], "document_ids": documents, "scores": scores}, where)


def _tsv(path: Path, key: str) -> Iterator[ListRow]:
    """Lines ``query <tab> document <tab> score``; those of a query need not stand together."""
    found: dict[str, tuple[list[str], list[float]]] = {}
    for _, where, line in read_lines(path, key):
        columns = line.split("\t")
        if len(columns) != 3:
            raise InputError(f"{where}: {len(columns)} columns; there should be 3: query, document, score")
        query, document, text = (column.strip() for column in columns)
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise InputError(f"{where}: the score {text!r} is not a finite number; mend or remove the line")
        documents, scores = found.setdefault(as_id(query, "the first column", where), ([], []))
        documents.append(as_id(document, "the second column", where))
        scores.append(score)
    for query, (documents, scores) in found.items():
        yield ListRow(f"{key}: {path}", query, documents, scores)


def _first_character(path: Path, key: str) -> str:
    return next((line.lstrip()[0] for _, _, line in read_lines(path, key)), "")
