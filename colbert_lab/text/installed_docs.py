"""The embedded default data: docstrings of the standard library and of the installed dependencies.

A query is the summary of a docstring, its one relevant document the rest of it. Sources are parsed, never
imported or executed. What is installed decides the content, so results carry a fingerprint of it.
"""

import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from colbert_lab.text.installed_docs_build import SPLITS, Row, build_rows
from colbert_lab.text.source_files import distribution_files, required_distributions, standard_library_files

DATASET = "installed_docs"
BUILD_VERSION = 2  # raise it when the same sources would give other rows
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InstalledDocs:
    """The documentation corpus with one query a document.

    Attributes:
        corpus: all documents; an id is ``module`` or ``module:qualified.name``.
        queries: query id (``q:`` + document id) to text.
        relevant: query id to the id of its document.
        split_of: query id to ``train``, ``dev`` or ``test``.
        fingerprint: hash of packages, versions, counts and all texts.
        details: Python version, packages, counts for each split, dropped docstrings for each reason.
    """

    corpus: Corpus
    queries: dict[str, str]
    relevant: dict[str, str]
    split_of: dict[str, str]
    fingerprint: str
    details: dict[str, Any]


def installed_id(packages: Mapping[str, str] | None = None) -> str:
    """What decides the documentation of this environment: its packages with their versions, and Python's.

    Args:
        packages: name to version; None looks them up.
    """
    names = [f"{name}=={version}" for name, version in (packages or required_distributions()).items()]
    return fingerprint([platform.python_version(), str(BUILD_VERSION)], names)


def load_installed_docs(cache_dir: Path) -> InstalledDocs:
    """Load the documentation corpus of this environment; build it where the cache has none.

    Building takes about 20 seconds on two cores for 80,000 docstrings.

    Args:
        cache_dir: folder of caches; one folder in it belongs to one set of packages and versions.

    Returns:
        The corpus. A cache that does not fit its fingerprint is built anew, with a warning.

    Raises:
        InputError: the installed packages hold no usable docstring.
    """
    packages = required_distributions()
    folder = Path(cache_dir) / f"{DATASET}-{installed_id(packages)}"
    with one_maker(folder):
        return _kept(folder) or _built(packages, folder)


def _kept(folder: Path) -> InstalledDocs | None:
    if folder.exists():
        try:
            return _read(folder)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            _log.warning("%s cannot be used (%s: %s); building it anew", folder, type(error).__name__, error)
    return None


def _built(packages: Mapping[str, str], folder: Path) -> InstalledDocs:
    files = standard_library_files()
    for name in packages:
        files += distribution_files(name)
    rows, details = build_rows(files, packages)
    docs = from_rows(rows, details)
    try:
        _write(docs, rows, folder)
    except OSError as error:
        _log.warning("%s cannot be written (%s); the next run builds it again", folder, error)
    return docs


def from_rows(rows: Sequence[Row], details: Mapping[str, Any]) -> InstalledDocs:
    """Put the rows of ``build_rows`` into the form that training and evaluation use."""
    ids, texts, queries, splits = (list(column) for column in zip(*rows, strict=True))
    corpus = build_corpus(ids, texts)
    query_ids = [f"q:{name}" for name in ids]
    mark = fingerprint(json.dumps(details, sort_keys=True), corpus.fingerprint, queries, splits)
    return InstalledDocs(
        corpus,
        dict(zip(query_ids, queries, strict=True)),
        dict(zip(query_ids, ids, strict=True)),
        dict(zip(query_ids, splits, strict=True)),
        mark,
        dict(details),
    )


def installed_docs_splits(docs: InstalledDocs, names: Sequence[str]) -> dict[str, Split]:
    """Make evaluation splits over one shared corpus.

    Args:
        docs: the documentation corpus.
        names: which of ``train``, ``dev`` and ``test`` to make.

    Returns:
        Name to split; their corpus is one object, with the documents of the training queries too, as distractors.

    Raises:
        InputError: a name is unknown, or a split has no query.
    """
    unknown = [name for name in names if name not in SPLITS]
    if unknown:
        raise InputError(f"{DATASET}: no split {', '.join(unknown)}; it has {', '.join(reversed(SPLITS))}")
    details = dict(docs.details) | {"installed_docs": docs.fingerprint}
    found = {}
    for name in names:
        chosen = {key: text for key, text in docs.queries.items() if docs.split_of[key] == name}
        if not chosen:
            raise InputError(f"{DATASET}: the split {name} has no query; the installed packages are too few")
        qrels = {key: {docs.relevant[key]: 1} for key in chosen}
        found[name] = build_split(DATASET, name, docs.corpus, chosen, qrels, details)
    return found


def training_text(docs: InstalledDocs) -> tuple[Corpus, dict[str, str]]:
    """Give the text that training may see.

    Args:
        docs: the documentation corpus.

    Returns:
        The documents of the training split, and its queries (query id to text).
    """
    queries = {key: text for key, text in docs.queries.items() if docs.split_of[key] == "train"}
    wanted = {docs.relevant[key] for key in queries}
    rows = [row for row, name in enumerate(docs.corpus.ids) if name in wanted]
    return build_corpus(
        [docs.corpus.ids[row] for row in rows], [docs.corpus.texts[row] for row in rows]
    ), queries


def training_split(cache_dir: Path, documents: int | None, queries: int | None) -> Split:
    """The training part of the documentation of this environment, cut to size.

    Args:
        cache_dir: see :func:`load_installed_docs`.
        documents: how many documents to keep; None keeps all.
        queries: how many queries to keep; None keeps all.

    Raises:
        InputError: the cut is not possible.
    """
    docs = load_installed_docs(cache_dir)
    corpus, texts = training_text(docs)
    qrels = {query: {docs.relevant[query]: 1} for query in texts}
    split = build_split(DATASET, "train", corpus, texts, qrels, {})
    try:
        return cut_split(split, documents, queries)
    except InputError as error:
        raise InputError(f"data: {error}") from error


def _write(docs: InstalledDocs, rows: Sequence[Row], folder: Path) -> None:
    columns = dict(zip(Row._fields, (list(column) for column in zip(*rows, strict=True)), strict=True))
    with atomic_folder(folder) as temporary:
        pq.write_table(pa.table(columns), temporary / "documents.parquet", compression="zstd")
        about = json.dumps({"fingerprint": docs.fingerprint, "details": docs.details}, indent=1)
        (temporary / "details.json").write_text(about, encoding="utf-8")


def _read(folder: Path) -> InstalledDocs:
    about = read_json(folder / "details.json", dict[str, Any])
    table = pq.read_table(folder / "documents.parquet", columns=list(Row._fields))
    columns = [table.column(name).to_pylist() for name in Row._fields]
    docs = from_rows([Row(*values) for values in zip(*columns, strict=True)], about["details"])
    if docs.fingerprint != about["fingerprint"]:
        raise ValueError("its content does not match its fingerprint")
    return docs
