"""Documentation as a corpus with one query a document: splits, training text, and the folder that keeps it.

It is made once of docstrings and pages, of what is installed (:mod:`colbert_lab.text.installed_docs`), of a list of
packages or of a folder (:mod:`colbert_lab.text.packages.package_docs`).
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.base.locks import one_maker
from colbert_lab.base.outside import read_json
from colbert_lab.base.types import Corpus, Split
from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.collections.cut import cut_split
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.installed_docs_build import SPLITS, Row

_log = logging.getLogger(__name__)
_NEEDED = ("document_id", "document", "query", "split")  # columns without a default


@dataclass(frozen=True)
class Documentation:
    """A documentation corpus with one query a document.

    Attributes:
        dataset: what splits and messages call it.
        corpus: all documents; the id of a docstring is ``module`` or ``module:qualified.name``.
        queries: query id (``q:`` + document id) to text.
        relevant: query id to the id of its document.
        split_of: query id to its split, such as ``train``.
        fingerprint: hash of packages, versions, counts and all texts.
        details: Python version, packages, counts for each split, dropped texts for each reason.
        splits: names of the splits, in the order in which near-twins are kept.
        kind_of: query id to what the query is, such as ``summary``.
        origin_of: query id to the text that it was cut from; empty where a text gives one pair.
    """

    dataset: str
    corpus: Corpus
    queries: dict[str, str]
    relevant: dict[str, str]
    split_of: dict[str, str]
    fingerprint: str
    details: dict[str, Any]
    splits: Sequence[str] = SPLITS
    kind_of: dict[str, str] = field(default_factory=dict)
    origin_of: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Its name and size, not its texts."""
        return f"Documentation({self.dataset}: {len(self.corpus):,} documents, {self.fingerprint})"


def documentation_of(
    dataset: str, rows: Sequence[Row], details: Mapping[str, Any], splits: Sequence[str] = SPLITS
) -> Documentation:
    """Put rows into the form that training and evaluation use.

    Args:
        dataset: what splits and messages call it.
        rows: the documents with their queries.
        details: see :class:`Documentation`.
        splits: see there.
    """
    columns = (list(column) for column in zip(*rows, strict=True))
    ids, texts, queries, split_names, kinds, origins = columns
    corpus = build_corpus(ids, texts)
    query_ids = [f"q:{name}" for name in ids]
    several = [kinds, origins] if any(origins) else []
    about = json.dumps(details, sort_keys=True)
    return Documentation(
        dataset,
        corpus,
        dict(zip(query_ids, queries, strict=True)),
        dict(zip(query_ids, ids, strict=True)),
        dict(zip(query_ids, split_names, strict=True)),
        fingerprint(about, corpus.fingerprint, queries, split_names, *several),
        dict(details),
        splits,
        dict(zip(query_ids, kinds, strict=True)),
        {query: origin for query, origin in zip(query_ids, origins, strict=True) if origin},
    )


def documentation_splits(docs: Documentation, names: Sequence[str]) -> dict[str, Split]:
    """Make evaluation splits over one shared corpus.

    Args:
        docs: the documentation corpus.
        names: which of its splits to make.

    Returns:
        Name to split; their corpus is one object, with the documents of the training queries too, as distractors.

    Raises:
        InputError: a name is unknown, or a split has no query.
    """
    unknown = [name for name in names if name not in docs.splits]
    if unknown:
        there = ", ".join(reversed(docs.splits))
        raise InputError(f"{docs.dataset}: no split {', '.join(unknown)}; it has {there}")
    details = dict(docs.details) | {docs.dataset: docs.fingerprint}
    excluded = _same_text(docs)
    found = {}
    for name in names:
        chosen = {key: text for key, text in docs.queries.items() if docs.split_of[key] == name}
        if not chosen:
            raise InputError(f"{docs.dataset}: the split {name} has no query; there is too little text")
        qrels = {key: {docs.relevant[key]: 1} for key in chosen}
        found[name] = build_split(docs.dataset, name, docs.corpus, chosen, qrels, details, excluded=excluded)
    return found


def training_text(docs: Documentation, kinds: Collection[str] | None = None) -> tuple[Corpus, dict[str, str]]:
    """Give the text that training may see.

    Args:
        docs: the documentation corpus.
        kinds: kinds of queries to take; None takes all.

    Returns:
        The documents of the training split, and its queries (query id to text).
    """
    queries = {
        key: text
        for key, text in docs.queries.items()
        if docs.split_of[key] == "train" and (kinds is None or docs.kind_of[key] in kinds)
    }
    wanted = {docs.relevant[key] for key in queries}
    rows = [row for row, name in enumerate(docs.corpus.ids) if name in wanted]
    return build_corpus(
        [docs.corpus.ids[row] for row in rows], [docs.corpus.texts[row] for row in rows]
    ), queries


