"""Score lists and their texts, converted once into files that are read where they lie.

Ids are resolved to row numbers while converting, so that opening reads no text and looks no id up: an opened collection
of millions of documents takes hardly any memory. Converted files are found again by what they were made from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.outside import read_json
from colbert_lab.base.types import Corpus
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays
from colbert_lab.text.list_rows import ListRow
from colbert_lab.text.mapped import ArrayColumn, TextColumn, write_arrays, write_texts
from colbert_lab.text.rows.examples import ScoredLists

# What is wrong, which ids the message lists, and what to do; the first that occurs is raised.
_KINDS = {
    "length": ("lists with more or fewer scores than documents, of queries", "give one score a document"),
    "short": (
        "lists with fewer than 2 documents, of queries",
        "remove them: distillation compares documents",
    ),
    "number": (
        "lists with NaN or infinite scores (in 32 bits), of queries",
        "score them again or remove them",
    ),
    "repeated": ("lists that hold a document twice, of queries", "keep one score a document"),
    "again": ("queries with more than one list:", "keep one list a query"),
    "query": ("queries that are not in the collection:", "add their texts or remove their lists"),
    "document": (
        "documents that are not in the collection:",
        "add their texts or remove them from the lists",
    ),
    "empty": (
        "lists with an empty query or document:",
        "mend the texts, remove the lists, or leave them out with data.skip_empty=true",
    ),
}


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
        kinds = {
            "length": len(row.document_ids) != len(scores),
            "short": len(row.document_ids) < 2,
            "number": not bool(np.isfinite(scores).all()),
            "repeated": len(set(row.document_ids)) < len(row.document_ids),
            "again": row.query_id in seen,
            "query": row.query_id not in queries,
        }
        unknown = [document for document in row.document_ids if document not in documents]
        for kind, wrong in kinds.items():
            if wrong:
                self._add(kind, row.where, [row.query_id])
        if unknown:
            self._add("document", row.where, unknown)
        return any(kinds.values()) or bool(unknown)

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
        for kind, (what, advice) in _KINDS.items():
            if kind in self._found:
                where, ids = self._found[kind]
                raise InputError(f"{where}: {what} {some_ids(list(ids))}; {advice}")

    def _add(self, kind: str, where: str, ids: list[str]) -> None:
        self._found.setdefault(kind, (where, {}))[1].update(dict.fromkeys(ids))


VERSION = "1"  # of the files; raise when they change
META = "meta.json"
ANEW = "delete its folder, and the same command makes it anew"


class Meta(TypedDict):
    """What ``meta.json`` says of converted files."""

    fingerprint: str


class ListMeta(Meta):
    """The same of lists."""

    details: dict[str, Any]


def open_texts(
    cache_dir: Path, mark: list[str], key: str, documents: Callable[[], Iterator[tuple[str, str]]]
) -> tuple[Corpus, Path]:
    """A corpus on disk, converted when it is not there yet.

    Args:
        cache_dir: where converted files are kept.
        mark: what identifies the source.
        key: names the source in errors.
        documents: id and text of every document.

    Returns:
        The corpus and its folder.

    Raises:
        InputError: no document, or an id repeats.
    """
    folder = cache_dir / "texts" / fingerprint([VERSION, *mark])
    if not (folder / META).is_file():
        with atomic_folder(folder, whole_with=META) as temporary:
            _convert_texts(temporary, key, documents())
    meta = read_json(folder / META, Meta, ANEW)
    ids, texts = (TextColumn(folder / "texts.arrow", name) for name in ("id", "text"))
    return Corpus(ids, texts, meta["fingerprint"]), folder


def _convert_texts(folder: Path, key: str, documents: Iterator[tuple[str, str]]) -> None:
    seen: set[str] = set()
    repeated: set[str] = set()
    empty: list[int] = []

    def watched() -> Iterator[tuple[str, str]]:
        for row, (name, text) in enumerate(documents):
            if name in seen:
                repeated.add(name)
            seen.add(name)
            if not text.strip():
                empty.append(row)
            yield name, text

    file = folder / "texts.arrow"
    count = write_texts(file, ("id", "text"), watched())
    if not count:
        raise InputError(f"{key}: the corpus is empty; it needs at least one document")
    if repeated:
        raise InputError(f"{key}: document_id occurs twice: {some_ids(sorted(repeated))}")
    np.save(folder / "empty.npy", np.array(empty, dtype=np.int64))
    mark = fingerprint(TextColumn(file, "id"), TextColumn(file, "text"))
    (folder / META).write_text(json.dumps({"documents": count, "fingerprint": mark}), encoding="utf-8")


def open_lists(
    cache_dir: Path,
    mark: list[str],
    key: str,
    corpus: Corpus,
    texts: Path,
    queries: Callable[[], Mapping[str, str]],
    rows: Callable[[], Iterable[ListRow]],
    *,
    skip_empty: bool,
) -> tuple[ScoredLists, bool]:
    """Lists on disk, converted when they are not there yet.

    Args:
        cache_dir: where converted files are kept.
        mark: what identifies the source.
        key: names the source in errors.
        corpus: the documents.
        texts: their folder, from :func:`open_texts`.
        queries: query id to text.
        rows: the lists as they were read.
        skip_empty: leave out lists with an empty query or document.

    Returns:
        The lists, without a name, and whether they were converted just now.

    Raises:
        InputError: see :func:`colbert_lab.text.scored_lists.read_scored_lists`.
    """
    parts = [VERSION, corpus.fingerprint, str(skip_empty), *mark]
    folder = cache_dir / "list_rows" / fingerprint(parts)
    new = not (folder / META).is_file()
    if new:
        empty = np.load(texts / "empty.npy", allow_pickle=False)
        with atomic_folder(folder, whole_with=META) as temporary:
            _convert_lists(temporary, key, corpus, set(empty.tolist()), queries(), rows(), skip_empty)
    meta = read_json(folder / META, ListMeta, ANEW)
    ids, asked = (TextColumn(folder / "queries.arrow", name) for name in ("id", "text"))
    documents, scores = (ArrayColumn(folder, name) for name in ("documents", "scores"))
    lists = ScoredLists("", ids, asked, corpus, documents, scores, meta["fingerprint"], meta["details"])
    return lists, new


def _convert_lists(
    folder: Path,
    key: str,
    corpus: Corpus,
    empty: set[int],
    queries: Mapping[str, str],
    rows: Iterable[ListRow],
    skip_empty: bool,
) -> None:
    row_of = {name: row for row, name in enumerate(corpus.ids)}
    problems = Problems()
    query_ids: list[str] = []
    seen: set[str] = set()
    documents: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    skipped: list[str] = []
    for row in rows:
        with np.errstate(over="ignore"):
            values = np.array(row.scores, dtype=np.float64).astype(np.float32)
        if problems.of_row(row, values, row_of, queries, seen):
            continue
        seen.add(row.query_id)
        numbers = [row_of[document] for document in row.document_ids]
        without_text = [
            name for name, number in zip(row.document_ids, numbers, strict=True) if number in empty
        ]
        asks_nothing = not queries[row.query_id].strip()
        if without_text or asks_nothing:
            skipped.append(row.query_id)
            if not skip_empty:
                problems.of_empty(row, without_text, asks_nothing)
            continue
        query_ids.append(row.query_id)
        documents.append(np.array(numbers, dtype=np.int64))
        scores.append(values)
    problems.raise_first()
    if not query_ids:
        raise InputError(f"{key}: holds no list; at least one is needed to train")
    write_texts(folder / "queries.arrow", ("id", "text"), ((name, queries[name]) for name in query_ids))
    write_arrays(folder, {"documents": documents, "scores": scores})
    lengths = [len(values) for values in scores]
    constant = [n for n, values in zip(query_ids, scores, strict=True) if values.min() == values.max()]
    details = {
        "lists": len(query_ids),
        "documents_per_list": {"fewest": min(lengths), "most": max(lengths)},
        "constant_lists": len(constant),
        "constant_ids": constant[:5],
        "skipped_lists": len(skipped),
        "skipped_ids": skipped[:5],
    }
    marks = [corpus.fingerprint, fingerprint_arrays(documents), fingerprint_arrays(scores)]
    mark = fingerprint(marks, query_ids, (queries[name] for name in query_ids))
    (folder / META).write_text(json.dumps({"fingerprint": mark, "details": details}), encoding="utf-8")
