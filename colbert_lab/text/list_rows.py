"""Read and check the rows of teacher score lists, from score files in the formats in which they come.

======================== ==============================================================================
``.jsonl``, ``.json``    a line is ``{"query_id", "document_ids", "scores"}``, or, as in Stanford's ColBERT,
                         ``[query, [document, score], [document, score], ...]``
``.parquet``             columns query_id, document_ids, scores
``.tsv``                 lines ``query <tab> document <tab> score``
``.run .trec .txt``      TREC run: ``query Q0 document rank score tag``
a folder of ``task=score`` its ``train/*.parquet``
======================== ==============================================================================

The text formats may be compressed with gzip (``.jsonl.gz``).
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.base.errors import InputError, named, some_ids, told
from colbert_lab.text.collections.text_files import read_run
from colbert_lab.text.lines import as_id, as_score, ending, parse_json, parse_object, read_lines

ROW_COLUMNS = ("query_id", "document_ids", "scores")
_ALIASES = {"scores": ["scores", "score", "labels", "label"]}  # sentence-transformers and PyLate


class ListRow(NamedTuple):
    """One score list as it was read, its numbers not yet checked.

    Attributes:
        where: config key, file and line (or row) for messages.
        query_id: id of the query.
        document_ids: ids of the candidates.
        scores: as many teacher scores, if the row is right.
    """

    where: str
    query_id: str
    document_ids: list[str]
    scores: list[float]


def parse_row(row: Mapping[str, Any], where: str) -> ListRow:
    """Read one row with query_id, document_ids and scores.

    Args:
        row: the columns; the two lists may be JSON texts, as in some copies on the hub, and ids may be whole
            numbers.
        where: config key, file and line for messages.

    Returns:
        The row with ids as strings.

    Raises:
        InputError: a column is missing, is no list, or holds something else than ids or numbers.
    """
    documents = [as_id(value, "document_ids", where) for value in _as_list(row, "document_ids", where)]
    scores = [_as_number(score, where) for score in _as_list(row, "scores", where)]
    return ListRow(where, as_id(row.get("query_id"), "query_id", where), documents, scores)


def renamed(
    row: Mapping[str, Any], wanted: Sequence[str], columns: Mapping[str, str], where: str
) -> dict[str, Any]:
    """The wanted columns of a row under our names; scores may be called ``score``, ``label`` or ``labels`` too.

    Args:
        row: the row.
        wanted: our names.
        columns: our name to the row's, where they differ.
        where: for messages.

    Raises:
        InputError: the row lacks one, or two of its columns have names for one.
    """
    found = {}
    for ours in wanted:
        known = [columns[ours]] if ours in columns else _ALIASES.get(ours, [ours])
        there = [theirs for theirs in known if theirs in row]
        if not there:
            raise InputError(f"{where}: no column {known[0]}; it has {named(row)}")
        if len(there) > 1:
            raise InputError(
                f"{where}: the columns {' and '.join(there)} may both be meant; say which, e.g. "
                f"data.columns={{{ours}: {there[0]}}}"
            )
        found[ours] = row[there[0]]
    return found


def _as_number(value: Any, where: str) -> float:
    """A score; NaN and infinity, which a number too large for 64 bits becomes, are judged with the whole list."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: scores must be numbers, not {told(value)}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _as_list(row: Mapping[str, Any], column: str, where: str) -> list[Any]:
    value = row.get(column)
    if isinstance(value, str):
        value = parse_json(value, f"{where}: {column} is a text")
    if not isinstance(value, list):
        raise InputError(f"{where}: {column} must be a list, not {told(value)}")
    return value


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
    elif ending(path) not in ENDINGS:
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
    kind = ending(path)
    lists = kind not in NAMED or (kind != ".parquet" and _first_character(path, key) == "[")
    if columns and lists:
        raise InputError(f"data.columns: has no effect on {path}, which has no column names; leave it out")
    if kind == ".parquet":
        yield from _parquet(path, key, columns)
    elif kind in NAMED:
        for _, where, line in read_lines(path, key):
            if lists:
                yield _nway(line, where)
            else:
                yield parse_row(renamed(parse_object(line, where), ROW_COLUMNS, columns, where), where)
    elif kind == ".tsv":
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
        documents, scores = found.setdefault(as_id(query, "the first column", where), ([], []))
        documents.append(as_id(document, "the second column", where))
        scores.append(as_score(text, where))
    for query, (documents, scores) in found.items():
        yield ListRow(f"{key}: {path}", query, documents, scores)


def _first_character(path: Path, key: str) -> str:
    return next((line.lstrip()[0] for _, _, line in read_lines(path, key)), "")


_KINDS = {
    "length": "lists with more or fewer scores than documents, of queries {}; give one score a document",
    "short": "lists with fewer than 2 documents, of queries {}; remove them: distillation compares documents",
    "number": "lists with NaN or infinite scores (in 32 bits), of queries {}; score them again or remove them",
    "repeated": "lists that hold a document twice, of queries {}; keep one score a document",
    "again": "queries with more than one list: {}; keep one list a query",
    "query": "queries that are not in the collection: {}; add their texts or remove their lists",
    "document": "documents that are not in the collection: {}; add their texts or remove them from the lists",
    "empty": "lists with an empty query or document: {}; mend the texts, remove the lists, or leave them out with "
    "data.skip_empty=true",
}
"""What is wrong, with which ids, and what to do; the first that occurs is raised."""


class Problems:
    """Collects what is wrong with the lists of one source."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, dict[str, None]]] = {}

    def of_row(
        self,
        row: ListRow,
        scores: np.ndarray,
        documents: Container[str],
        queries: Container[str],
        seen: Container[str],
    ) -> bool:
        """Check one list.

        Args:
            row: the list.
            scores: its scores as 32-bit numbers.
            documents: the known document ids.
            queries: the known query ids.
            seen: queries that had a list before.

        Returns:
            True when something is wrong with it.
        """
        ids = row.document_ids
        unknown = [document for document in ids if document not in documents]
        kinds = {
            "length": len(ids) != len(scores),
            "short": len(ids) < 2,
            "number": not bool(np.isfinite(scores).all()),
            "repeated": len(set(ids)) < len(ids),
            "again": row.query_id in seen,
            "query": row.query_id not in queries,
            "document": bool(unknown),
        }
        for kind in (kind for kind, wrong in kinds.items() if wrong):
            self._add(kind, row.where, unknown if kind == "document" else [row.query_id])
        return any(kinds.values())

    def of_empty(self, row: ListRow, documents: list[str], query: bool) -> None:
        """Note a list with empty texts.

        Args:
            row: the list.
            documents: its documents without a text.
            query: whether its query has none.
        """
        names = [f"query {row.query_id}"] if query else []
        self._add("empty", row.where, [*names, *(f"document {name}" for name in documents)])

    def raise_first(self) -> None:
        """Raise InputError for the gravest kind of problem: its first place, its count, the first ids."""
        for kind, problem in _KINDS.items():
            if kind in self._found:
                where, ids = self._found[kind]
                raise InputError(f"{where}: {problem.format(some_ids(list(ids)))}")

    def _add(self, kind: str, where: str, ids: list[str]) -> None:
        self._found.setdefault(kind, (where, {}))[1].update(dict.fromkeys(ids))