def training_part(
    docs: Documentation, documents: int | None, queries: int | None, kinds: Collection[str] | None = None
) -> Split:
    """The training part of a documentation corpus as a split, cut to size.

    Args:
        docs: the documentation corpus.
        documents: how many documents to keep; None keeps all.
        queries: how many queries to keep; None keeps all.
        kinds: see :func:`training_text`.

    Raises:
        InputError: the cut is not possible.
    """
    corpus, texts = training_text(docs, kinds)
    qrels = {query: {docs.relevant[query]: 1} for query in texts}
    dataset = docs.dataset if kinds is None or len(kinds) > 1 else " ".join([docs.dataset, *kinds])
    split = build_split(dataset, "train", corpus, texts, qrels, {}, excluded=_same_text(docs))
    try:
        return cut_split(split, documents, queries)
    except InputError as error:
        raise InputError(f"data: {error}") from error


def _same_text(docs: Documentation) -> dict[str, set[str]]:
    """For each query the documents of other kinds that were cut from the same text: they hold its answer too."""
    cut_from: dict[str, list[str]] = {}
    for query, origin in docs.origin_of.items():
        cut_from.setdefault(origin, []).append(query)
    return {
        query: names
        for queries in cut_from.values()
        if len(queries) > 1
        for query in queries
        if (
            names := {docs.relevant[other] for other in queries if docs.kind_of[other] != docs.kind_of[query]}
        )
    }


def kept_or_built(
    folder: Path,
    dataset: str,
    build: Callable[[], tuple[Sequence[Row], Mapping[str, Any]]],
    splits: Sequence[str] = SPLITS,
) -> Documentation:
    """Read a documentation corpus, or build it where there is none; one process builds, others wait for it.

    Args:
        folder: its folder, named by what decides its content.
        dataset: what splits and messages call it.
        build: makes its rows and details.
        splits: see :class:`Documentation`.

    Returns:
        The corpus. One that does not fit its fingerprint is built anew, with a warning.

    Raises:
        InputError: of ``build``.
    """
    with one_maker(folder):
        if folder.exists():
            try:
                return _read(folder, dataset, splits)
            except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
                _log.warning(
                    "%s cannot be used (%s: %s); building it anew", folder, type(error).__name__, error
                )
        rows, details = build()
        docs = documentation_of(dataset, rows, details, splits)
        try:
            _write(docs, rows, folder)
        except OSError as error:
            _log.warning("%s cannot be written (%s); the next run builds it again", folder, error)
        return docs


def write_columns(rows: Sequence[Any], kind: Any, path: Path) -> None:
    """Write named tuples into a Parquet file.

    Args:
        rows: the named tuples, of texts.
        kind: their class.
        path: the file.
    """
    columns = zip(*rows, strict=True) if rows else ([] for _ in kind._fields)
    schema = pa.schema([(name, pa.string()) for name in kind._fields])
    table = pa.table(dict(zip(kind._fields, map(list, columns), strict=True)), schema=schema)
    pq.write_table(table, path, compression="zstd")


def read_columns(kind: Any, path: Path, needed: Sequence[str]) -> list[Any]:
    """Read what :func:`write_columns` wrote.

    Args:
        kind: the named tuple.
        path: the file.
        needed: columns that must be there; others take their default where they are not.

    Raises:
        OSError: the file cannot be read.
        pa.ArrowException: it is damaged.
        KeyError: a column is missing.
    """
    table = pq.read_table(path)
    names = [name for name in kind._fields if name in table.column_names or name in needed]
    columns = [table.column(name).to_pylist() for name in names]
    return [kind(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def _write(docs: Documentation, rows: Sequence[Row], folder: Path) -> None:
    with atomic_folder(folder) as temporary:
        write_columns(rows, Row, temporary / "documents.parquet")
        about = json.dumps({"fingerprint": docs.fingerprint, "details": docs.details}, indent=1)
        (temporary / "details.json").write_text(about, encoding="utf-8")


def _read(folder: Path, dataset: str, splits: Sequence[str]) -> Documentation:
    about = read_json(folder / "details.json", dict[str, Any])
    rows = read_columns(Row, folder / "documents.parquet", _NEEDED)
    docs = documentation_of(dataset, rows, about["details"], splits)
    if docs.fingerprint != about["fingerprint"]:
        raise ValueError("its content does not match its fingerprint")
    return docs
