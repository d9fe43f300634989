"""Ready score files of other systems, in the formats in which they come."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from colbert_lab.errors import InputError
from colbert_lab.retrieval.run_file import read_run
from colbert_lab.text.jsonl import read_jsonl
from colbert_lab.text.list_problems import Problems
from colbert_lab.text.list_rows import ListRow, as_id, parse_row, rows_of_file

T = TypeVar("T")
KEY = "score.files"
COLUMNS = ("query_id", "document_ids", "scores")
RUNS = (".run", ".trec", ".txt")
ENDINGS = ".jsonl, .json, .parquet, .tsv, .run, .trec, .txt"


class Scored(NamedTuple):
    """The scores of one query.

    Attributes:
        documents: document ids.
        scores: one float64 score each.
    """

    documents: list[str]
    scores: np.ndarray


def read_scores(path: Path, queries: Collection[str], documents: Collection[str]) -> dict[str, Scored]:
    """Read a score file and check it against a collection.

    ======================== ==============================================================================
    ``.jsonl``, ``.json``    a line is ``{"query_id", "document_ids", "scores"}``, or, as in Stanford's ColBERT,
                             ``[query, [document, score], [document, score], ...]``
    ``.parquet``             columns query_id, document_ids, scores
    ``.tsv``                 lines ``query <tab> document <tab> score``
    ``.run .trec .txt``      TREC run: ``query Q0 document rank score tag``
    a folder of ``task=score`` its ``train/*.parquet``
    ======================== ==============================================================================

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
    for row in _rows(path):
        with np.errstate(over="ignore"):
            in_32_bits = np.array(row.scores, dtype=np.float64).astype(np.float32)
        if not problems.of_row(row, in_32_bits, documents, queries, found):
            found[row.query_id] = Scored(row.document_ids, np.array(row.scores, dtype=np.float64))
    problems.raise_first()
    if not found:
        raise InputError(f"{KEY}: {path}: holds no scores")
    return found


def _rows(path: Path) -> Iterator[ListRow]:
    if path.is_dir():
        parts = sorted(path.glob("train/*.parquet"))
        if not parts:
            raise InputError(f"{KEY}: {path}: a folder without train/*.parquet; name a file")
        for part in parts:
            yield from _parquet(part)
    elif not path.is_file():
        raise InputError(f"{KEY}: {path}: no such file")
    elif path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix in (".jsonl", ".json"):
        yield from _nway(path) if _first_character(path) == "[" else _objects(path)
    elif path.suffix == ".tsv":
        yield from _tsv(path)
    elif path.suffix in RUNS:
        for query, scores in read_run(path, KEY).items():
            yield ListRow(f"{KEY}: {path}", query, list(scores), list(scores.values()))
    else:
        raise InputError(f"{KEY}: {path}: unknown file type; there are {ENDINGS}")


def _parquet(path: Path) -> Iterator[ListRow]:
    # The reader names the key of data=scored_lists.
    for where, row in _renamed(rows_of_file(path), lambda text: text.replace("data.scores", KEY, 1)):
        yield _row(row, where.replace("data.scores", KEY, 1))


def _objects(path: Path) -> Iterator[ListRow]:
    for number, row in _renamed(read_jsonl(path), lambda text: f"{KEY}: {text}"):
        yield _row(row, f"{KEY}: {path} line {number}")


def _renamed(rows: Iterator[T], renamed: Callable[[str], str]) -> Iterator[T]:
    """The same rows; a message of their reader is put in other words."""
    try:
        yield from rows
    except InputError as error:
        raise InputError(renamed(str(error))) from error


def _row(row: Mapping[str, Any], where: str) -> ListRow:
    lacking = [column for column in COLUMNS if column not in row]
    if lacking:
        raise InputError(f"{where}: no column {lacking[0]}; it has {', '.join(row)}")
    return parse_row(row, where)


def _nway(path: Path) -> Iterator[ListRow]:
    """Lines ``[query, [document, score], ...]``."""
    for number, line in _lines(path):
        where = f"{KEY}: {path} line {number}"
        try:
            values = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where}: not valid JSON ({error}); mend or remove that line") from error
        pairs = values[1:] if isinstance(values, list) else None
        if not pairs or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise InputError(f"{where}: [query, [document, score], [document, score], ...] is expected")
        columns = {
            "query_id": values[0],
            "document_ids": [document for document, _ in pairs],
            "scores": [score for _, score in pairs],
        }
        yield parse_row(columns, where)


def _tsv(path: Path) -> Iterator[ListRow]:
    """Lines ``query <tab> document <tab> score``; those of a query need not stand together."""
    found: dict[str, tuple[list[str], list[float]]] = {}
    for number, line in _lines(path):
        where = f"{KEY}: {path} line {number}"
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
        yield ListRow(f"{KEY}: {path}", query, documents, scores)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, without their ends."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{KEY}: {path} line {number}: not UTF-8 ({error.reason}); save the file as UTF-8"
                ) from error
            if line.strip():
                yield number, line


def _first_character(path: Path) -> str:
    return next((line.lstrip()[0] for _, line in _lines(path)), "")
