"""Triples whose texts come in parts: an instruction and a text, and documents that may be ids of another data set.

Two layouts of the hub, as the scripts that publish or flatten them read them:

reasonir/reasonir-data   configs ``vl`` and ``hq``; query [instruction, text]; pos and neg [[instruction, text], ...];
                         the texts of hq's positives are ids of xlangai/BRIGHT (config ``documents``: id, content)
bge-reasoner-data        JSONL files; prompt, query; pos and neg [text, ...]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow as pa

from colbert_lab.errors import InputError
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.hub_triples import own_cache
from colbert_lab.text.triples import DOCUMENT, NEGATIVE, QUERY, Triples, make_triples

COLUMNS = ("query", "prompt", "positives", "negatives")


@dataclass(frozen=True)
class PartedTriples:
    """How rows become triples.

    Attributes:
        path: hub id, or a folder with a copy.
        config: its config; None where there is one only.
        files: pattern of the files to read, where files are no configs.
        columns: our column name (``query``, ``prompt``, ``positives``, ``negatives``) to the data set's; ``prompt`` may
            be missing.
        query_format: joins ``{prompt}`` and ``{query}`` where there is a prompt.
        documents: data set of documents (config ``documents``, any number of splits, columns id and content); a
            positive that is one of its ids is replaced by that document's text.
        positives: most positives of a row; each makes triples of its own.
        negatives: most negatives of a positive; each makes a triple of its own.
        shortest: leave out triples with a document of fewer characters.
    """

    path: str
    config: str | None
    files: str | None
    columns: Mapping[str, str]
    query_format: str
    documents: str | None
    positives: int
    negatives: int
    shortest: int


def load_parted(wanted: PartedTriples) -> Triples:
    """Read the rows and flatten them, each triple with one negative; the flat rows are kept on disk by ``datasets``.

    Raises:
        InputError: a data set cannot be loaded, lacks a column, holds something else than texts, or gives no triple.
    """
    for ours in wanted.columns:
        if ours not in COLUMNS:
            raise InputError(f"data.columns.{ours}: must be one of {', '.join(COLUMNS)}")
    for key in ("positives", "negatives"):
        if getattr(wanted, key) < 1:
            raise InputError(f"data.{key}={getattr(wanted, key)}: must be at least 1")
    table = _load(wanted.path, wanted.config, wanted.files, "data.path")
    theirs = {ours: wanted.columns.get(ours, ours) for ours in COLUMNS}
    for ours, name in theirs.items():
        if name not in table.column_names and (ours != "prompt" or ours in wanted.columns):
            raise InputError(
                f"data.columns.{ours}={name}: {wanted.path} has no such column; it has {', '.join(table.column_names)}"
            )
    texts = None if wanted.documents is None else _Documents(wanted.documents)
    mark = fingerprint([table._fingerprint, repr(wanted), "" if texts is None else texts.mark])

    def flat(block: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {QUERY: [], DOCUMENT: [], NEGATIVE: []}
        for place, number in enumerate(rows):
            values = {ours: block[name][place] for ours, name in theirs.items() if name in block}
            for query, document, negative in _triples(values, wanted, texts, number):
                found[QUERY].append(query)
                found[DOCUMENT].append(document)
                found[NEGATIVE].append([negative])
        return found

    flattened = table.map(
        flat,
        batched=True,
        with_indices=True,
        remove_columns=table.column_names,
        new_fingerprint=mark,
        features=datasets.Features(
            {
                QUERY: datasets.Value("string"),
                DOCUMENT: datasets.Value("string"),
                NEGATIVE: datasets.Sequence(datasets.Value("string")),
            }
        ),
        desc=f"triples of {wanted.path}",
    )
    name = "/".join(part for part in (wanted.path.rstrip("/").rsplit("/", 1)[-1], wanted.config) if part)
    if len(flattened) == 0:
        raise InputError(f"data.path: {wanted.path}: no row gives a triple (data.shortest={wanted.shortest})")
    return make_triples(name, flattened, 1, "data.path")


def _triples(
    values: Mapping[str, Any], wanted: PartedTriples, texts: _Documents | None, row: int
) -> list[tuple[str, str, str]]:
    where = f"data.path: {wanted.path} row {row}"
    query = _joined(values["query"], where)
    prompt = _joined(values.get("prompt") or "", where)
    if prompt:
        query = wanted.query_format.replace("{prompt}", prompt).replace("{query}", query)
    positives = [_joined(found, where, texts) for found in (values["positives"] or [])[: wanted.positives]]
    negatives = [_joined(found, where) for found in (values["negatives"] or [])[: wanted.negatives]]
    return [
        (query, positive, negative)
        for positive in positives
        for negative in negatives
        if query and min(len(positive), len(negative)) >= wanted.shortest
    ]


def _joined(value: Any, where: str, texts: _Documents | None = None) -> str:
    """A text, or the parts of one joined with spaces, its last part looked up where it may be an id."""
    parts: Sequence[Any] = [value] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise InputError(f"{where}: a text or a list of texts is expected, not {str(value)[:80]!r}")
    if texts is not None and parts:
        parts = [*parts[:-1], texts.text(parts[-1])]
    return " ".join(parts).strip()


class _Documents:
    """Texts by id; the texts stay on disk."""

    def __init__(self, path: str) -> None:
        try:
            splits = datasets.load_dataset(path, "documents", cache_dir=own_cache(path))
        except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
            raise InputError(f"data.documents: {path}: cannot be loaded ({_reason(error)})") from error
        self._table = datasets.concatenate_datasets(list(splits.values()))
        for column in ("id", "content"):
            if column not in self._table.column_names:
                raise InputError(f"data.documents: {path} has no column {column}")
        self._row = {str(name): row for row, name in enumerate(self._table["id"])}
        self.mark = self._table._fingerprint

    def text(self, name: str) -> str:
        """The document's text; what is no id is a text already."""
        row = self._row.get(name)
        return name if row is None else str(self._table[row]["content"])


def _load(path: str, config: str | None, files: str | None, key: str) -> datasets.Dataset:
    try:
        return datasets.load_dataset(path, config, data_files=files, split="train", cache_dir=own_cache(path))
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"{key}: {path}: cannot be loaded ({_reason(error)}); give a hub id that can be reached, or a folder "
            "with a copy of it"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(f"{error} {error.__cause__ or ''}".split())[:200]
