"""Queries with a positive document and, perhaps, hard negatives: the training data of contrastive phases."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

import datasets
import numpy as np

from colbert_lab.base.errors import InputError, named
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays
from colbert_lab.text.passes import MANY, kept_pass
from colbert_lab.text.rows.checking import (
    BLOCK,
    COUNT,
    DIGEST,
    DOCUMENT,
    ID,
    IDS,
    LABEL,
    NEGATIVE,
    NONE,
    QUERY,
    checked_rows,
    complaint,
)
from colbert_lab.text.rows.examples import Example
from colbert_lab.text.rows.queries import queries_among, query_keys

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Triples:
    """Rows of a memory-mapped Hugging Face dataset; no text is kept in memory.

    Attributes:
        name: what messages call it.
        table: columns ``query``, ``document`` and, with negatives, ``negative`` (a list of texts); perhaps
            ``query_id``. A query without an id is called by its row number in ``table``.
        negatives: hard negatives that every row has at least; a row's first ones so many are drawn from, further ones
            are not used. 0 for pairs.
        fingerprint: hash of the content.
        dropped: sorted numbers of rows of ``table`` that are not used.
        ids_fingerprint: hash of the ids of queries, which ``fingerprint`` does not tell; None where it was not taken.
    """

    name: str
    table: datasets.Dataset
    negatives: int
    fingerprint: str
    dropped: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    ids_fingerprint: str | None = None

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
        return len(self.table) - len(self.dropped)

    def example(self, row: int, n_way: int, generator: np.random.Generator) -> Example:
        """A row with its positive first and ``n_way - 1`` of its negatives."""
        place = int(self._places(np.array(row)))
        values = self.table[place]
        documents = [values[DOCUMENT]]
        if n_way > 1:
            chosen = generator.choice(self.negatives, size=n_way - 1, replace=False)
            documents += [values[NEGATIVE][int(n)] for n in chosen]
        name = str(values.get(ID, place))
        ids = [f"{self.name} row {name}" + (f" negative {n}" if n else "") for n in range(len(documents))]
        return Example(name, values[QUERY], ids, documents, None)

    def training_queries(self) -> Iterator[tuple[str, str]]:
        """Id (row number, where the data has none) and text of every row's query."""
        dropped = set(self.dropped.tolist())
        queries = zip(self._ids(), column_of(self.table, QUERY), strict=True)
        return (pair for row, pair in enumerate(queries) if row not in dropped)

    def _places(self, rows: np.ndarray) -> np.ndarray:
        """Where rows are in the table: before the i-th dropped row lie dropped[i] - i rows that are used."""
        before = np.searchsorted(self.dropped - np.arange(len(self.dropped)), rows, side="right")
        return np.asarray(rows + before)

    def query_keys(self) -> np.ndarray:
        """A pair is a row."""
        return np.delete(query_keys(self.name, self.table), self.dropped)

    def queries_among(self, asked: Mapping[str, Set[str]]) -> dict[str, list[str]]:
        """Ids of the queries that are among others, see :func:`colbert_lab.text.rows.queries.queries_among`."""
        return queries_among(self.name, self.table, asked, self.dropped)

    def positive_texts(self, pairs: np.ndarray) -> Iterator[str]:
        """The document of each row."""
        return column_of(self.table.select(self._places(pairs)), DOCUMENT)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row that is used, read in blocks."""
        gone = set(self.dropped.tolist())
        number = 0
        for block in self.table.iter(batch_size=BLOCK):
            for values in zip(*block.values(), strict=True):
                if number not in gone:
                    yield dict(zip(block, values, strict=True))
                number += 1

    def rows_of_queries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every row that is used, with the id of its query; equal queries without one get one id.

        Raises:
            InputError: two queries have one id.
        """
        queries: dict[str, str] = {}
        number_of: dict[str, str] = {}
        for row in self.rows():
            named = row.get(ID)
            query = (
                str(named) if named is not None else number_of.setdefault(row[QUERY], f"q{len(number_of)}")
            )
            if queries.setdefault(query, row[QUERY]) != row[QUERY]:
                raise InputError(f"data: {self.name}: two queries have the id {query}; make the ids unique")
            yield query, row

    def without(self, query_ids: Collection[str]) -> Triples:
        """All rows but those of these queries."""
        gone = [row for row, name in enumerate(self._ids()) if name in query_ids]
        mark = fingerprint([self.fingerprint, "without"], sorted(query_ids))
        return replace(self, dropped=np.union1d(self.dropped, gone).astype(np.int64), fingerprint=mark)

    def _ids(self) -> Iterator[str]:
        if ID in self.table.column_names:
            return map(str, column_of(self.table, ID))
        return map(str, range(len(self.table)))


def make_triples(
    name: str,
    table: datasets.Dataset,
    negatives: int | None,
    key: str = "data",
    *,
    skip_empty: bool = False,
    content: str | None = None,
) -> Triples:
    """Check a dataset's columns and rows, block by block, without Python strings.

    Args:
        name: what messages call it.
        table: see :class:`Triples`; its ``label`` is read and left out.
        negatives: None for pairs; otherwise most negatives a row: its first ``min(negatives, fewest)`` are used, as
            ColBERT-Zero does with 10.
        key: config key to name in errors.
        skip_empty: leave out (and count in the log) rows with an empty text, without negatives, or with a label of 0.
        content: an id of the table's content, under which what the pass finds is kept; None keeps nothing.

    Raises:
        InputError: a column is missing or holds something else, there is no row, or, without ``skip_empty``, a text
            is empty, a row lacks negatives, or its label says that its document is not relevant.
    """
    wanted = [QUERY, DOCUMENT, *([NEGATIVE] if negatives else [])]
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise InputError(
            f"{key}: {name} has no column {missing[0]}; it has {named(table.column_names)} (set data.columns)"
        )
    if len(table) == 0:
        raise InputError(f"{key}: {name} is empty; leave the source out")
    found = kept_pass(
        "rows",
        None if content is None or len(table) < MANY else [content, str(wanted), str(negatives)],
        lambda: checked_rows(f"{key}: {name}", table, wanted, negatives),
    )
    rows = {column: found[column] for column in [*wanted, NONE, LABEL] if column in found}
    dropped = np.unique(np.concatenate(list(rows.values())))
    if len(dropped) and not skip_empty:
        raise InputError(f"{key}: {name}: {complaint(rows)}; mend them, or set data.skip_empty=true")
    if len(dropped) == len(table):
        raise InputError(
            f"{key}: {name}: every row is empty, lacks negatives or is not relevant; leave the source out"
        )
    if len(dropped):
        log.warning("%s: %s left out (data.skip_empty): %s", name, f"{len(dropped)} rows", complaint(rows))
    fewest = 0
    if negatives:
        fewest = min(negatives, int(np.delete(found[COUNT], dropped).min()))
    mark = fingerprint([found[DIGEST].tobytes().hex(), str(fewest)])
    if len(dropped):
        mark = fingerprint([mark, fingerprint_arrays([dropped])])
    labels = [LABEL] if LABEL in table.column_names else []
    ids = fingerprint(found[IDS].tobytes().hex())
    return Triples(name, table.remove_columns(labels), fewest, mark, dropped, ids)


def column_of(table: datasets.Dataset, column: str) -> Iterator[Any]:
    """The values of a column, read in blocks, so that a memory-mapped file is never loaded whole."""
    for block in table.select_columns([column]).iter(batch_size=BLOCK):
        yield from block[column]
