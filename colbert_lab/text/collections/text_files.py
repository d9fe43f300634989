"""Text files of collections: relevance judgments, rankings in TREC's run format, and tab-separated collections.

``collection.tsv``, as MS MARCO and Stanford's ColBERT have it, has lines ``id, text`` or ``id, text, title``;
``queries.tsv`` (or one file ``queries.*.tsv``) lines ``id, text``. Either may be compressed (``.gz``), and may have a
line of column names first. Stanford's ColBERT numbers passages by line: the same, as long as ids are 0, 1, 2, ...
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.text.lines import as_id, as_score, fields, plain_or_gzipped, read_lines

Qrels = dict[str, dict[str, int]]
# trec_eval counts the documents of every grade from 0 on: its memory and time grow with the largest one.
LARGEST_GRADE = 1_000_000
_HEADER = re.compile(r"(?!(nan|inf|infinity|none|null|na|true|false)$)[A-Za-z_ .-]+", re.IGNORECASE)
"""The name of a column; what programs write for a number that is missing is none."""
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?", re.ASCII)


def as_grade(value: Any, where: str) -> int:
    """Read a grade: a whole number, written as one (``1``), with a point (``1.0``, as mteb keeps some), or as text.

    Args:
        value: what stands there.
        where: key, file and line for the message.

    Raises:
        InputError: it is something else, or beyond +-:data:`LARGEST_GRADE`.
    """
    grade: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        grade = value
    elif isinstance(value, float) and value.is_integer():
        grade = int(value)
    elif isinstance(value, str) and _WHOLE.fullmatch(value.strip(" \t\r")):
        beyond = 2.0 * LARGEST_GRADE
        grade = int(min(max(float(value), -beyond), beyond))
    if grade is None:
        raise InputError(f"{where}: the score must be a whole number, not {value!r:.80}")
    if abs(grade) > LARGEST_GRADE:
        raise InputError(f"{where}: the score must be between -{LARGEST_GRADE} and {LARGEST_GRADE}")
    return grade


def read_qrels(path: Path) -> Qrels:
    """Read a tab-separated file of judgments with the columns query-id, corpus-id, score.

    Args:
        path: the file, plain or gzipped; its first line is a header when its third column is a name without a digit.

    Returns:
        Query id to {document id: grade}, in the order of the file.

    Raises:
        InputError: the file has no judgment, is not UTF-8, a row has not three columns or no grade (see
            :func:`as_grade`), or a pair has two different grades; the message names the file and the line.
    """
    qrels: Qrels = {}
    for number, where, line in read_lines(path):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 3:
            raise InputError(
                f"{where}: {len(columns)} columns; 3 separated by tabs are expected (query-id, corpus-id, score)"
            )
        if number > 1 or not _HEADER.fullmatch(columns[2]):
            query_id, document_id = (as_id(column, "the line", where) for column in columns[:2])
            add_grade(qrels, query_id, document_id, as_grade(columns[2], where), where)
    if not qrels:
        raise InputError(f"{path}: no judgments; rows with query-id, corpus-id and score are expected")
    return qrels


def add_grade(qrels: Qrels, query_id: str, document_id: str, grade: int, where: str) -> None:
    """Add a judgment.

    Raises:
        InputError: the pair has another grade already.
    """
    grades = qrels.setdefault(query_id, {})
    if grades.setdefault(document_id, grade) != grade:
        raise InputError(
            f"{where}: query {query_id} and document {document_id} are judged {grade} here and "
            f"{grades[document_id]} before; keep one of the two rows"
        )


def read_run(path: Path, key: str) -> dict[str, dict[str, float]]:
    """Read a run file: lines ``query Q0 document rank score tag``, ASCII white space between.

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
        columns = fields(line)
        if len(columns) != 6:
            raise InputError(
                f"{where}: {len(columns)} columns; a run has 6: query Q0 document rank score tag"
            )
        query, _, document, _, text, _ = columns
        score = as_score(text, where)
        documents = found.setdefault(as_id(query, "the first column", where), {})
        if document in documents:
            raise InputError(f"{where}: document {document} is listed twice for query {query}")
        documents[as_id(document, "the third column", where)] = score
    if not found:
        raise InputError(f"{key}: {path} is empty")
    return found


COLLECTION, QUERIES = "collection.tsv", "queries.tsv"
# The names of the id's column in copies of MS MARCO, BEIR and TREC collections; Stanford's ColBERT skips "id".
_ID_COLUMNS = ("id", "_id", *(f"{what}{end}" for what in ("p", "q", "doc", "query", "passage", "document", "corpus")
                               for end in ("id", "_id", "-id")), "docno")  # fmt: skip
log = logging.getLogger(__name__)


def is_tsv_collection(folder: Path) -> bool:
    """Whether a folder is in this layout."""
    return plain_or_gzipped(folder / COLLECTION).is_file()


def _read(file: Path, most: int) -> Iterator[tuple[str, list[str]]]:
    """Id and the 1 to ``most`` other values of each line; empty lines and a line of column names are passed over."""
    for number, where, line in read_lines(file):
        name, *values = line.split("\t")
        if not 1 <= len(values) <= most:
            wanted = " to ".join(str(count) for count in sorted({2, most + 1}))
            raise InputError(f"{where}: {wanted} tab-separated values are expected, not {len(values) + 1}")
        if number == 1 and name.strip().lower() in _ID_COLUMNS:
            log.info("%s: taken for the names of the columns: %s", where, line)
            continue
        yield as_id(name, "the first column", where), values


def tsv_documents(folder: Path) -> Iterator[tuple[str, str]]:
    """Id and text of every document; a title goes before its text.

    Raises:
        InputError: a malformed line.
    """
    for name, (text, *title) in _read(plain_or_gzipped(folder / COLLECTION), 2):
        yield name, " ".join(part.strip() for part in (*title, text)).strip()


def tsv_queries(folder: Path) -> dict[str, str]:
    """Query id to text.

    Raises:
        InputError: no file or several, a malformed line, or an id that occurs twice.
    """
    file = plain_or_gzipped(folder / QUERIES)
    if not file.is_file():
        files = sorted([*folder.glob("queries.*.tsv"), *folder.glob("queries.*.tsv.gz")])
        if len(files) != 1:
            there = ", ".join(found.name for found in files) or "none"
            raise InputError(
                f"{folder}: one file queries.tsv is needed beside {COLLECTION}; there are {there}"
            )
        file = files[0]
    found: dict[str, str] = {}
    repeated = []
    for name, (text,) in _read(file, 1):
        if name in found:
            repeated.append(name)
        found[name] = text.strip()
    if repeated:
        raise InputError(f"{file}: query ids occur twice: {some_ids(repeated)}; make them unique")
    return found
