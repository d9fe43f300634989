"""Rows and judgments that Python gave, as files that the config's sources read: a run is known by what they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow.parquet as pq

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError, given_texts, named, named_texts, told
from colbert_lab.text.collections.beir import CORPUS, QUERIES
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.rows.checking import BLOCK, NEGATIVE, QUERY

if TYPE_CHECKING:
    import datasets

GivenRows: TypeAlias = "datasets.Dataset | Sequence[Mapping[str, Any]]"
DOCUMENTS, SCORES = "documents", "scores"
ROWS_FILE, LISTS_FILE, SPLIT = "rows.parquet", "lists.jsonl", "test"
EXAMPLE = "{'query': ..., 'document': ..., 'negative': [...]} or {'query': ..., 'documents': [...], 'scores': [...]}"
PARTS = ("queries", "corpus", "relevant_docs")


def data_settings(rows: GivenRows, cache_dir: Path, place: str = "data") -> dict[str, str]:
    """Write rows to train on below ``cache_dir``, and name the settings that read them.

    Rows with ``scores`` are lists for distillation, rows with negatives are triples, and others are pairs; the columns
    may have the names that ``data=triples`` knows.

    Args:
        rows: a data set, or a list of mappings that have the same keys.
        cache_dir: the same rows are written once.
        place: where the config has them: ``data``, or ``phases.NAME.data``.

    Raises:
        InputError: they are something else, are empty, or differ in their keys.
    """
    table = _table(rows, place)
    if table.num_rows == 0:
        raise InputError(f"{place}: there are no rows")
    columns, scored = table.column_names, SCORES in table.column_names
    if scored and (lacking := [name for name in (QUERY, DOCUMENTS) if name not in columns]):
        raise InputError(f"{place}: rows with scores need {lacking[0]!r} too; they have {', '.join(columns)}")
    folder = cache_dir / "given" / fingerprint(columns, (json.dumps(row, default=str) for row in table))
    if not folder.is_dir():
        with atomic_folder(folder) as temporary:
            (temporary / "rows").mkdir()
            if scored:
                _write_lists(temporary / "rows", table, place)
            else:
                with pq.ParquetWriter(temporary / "rows" / ROWS_FILE, table.features.arrow_schema) as writer:
                    for part in table.with_format("arrow").iter(BLOCK):
                        writer.write_table(part)
    group = "data" if place == "data" else f"data@{place}"
    if scored:
        return {group: "scored_lists", f"{place}.path": str(folder / "rows"), f"{place}.scores": LISTS_FILE}
    kind = "triples" if any(name.startswith(NEGATIVE) for name in columns) else "pairs"
    return {group: kind, f"{place}.path": str(folder / "rows" / ROWS_FILE)}


def evaluation_settings(given: Mapping[str, Any], cache_dir: Path) -> dict[str, str]:
    """Write judgments below ``cache_dir`` in BEIR layout, and name the settings that measure on them.

    Args:
        given: ``queries`` and ``corpus``, texts by id, and ``relevant_docs``, by query id the ids of its relevant
            documents or their grades, as sentence-transformers' evaluators take them.
        cache_dir: the same judgments are written once.

    Raises:
        InputError: something is missing, or is of another type.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"evaluation: must be a mapping of {', '.join(PARTS)}, not {told(given)}")
    if set(given) != set(PARTS):
        there = named(map(str, given)) or "nothing"
        raise InputError(f"evaluation: must be a mapping of {', '.join(PARTS)}; this one has {there}")
    texts: dict[str, dict[str, str]] = {}
    for part in PARTS[:2]:
        if not isinstance(given[part], Mapping):
            raise InputError(f"evaluation: {part} must be texts by id, not {told(given[part])}")
        texts[part] = named_texts(given[part], what=f"{part} of evaluation")
    lines = ["query-id\tcorpus-id\tscore"]
    for query, graded in _judged(given["relevant_docs"]):
        lines += [f"{query}\t{document}\t{grade}" for document, grade in graded.items()]
    names = {
        QUERIES: _jsonl(_texts(texts["queries"])),
        CORPUS: _jsonl(_texts(texts["corpus"])),
        f"qrels/{SPLIT}.tsv": "\n".join(lines) + "\n",
    }
    folder = cache_dir / "given" / fingerprint(names, names.values())
    if not folder.is_dir():
        with atomic_folder(folder) as temporary:
            for name, text in names.items():
                file = temporary / "given" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
    return {"evaluation": "beir", "evaluation.path": str(folder / "given"), "evaluation.split": SPLIT}


def _table(rows: GivenRows, place: str) -> datasets.Dataset:
    import datasets
    import pyarrow as pa

    if isinstance(rows, datasets.Dataset):
        return rows.with_format(None)
    if isinstance(rows, str | Mapping) or not isinstance(rows, Sequence):
        raise InputError(f"{place} must be a datasets.Dataset or a list of rows, {EXAMPLE}, not {told(rows)}")
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"{place}: row {number} is {told(row)}, not a mapping such as {EXAMPLE}")
        if row.keys() != rows[0].keys():
            raise InputError(
                f"{place}: row {number} has {', '.join(map(str, row))}, and row 0 has {', '.join(map(str, rows[0]))}; "
                "all rows need the same keys"
            )
    try:
        return datasets.Dataset.from_list([dict(row) for row in rows])
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{place}: these rows are no table: {' '.join(str(error).split())}") from error


def _write_lists(folder: Path, table: datasets.Dataset, place: str) -> None:
    """Queries, documents and lists in BEIR layout; a document that several lists have is there once."""
    ids: dict[str, str] = {}
    queries, lists = {}, []
    for number, row in enumerate(table):
        (queries[str(number)],) = given_texts([row[QUERY]], f"{place}: row {number}: {QUERY}")
        texts = given_texts(row[DOCUMENTS], f"{place}: row {number}: {DOCUMENTS}")
        names = [ids.setdefault(text, str(len(ids))) for text in texts]
        lists.append({"query_id": str(number), "document_ids": names, "scores": row[SCORES]})
    (folder / QUERIES).write_text(_jsonl(_texts(queries)), encoding="utf-8")
    (folder / CORPUS).write_text(_jsonl(_texts({name: text for text, name in ids.items()})), encoding="utf-8")
    (folder / LISTS_FILE).write_text(_jsonl(lists), encoding="utf-8")


def _judged(given: Any) -> Iterable[tuple[str, dict[str, int]]]:
    what = "evaluation: relevant_docs"
    if not isinstance(given, Mapping):
        raise InputError(f"{what} must be ids of documents by query id, not {told(given)}")
    for query, documents in given.items():
        names = given_texts(documents, f"{what}: {query}")
        if strange := next((name for name in [query, *names] if re.search(r"[\t\r\n]", name)), None):
            raise InputError(f"{what}: {strange!r}: an id must have no tab and no line break")
        graded = documents if isinstance(documents, Mapping) else dict.fromkeys(sorted(names), 1)
        yield query, dict(graded)


def _texts(texts: Mapping[str, str]) -> Iterable[dict[str, str]]:
    return ({"_id": name, "text": text} for name, text in texts.items())


def _jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
