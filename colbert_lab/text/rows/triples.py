"""Queries with a positive document and, perhaps, hard negatives: the training data of contrastive phases."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from colbert_lab.base.errors import InputError, named, some_ids
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays, text_keys
from colbert_lab.text.rows.examples import Example

QUERY, DOCUMENT, NEGATIVE, ID = "query", "document", "negative", "query_id"
LABEL = "label"
"""A number that says whether a row's document is relevant: above 0 it is."""
BLOCK = 10_000
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
    """

    name: str
    table: datasets.Dataset
    negatives: int
    fingerprint: str
    dropped: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

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
        return text_keys(query for _, query in self.training_queries())

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
    name: str, table: datasets.Dataset, negatives: int | None, key: str = "data", *, skip_empty: bool = False
) -> Triples:
    """Check a dataset's columns and rows, block by block, without Python strings.

    Args:
        name: what messages call it.
        table: see :class:`Triples`; its ``label`` is read and left out.
        negatives: None for pairs; otherwise most negatives a row: its first ``min(negatives, fewest)`` are used, as
            ColBERT-Zero does with 10.
        key: config key to name in errors.
        skip_empty: leave out (and count in the log) rows with an empty text, without negatives, or with a label of 0.

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
    bad: dict[str, list[np.ndarray]] = {column: [] for column in [*wanted, "none", LABEL]}
    digest = hashlib.sha256()
    counts = []
    start = 0
    named_rows = [ID] if ID in table.column_names else []
    labels = [LABEL] if LABEL in table.column_names else []
    for block in (
        table.select_columns([*wanted, *named_rows, *labels]).with_format("arrow").iter(batch_size=BLOCK)
    ):
        for column in named_rows:
            _check_ids(f"{key}: {name}", _combined(block[column]), start)
        for column in labels:
            bad[column].append(start + np.flatnonzero(_irrelevant(_combined(block[column]))))
        for column in wanted:
            values = _combined(block[column])
            _check_type(f"{key}: {name}", column, values.type)
            _check_text(f"{key}: {name}", column, values, start)
            if column == NEGATIVE:
                count = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
                counts.append(count.astype(np.int64))
                bad["none"].append(start + np.flatnonzero(count == 0))
                digest.update(counts[-1].tobytes())
                first = _combined(pc.list_slice(values, 0, negatives, return_fixed_size_list=False))
                empty = _empty(pc.list_flatten(first))
                found = np.unique(pc.list_parent_indices(first).to_numpy(zero_copy_only=False)[empty])
                values = pc.list_flatten(values)
            else:
                found = np.flatnonzero(_empty(values))
            bad[column].append(start + found)
            _digest(digest, values)
        start += len(block)
    rows = {column: np.concatenate(found) for column, found in bad.items() if found}
    dropped = np.unique(np.concatenate(list(rows.values())))
    if len(dropped) and not skip_empty:
        raise InputError(f"{key}: {name}: {_complaint(rows)}; mend them, or set data.skip_empty=true")
    if len(dropped) == len(table):
        raise InputError(
            f"{key}: {name}: every row is empty, lacks negatives or is not relevant; leave the source out"
        )
    if len(dropped):
        log.warning("%s: %s left out (data.skip_empty): %s", name, f"{len(dropped)} rows", _complaint(rows))
    fewest = 0
    if negatives:
        fewest = min(negatives, int(np.delete(np.concatenate(counts), dropped).min()))
    mark = fingerprint([digest.hexdigest(), str(fewest)])
    if len(dropped):
        mark = fingerprint([mark, fingerprint_arrays([dropped])])
    return Triples(name, table.remove_columns(labels), fewest, mark, dropped)


def column_of(table: datasets.Dataset, column: str) -> Iterator[Any]:
    """The values of a column, read in blocks, so that a memory-mapped file is never loaded whole."""
    for block in table.select_columns([column]).iter(batch_size=BLOCK):
        yield from block[column]


def _combined(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_type(place: str, column: str, kind: pa.DataType) -> None:
    """Columns of nothing but nulls have no type of their own and pass; their rows are found to be empty."""
    if column != NEGATIVE:
        if not _is_text(kind) and not pa.types.is_null(kind):
            raise InputError(f"{place}: {column} must be text, not {kind}")
    elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not (
        _is_text(kind.value_type) or pa.types.is_null(kind.value_type)
    ):
        raise InputError(f"{place}: {column} must be a list of texts, not {kind}")


def _check_ids(place: str, values: pa.Array, start: int) -> None:
    """Ids are texts or whole numbers; another type's notation is not what a reader of another format finds."""
    if not _is_text(values.type) and not pa.types.is_integer(values.type):
        raise InputError(f"{place}: {ID} must hold ids (strings or whole numbers), not {values.type}")
    if values.null_count:
        row = start + int(pc.index(values.is_null(), True).as_py())
        raise InputError(f"{place}: {ID} is null in row {row}; give every row one, or leave the column out")


def _check_text(place: str, column: str, values: pa.Array, start: int) -> None:
    """Parquet files may hold any bytes as text."""
    try:
        values.validate(full=True)
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{place}: {column} is damaged after row {start} ({reason}); write the file again"
        ) from error


def _empty(values: pa.Array) -> np.ndarray:
    """True where a text is null or nothing but white space."""
    if pa.types.is_null(values.type):
        return np.ones(len(values), dtype=bool)
    empty = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(values)), 0)
    return np.asarray(pc.fill_null(empty, True).to_numpy(zero_copy_only=False), dtype=bool)


def _irrelevant(values: pa.Array) -> np.ndarray:
    """True where a label is 0 or below; what is no number says nothing."""
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        if not pa.types.is_boolean(values.type):
            return np.zeros(len(values), dtype=bool)
        values = pc.cast(values, pa.int8())
    return np.asarray(
        pc.fill_null(pc.less_equal(values, 0), False).to_numpy(zero_copy_only=False), dtype=bool
    )


def _digest(digest: Any, values: pa.Array) -> None:
    """Hash texts: their lengths (-1 for null), then their bytes end to end."""
    if pa.types.is_null(values.type):
        digest.update(np.full(len(values), -1, dtype=np.int64).tobytes())
        return
    lengths = pc.fill_null(pc.binary_length(values), -1).to_numpy(zero_copy_only=False)
    digest.update(lengths.astype(np.int64).tobytes())
    filled = pc.fill_null(values, "")
    ends = np.frombuffer(
        filled.buffers()[1], dtype=np.int64 if pa.types.is_large_string(filled.type) else np.int32
    )[filled.offset : filled.offset + len(filled) + 1]
    data = filled.buffers()[2]
    if data is not None and len(ends):
        digest.update(memoryview(data)[int(ends[0]) : int(ends[-1])])


def _complaint(rows: dict[str, np.ndarray]) -> str:
    """What is wrong, with the first row numbers."""
    texts = {
        "none": "rows without negatives: {}",
        NEGATIVE: "negative holds an empty text in rows {}",
        LABEL: "the label says not relevant (0 or below) in rows {}",
    }
    return "; ".join(
        texts.get(column, f"{column} is empty in rows {{}}").format(some_ids([str(row) for row in found]))
        for column, found in rows.items()
        if len(found)
    )
