"""Queries with a positive document and, perhaps, hard negatives: the training data of contrastive phases."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import datasets
import numpy as np

from colbert_lab.errors import InputError, some_ids
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.types import Example

QUERY, DOCUMENT, NEGATIVE, ID = "query", "document", "negative", "query_id"


@dataclass(frozen=True)
class Triples:
    """Rows of a (memory-mapped) Hugging Face dataset.

    Attributes:
        name: what messages call it.
        table: columns ``query``, ``document`` and, with negatives, ``negative`` (a list of texts); and
            ``query_id``.
        negatives: hard negatives that every row has at least; a row's first ones so many are drawn from, further ones
            are not used. 0 for pairs.
        fingerprint: hash of the content.
    """

    name: str
    table: datasets.Dataset
    negatives: int
    fingerprint: str

    @property
    def fewest(self) -> int:
        """The positive and its negatives."""
        return 1 + self.negatives

    @property
    def scored(self) -> bool:
        """There is no teacher."""
        return False

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.table)

    def example(self, row: int, n_way: int, generator: np.random.Generator) -> Example:
        """A row with its positive first and ``n_way - 1`` of its negatives."""
        values = self.table[row]
        documents = [values[DOCUMENT]]
        if n_way > 1:
            chosen = generator.choice(self.negatives, size=n_way - 1, replace=False)
            documents += [values[NEGATIVE][int(n)] for n in chosen]
        name = str(values[ID])
        ids = [f"{self.name} row {name}" + (f" negative {n}" if n else "") for n in range(len(documents))]
        return Example(name, values[QUERY], ids, documents, None)

    def training_queries(self) -> Iterator[tuple[str, str]]:
        """Id (row number, where the data has none) and text of every row's query."""
        return zip(map(str, column_of(self.table, ID)), column_of(self.table, QUERY), strict=True)

    def without(self, query_ids: Collection[str]) -> Triples:
        """All rows but those of these queries."""
        kept = [row for row, name in enumerate(column_of(self.table, ID)) if str(name) not in query_ids]
        mark = fingerprint([self.fingerprint, "without"], sorted(query_ids))
        return replace(self, table=self.table.select(kept), fingerprint=mark)


def make_triples(name: str, table: datasets.Dataset, negatives: int | None, key: str = "data") -> Triples:
    """Check a dataset's columns and rows.

    Args:
        name: what messages call it.
        table: see :class:`Triples`.
        negatives: None for pairs; otherwise most negatives a row: its first ``min(negatives, fewest)`` are used, as
            ColBERT-Zero does with 10.
        key: config key to name in errors.

    Raises:
        InputError: a column is missing, there is no row, a text is empty or not a string, or a row lacks negatives.
    """
    if negatives is not None and negatives < 1:
        raise InputError(f"data.negatives={negatives}: must be at least 1; use data=pairs for none")
    wanted = [QUERY, DOCUMENT, *([NEGATIVE] if negatives else [])]
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise InputError(
            f"{key}: {name} has no column {missing[0]}; it has {', '.join(table.column_names)} (set data.columns)"
        )
    if len(table) == 0:
        raise InputError(f"{key}: {name} is empty; leave the source out")
    for column in (QUERY, DOCUMENT):
        bad = [str(row) for row, text in enumerate(column_of(table, column)) if not _is_text(text)]
        if bad:
            raise InputError(f"{key}: {name}: {column} is empty or no text in rows {some_ids(bad)}")
    fewest = 0
    if negatives:
        counts, without, bad = [], [], []
        for row, texts in enumerate(column_of(table, NEGATIVE)):
            if not isinstance(texts, list | None):
                raise InputError(
                    f"{key}: {name}: {NEGATIVE} must be a list of texts, not {texts!r:.80} (row {row})"
                )
            counts.append(len(texts or []))
            if not texts:
                without.append(str(row))
            elif not all(map(_is_text, texts[:negatives])):
                bad.append(str(row))
        if without:
            raise InputError(
                f"{key}: {name}: rows without negatives: {some_ids(without)}; use pairs, or leave them out"
            )
        if bad:
            raise InputError(
                f"{key}: {name}: {NEGATIVE} holds something empty or no text in rows {some_ids(bad)}"
            )
        fewest = min(negatives, min(counts))
    if ID not in table.column_names:
        table = table.add_column(ID, [str(row) for row in range(len(table))])
    mark = fingerprint([_fingerprint(table, wanted), str(fewest)])
    return Triples(name, table, fewest, mark)


def table_of(columns: dict[str, Any]) -> datasets.Dataset:
    """A dataset of columns in memory."""
    return datasets.Dataset.from_dict(columns)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def column_of(table: datasets.Dataset, column: str) -> Iterator[Any]:
    """The values of a column, read in blocks, so that a memory-mapped file is never loaded whole."""
    for block in table.select_columns([column]).iter(batch_size=10_000):
        yield from block[column]


def _fingerprint(table: datasets.Dataset, columns: list[str]) -> str:
    digest = hashlib.sha256()
    for block in table.select_columns(columns).with_format("arrow").iter(batch_size=10_000):
        for column in columns:
            digest.update(repr(block[column].to_pylist()).encode())
    return digest.hexdigest()[:16]
