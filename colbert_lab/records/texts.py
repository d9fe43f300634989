"""The texts that a run's rankings are about, kept with the run: they stay readable when packages and folders change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from colbert_lab.base.atomic import atomic_path
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import parse_json, warn_once
from colbert_lab.base.types import Ranking, Split

TOP = 5
"""First documents of a ranking, and relevant documents of a query, whose texts are kept."""
LONGEST = 1000
"""Characters that are kept of a text."""
COLUMNS = ("kind", "id", "text", "relevant")
JUDGED = ("judged", "grades")
"""Columns that older files do not have: a query's judged documents, and the grade of each."""
QUERY, DOCUMENT = "query", "document"
_METADATA = b"colbert_lab"


class _Details(TypedDict):
    """What the file says of itself: the split's fingerprint."""

    fingerprint: str


@dataclass(frozen=True)
class Texts:
    """Texts of one split.

    Attributes:
        queries: id to text, of all judged queries.
        relevant: query id to the documents judged relevant.
        documents: id to text, of those that a ranking holds among its first ``TOP`` and of relevant ones.
        grades: query id to {document id: grade}, all judgments; empty where an older version kept the file.
    """

    queries: Mapping[str, str] = field(default_factory=dict)
    relevant: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)
    grades: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def texts_path(run_dir: Path, split: str) -> Path:
    """Where a run keeps the texts of a split.

    Args:
        run_dir: the run's folder.
        split: name of the split in ``evaluation.splits``.
    """
    return run_dir / "texts" / f"{split}.parquet"


def keep_texts(run_dir: Path, key: str, split: Split, ranking: Ranking) -> None:
    """Add what a ranking needs to the texts that a run keeps of a split; written anew only where something is added.

    Args:
        run_dir: the run's folder.
        key: name of the split in ``evaluation.splits``.
        split: the split.
        ranking: of one system on it.

    Raises:
        OSError: what the write raised; an old file is then intact.
    """
    path = texts_path(run_dir, key)
    known = _kept(path, split.fingerprint)
    relevant = {
        query: tuple(sorted(document for document, grade in grades.items() if grade > 0))
        for query, grades in split.qrels.items()
    }
    wanted = {document for documents in ranking.document_ids for document in documents[:TOP]}
    wanted |= {document for documents in relevant.values() for document in documents[:TOP]}
    grades = {query: dict(each) for query, each in sorted(split.qrels.items()) if each}
    if known.queries and wanted <= known.documents.keys() and known.grades == grades:
        return
    documents = dict(known.documents)
    for number, document in enumerate(split.corpus.ids):  # one pass: a corpus may have millions of documents
        if document in wanted and document not in documents:
            documents[document] = _cut(split.corpus.texts[number])
    queries = {query: _cut(split.queries[query]) for query in sorted(split.queries)}
    _write(path, Texts(queries, relevant, dict(sorted(documents.items())), grades), split.fingerprint)


def read_texts(run_dir: Path, key: str, fingerprint: str) -> Texts:
    """The texts that a run kept of a split; none without a file (older runs), or, with a warning, of a damaged one.

    Args:
        run_dir: the run's folder.
        key: name of the split in ``evaluation.splits``.
        fingerprint: of the split.
    """
    return _kept(texts_path(run_dir, key), fingerprint)


def _cut(text: str) -> str:
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return cut.encode("utf-8", "replace").decode()  # halves of surrogate pairs are no UTF-8


def _write(path: Path, texts: Texts, fingerprint: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[tuple[Any, ...]] = []
    for query, text in texts.queries.items():
        grades = dict(sorted(texts.grades.get(query, {}).items()))
        relevant = list(texts.relevant.get(query, ()))
        rows.append((QUERY, query, text, relevant, list(grades), list(grades.values())))
    for document, text in texts.documents.items():
        rows.append((DOCUMENT, document, text, None, None, None))
    names = pa.list_(pa.string())
    kinds = (pa.string(), pa.string(), pa.string(), names, names, pa.list_(pa.int64()))
    columns = {
        name: pa.array([row[n] for row in rows], kind)
        for n, (name, kind) in enumerate(zip((*COLUMNS, *JUDGED), kinds, strict=True))
    }
    metadata = {_METADATA: json.dumps({"fingerprint": fingerprint}).encode()}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), temporary, compression="zstd")


def _kept(path: Path, fingerprint: str) -> Texts:
    """What is in a file; nothing where it is missing, damaged (with a warning), or of another split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return Texts()
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            about = (file.schema_arrow.metadata or {}).get(_METADATA, b"").decode("utf-8", "replace")
            if parse_json(about, _Details, str(path))["fingerprint"] != fingerprint:
                return Texts()
            there = [name for name in (*COLUMNS, *JUDGED) if name in file.schema_arrow.names]
            rows = file.read(columns=there, use_threads=False).to_pylist()
        queries = {str(row["id"]): str(row["text"]) for row in rows if row["kind"] == QUERY}
        documents = {str(row["id"]): str(row["text"]) for row in rows if row["kind"] == DOCUMENT}
        relevant = {str(row["id"]): tuple(row["relevant"] or ()) for row in rows if row["kind"] == QUERY}
        grades = {
            str(row["id"]): dict(zip(row["judged"], map(int, row["grades"]), strict=True))
            for row in rows
            if row["kind"] == QUERY and row.get("judged")
        }
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, InputError) as damage:
        warn_once(f"{path}: cannot be read as texts: {damage}; the file is skipped")
        return Texts()
    return Texts(queries, relevant, documents, grades)
