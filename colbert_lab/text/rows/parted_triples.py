"""Triples whose texts come in parts: an instruction and a text, and documents that may be ids of another data set.

Two layouts of the hub, as the scripts that publish or flatten them read them:

reasonir/reasonir-data   configs ``vl`` and ``hq``; query [instruction, text]; pos and neg [[instruction, text], ...];
                         the texts of hq's positives are ids of xlangai/BRIGHT (config ``documents``: id, content)
bge-reasoner-data        JSONL files; prompt, query; pos and neg [text, ...]
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import datasets

from colbert_lab.base.errors import InputError, named
from colbert_lab.base.progress import progress_bar
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.lines import as_id, as_text, reading
from colbert_lab.text.list_rows import renamed
from colbert_lab.text.row_files import kept_rows
from colbert_lab.text.rows.checking import DOCUMENT, NEGATIVE, QUERY
from colbert_lab.text.rows.triples import Triples, make_triples
from colbert_lab.text.tables import TRAIN, find_rows

log = logging.getLogger(__name__)
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
    with _reading("data.path", wanted.path):
        found = find_rows(wanted.path, wanted.config, pattern=wanted.files)
        there = found.columns(TRAIN)
    theirs = {ours: wanted.columns.get(ours, ours) for ours in COLUMNS}
    for ours, name in theirs.items():
        if name not in there and (ours != "prompt" or ours in wanted.columns):
            raise InputError(
                f"data.columns.{ours}={name}: {wanted.path} has no such column; it has {named(there)}"
            )
    texts = None if wanted.documents is None else _Documents(wanted.documents)

    def flat() -> Iterator[dict[str, Any]]:
        rows = found.rows(TRAIN, [name for name in theirs.values() if name in there])
        number, without = -1, 0
        for number, (_, row) in enumerate(progress_bar(rows, desc=f"triples of {wanted.path}")):
            values = {ours: row.get(name) for ours, name in theirs.items()}
            made = _triples(values, wanted, texts, number)
            without += not made
            for query, document, negative in made:
                yield {QUERY: query, DOCUMENT: document, NEGATIVE: [negative]}
        if without:
            log.warning(
                "%s: %d of %d rows give no triple: no query, positive or negative of %d characters (data.shortest)",
                wanted.path, without, number + 1, wanted.shortest,
            )  # fmt: skip

    text = datasets.Value("string")
    features = datasets.Features({QUERY: text, DOCUMENT: text, NEGATIVE: [text]})
    with _reading("data.path", wanted.path):
        mark = [
            *found.mark,
            repr(replace(wanted, path="", documents=None)),
            *(() if texts is None else texts.mark),
        ]
        flattened = kept_rows(mark, features, flat())
    name = "/".join(part for part in (wanted.path.rstrip("/").rsplit("/", 1)[-1], wanted.config) if part)
    if len(flattened) == 0:
        raise InputError(f"data.path: {wanted.path}: no row gives a triple (data.shortest={wanted.shortest})")
    return make_triples(name, flattened, 1, "data.path", content=fingerprint(mark))


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
        text = datasets.Value("string")
        features = datasets.Features({"id": text, "content": text})

        def made(where: str, row: Mapping[str, Any]) -> dict[str, str]:
            given = renamed(row, ("id", "content"), {}, where)
            return {
                "id": as_id(given["id"], "id", where),
                "content": as_text(given["content"], "content", where),
            }

        with _reading("data.documents", path):
            found = find_rows(path, "documents")
            splits = [found.dataset(split, features, made) for split in found.files]
        for split in splits:
            for column in ("id", "content"):
                if column not in split.column_names:
                    raise InputError(f"data.documents: {path} has no column {column}")
        self._table = datasets.concatenate_datasets(
            [split.select_columns(["id", "content"]) for split in splits]
        )
        self._row = {str(name): row for row, name in enumerate(self._table["id"])}
        self.mark = found.mark

    def text(self, name: str) -> str:
        """The document's text; what is no id is a text already."""
        row = self._row.get(name)
        return name if row is None else str(self._table[row]["content"])


def _reading(key: str, path: str) -> AbstractContextManager[None]:
    return reading(
        f"{key}: {path}: cannot be loaded", "give a hub id that can be reached, or a folder with a copy of it"
    )
