"""Read, check and write teacher score lists, the training data of distillation."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.atomic import atomic_folder
from colbert_lab.errors import InputError, some_ids
from colbert_lab.text.beir import load_beir_corpus, load_beir_queries
from colbert_lab.text.collection import build_corpus
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays
from colbert_lab.text.list_problems import Problems
from colbert_lab.text.list_rows import ListRow, as_id, parse_row, rows_of_dataset, rows_of_file
from colbert_lab.types import Corpus, ScoredLists

CONFIGS = ("train", "queries", "documents")
_log = logging.getLogger(__name__)


def read_scored_lists(path: str | Path, scores: str | Path | None = None) -> ScoredLists:
    """Read score lists and join them to their texts.

    Args:
        path: with ``scores``, a folder in BEIR layout (``beir.load_beir``). Without, a folder or hub id in
            the layout of lightonai/ms-marco-en-bge-gemma: the configs ``train`` (query_id, document_ids,
            scores), ``queries`` (query_id, text) and ``documents`` (document_id, text).
        scores: a ``.jsonl`` or ``.parquet`` file with query_id, document_ids and scores, relative to ``path``
            or absolute.

    Returns:
        The lists in the order in which they were read; scores are the teacher's own, unscaled. Lists whose
        scores are all equal teach nothing; they are kept, counted in ``details`` and logged.

    Raises:
        InputError: a file or config is missing or malformed, an id is unknown or repeated, a list has fewer
            than 2 documents or not one finite score for each; one line with the config key, the place, the
            number of offenders and the first ids.
    """
    folder = Path(path)
    if scores is None:
        if (folder / "corpus.jsonl").is_file() and not (folder / "README.md").is_file():
            raise InputError(
                f"data.scores: {path} is a folder with corpus.jsonl, so name the file of scores in it "
                "(.jsonl or .parquet with query_id, document_ids, scores)"
            )
        ids, texts = _texts(str(path), "documents", "document_id")
        corpus = build_corpus(ids, texts)
        queries = dict(zip(*_texts(str(path), "queries", "query_id"), strict=True))
        rows = rows_of_dataset(str(path), "train")
        name, source, key = folder.resolve().name, str(path), f"data.path: {path}"
    else:
        file = folder / scores
        rows = rows_of_file(file)
        try:
            corpus, queries = load_beir_corpus(folder), load_beir_queries(folder)
        except InputError as error:
            raise InputError(f"data.path: {error}") from error
        name, source, key = f"{folder.resolve().name}/{file.stem}", str(file), f"data.scores: {file}"
    parsed = (parse_row(row, where) for where, row in rows)
    return _join(name, source, key, parsed, corpus, queries)


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


def _texts(path: str, config: str, id_column: str) -> tuple[list[str], list[str]]:
    ids: list[str] = []
    texts: list[str] = []
    for where, row in rows_of_dataset(path, config):
        ids.append(as_id(row.get(id_column), id_column, where))
        if not isinstance(row.get("text"), str):
            raise InputError(f"{where}: text must be a string, not {row.get('text')!r}")
        texts.append(row["text"])
    if len(set(ids)) < len(ids):
        repeated = sorted(name for name, count in Counter(ids).items() if count > 1)
        raise InputError(f"data.path: {path} ({config}): {id_column} occurs twice: {some_ids(repeated)}")
    return ids, texts


def _join(
    name: str, source: str, key: str, parsed: Iterable[ListRow], corpus: Corpus, queries: Mapping[str, str]
) -> ScoredLists:
    row_of = {document_id: row for row, document_id in enumerate(corpus.ids)}
    problems = Problems()
    query_ids: list[str] = []
    seen: set[str] = set()
    documents: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    for row in parsed:
        with np.errstate(over="ignore"):
            values = np.array(row.scores, dtype=np.float64).astype(np.float32)
        if problems.of_row(row, values, row_of, queries, seen):
            continue
        seen.add(row.query_id)
        query_ids.append(row.query_id)
        documents.append(np.array([row_of[document] for document in row.document_ids], dtype=np.int64))
        scores.append(values)
    problems.raise_first()
    if not query_ids:
        raise InputError(f"{key}: holds no list; at least one is needed to train")
    lengths = [len(values) for values in scores]
    constant = [
        query for query, values in zip(query_ids, scores, strict=True) if values.min() == values.max()
    ]
    if constant:
        _log.warning("%s: lists whose scores are all equal: %s; they teach nothing", key, some_ids(constant))
    details: dict[str, Any] = {
        "source": source,
        "lists": len(query_ids),
        "documents_per_list": {"fewest": min(lengths), "most": max(lengths)},
        "constant_lists": len(constant),
    }
    texts = [queries[query] for query in query_ids]
    marks = [corpus.fingerprint, fingerprint_arrays(documents), fingerprint_arrays(scores)]
    mark = fingerprint(marks, query_ids, texts)
    return ScoredLists(name, query_ids, texts, corpus, documents, scores, mark, details)
