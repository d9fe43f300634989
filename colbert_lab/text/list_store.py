"""Score lists and their texts, converted once into files that are read where they lie.

Ids are resolved to row numbers while converting, so that opening reads no text and looks no id up: an opened collection
of millions of documents takes hardly any memory. Converted files are found again by what they were made from. Lists are
written here too, in a layout that other libraries read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.outside import read_json
from colbert_lab.base.types import Corpus
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays
from colbert_lab.text.list_rows import ListRow, Problems
from colbert_lab.text.mapped import ArrayColumn, TextColumn, write_arrays, write_texts
from colbert_lab.text.rows.examples import ScoredLists

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


CONFIGS = ("train", "queries", "documents")


def write_scored_lists(lists: ScoredLists, path: Path) -> None:
    """Write lists with their queries and documents, in the layout that ``read_scored_lists`` reads.

    ``datasets.load_dataset(path, "train")`` reads it too. The folder is either whole or not there.

    Args:
        lists: what to write.
        path: the folder; an earlier folder of lists is replaced.

    Raises:
        InputError: ``path`` exists and is not a folder of lists.
        OSError: the write failed; an existing folder is then untouched.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())) and not (path / "train").is_dir():
        raise InputError(f"{path}: exists and is not a folder of score lists; choose another path")
    documents = [[lists.corpus.ids[row] for row in rows.tolist()] for rows in lists.documents]
    tables = {
        "train": {
            "query_id": pa.array(lists.query_ids, pa.string()),
            "document_ids": pa.array(documents, pa.list_(pa.string())),
            "scores": pa.array([values.tolist() for values in lists.scores], pa.list_(pa.float32())),
        },
        "queries": {
            "query_id": pa.array(lists.query_ids, pa.string()),
            "text": pa.array(lists.queries, pa.string()),
        },
        "documents": {
            "document_id": pa.array(lists.corpus.ids, pa.string()),
            "text": pa.array(lists.corpus.texts, pa.string()),
        },
    }
    with atomic_folder(path) as temporary:
        for config in CONFIGS:
            (temporary / config).mkdir()
            pq.write_table(
                pa.table(tables[config]), temporary / config / "part-0.parquet", compression="zstd"
            )
        (temporary / "README.md").write_text(_readme(lists), encoding="utf-8")


def _readme(lists: ScoredLists) -> str:
    configs = [
        f"- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/*.parquet\n"
        for config in CONFIGS
    ]
    about = f"{len(lists)} lists of teacher scores over {len(lists.corpus)} documents."
    return f"---\nconfigs:\n{''.join(configs)}---\n\n# {lists.name}\n\n{about}\n"
