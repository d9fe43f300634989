"""One pass over the rows of pairs or triples: what is wrong with which, and a hash of all texts.

The pass reads Arrow blocks and makes no Python strings, in several processes where there are many rows
(:mod:`colbert_lab.text.spans`). What it found is kept, so that a second start does not read the text again
(:mod:`colbert_lab.text.passes`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.text.spans import over_spans

QUERY, DOCUMENT, NEGATIVE, ID = "query", "document", "negative", "query_id"
LABEL = "label"
"""A number that says whether a row's document is relevant: above 0 it is."""
BLOCK = 10_000
NONE, COUNT, DIGEST, IDS = "none", "count", "digest", "ids"
"""What :func:`checked_rows` finds beside rows with a bad text: rows without negatives, negatives a row, two hashes."""


def checked_rows(
    place: str, table: datasets.Dataset, wanted: list[str], negatives: int | None
) -> dict[str, np.ndarray]:
    """Read every row once.

    Args:
        place: what messages call the rows.
        table: its columns ``wanted``, and ``query_id`` and ``label`` where it has them.
        wanted: columns of texts, and ``negative`` of lists of texts.
        negatives: first negatives of a row that must not be empty.

    Returns:
        For each of ``wanted``, for ``label`` and ``none`` the numbers of rows that are empty, not relevant or without
        negatives; ``count`` with ``negative``: negatives of each row; ``digest`` and ``ids``: SHA-256 of
        all texts and of all ids, as bytes; where there are several spans, of their hashes.

    Raises:
        InputError: a column holds something else, or a row of ``query_id`` is null.
    """
    more = [column for column in (ID, LABEL) if column in table.column_names]
    rows = table.select_columns([*wanted, *more])
    parts = over_spans(rows, _checked_span, place, wanted, negatives, desc=f"checking {place}")
    arrays = {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
    if len(parts) > 1:  # a hash of the hashes of spans
        for name in (DIGEST, IDS):
            arrays[name] = np.frombuffer(hashlib.sha256(arrays[name].tobytes()).digest(), dtype=np.uint8)
    return arrays


def _checked_span(
    rows: datasets.Dataset,
    start: int,
    done: Callable[[int], object],
    place: str,
    wanted: list[str],
    negatives: int | None,
) -> dict[str, np.ndarray]:
    bad: dict[str, list[np.ndarray]] = {column: [] for column in [*wanted, NONE, LABEL]}
    digest, ids = hashlib.sha256(), hashlib.sha256()
    counts: list[np.ndarray] = []
    named_rows = [ID] if ID in rows.column_names else []
    labels = [LABEL] if LABEL in rows.column_names else []
    for block in rows.with_format("arrow").iter(batch_size=BLOCK):
        for column in named_rows:
            _check_ids(place, _combined(block[column]), start)
            _digest(ids, pc.cast(_combined(block[column]), pa.string()))
        for column in labels:
            bad[column].append(start + np.flatnonzero(_irrelevant(_combined(block[column]))))
        for column in wanted:
            values = _combined(block[column])
            _check_type(place, column, values.type)
            _check_text(place, column, values, start)
            if column == NEGATIVE:
                count = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
                counts.append(count.astype(np.int64))
                bad[NONE].append(start + np.flatnonzero(count == 0))
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
        done(len(block))
    arrays = {column: np.concatenate(found) for column, found in bad.items() if found}
    for name, each in ((DIGEST, digest), (IDS, ids)):
        arrays[name] = np.frombuffer(each.digest(), dtype=np.uint8)
    return arrays | ({COUNT: np.concatenate(counts)} if counts else {})


def complaint(rows: Mapping[str, np.ndarray]) -> str:
    """What is wrong, with the first row numbers.

    Args:
        rows: numbers of bad rows, by what is wrong, see :func:`checked_rows`.
    """
    texts = {
        NONE: "rows without negatives: {}",
        NEGATIVE: "negative holds an empty text in rows {}",
        LABEL: "the label says not relevant (0 or below) in rows {}",
    }
    return "; ".join(
        texts.get(column, f"{column} is empty in rows {{}}").format(some_ids([str(row) for row in found]))
        for column, found in rows.items()
        if len(found)
    )


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
