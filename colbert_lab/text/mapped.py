"""Columns that stay on disk, for data larger than memory: sequences of texts, of arrays, and some rows of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import pyarrow as pa

BATCH = 10_000  # texts of a record batch
ENDS = "ends.npy"


class TextColumn(Sequence[str]):
    """A column of texts in a memory-mapped Arrow file; a text becomes a Python string when it is asked for.

    Args:
        file: written by :func:`write_texts`.
        name: of the column.
    """

    def __init__(self, file: Path, name: str) -> None:
        self._place = (file, name)
        with pa.memory_map(str(file)) as mapped:
            self._column: pa.ChunkedArray = pa.ipc.open_file(mapped).read_all()[name]

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open the file themselves."""
        return TextColumn, self._place

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """A text, or a list of them."""
        if isinstance(index, slice):
            found: list[str] = self._column[index].to_pylist()
            return found
        text: str = self._column[index].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        """All texts, a record batch in memory at a time."""
        for chunk in self._column.chunks:
            yield from chunk.to_pylist()


class ArrayColumn(Sequence[np.ndarray]):
    """Arrays of different lengths, end to end in a memory-mapped file.

    Args:
        folder: written by :class:`ArrayWriter`.
        name: of the column.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._place = (folder, name)
        self._values: np.ndarray = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        self._ends: np.ndarray = np.load(folder / ENDS, mmap_mode="r", allow_pickle=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open the files themselves."""
        return ArrayColumn, self._place

    @property
    def lengths(self) -> np.ndarray:
        """Length of each array."""
        return np.diff(self._ends, prepend=0)

    @property
    def firsts(self) -> np.ndarray:
        """First value of each array; none is empty."""
        return np.asarray(self._values[self._ends - self.lengths])

    def __len__(self) -> int:
        """Number of arrays."""
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        """An array, in memory, or a list of them."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        start = int(self._ends[number - 1]) if number else 0
        return np.array(self._values[start : int(self._ends[number])])


def write_texts(file: Path, names: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write columns of texts, a record batch in memory at a time.

    Args:
        file: the Arrow file.
        names: of the columns.
        rows: one text a column.

    Returns:
        Number of rows.
    """
    schema = pa.schema([(name, pa.large_string()) for name in names])
    columns: list[list[str]] = [[] for _ in names]
    count = 0
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:

        def flush() -> None:
            writer.write_batch(pa.record_batch(columns, schema=schema))
            for column in columns:
                column.clear()

        for row in rows:
            for column, text in zip(columns, row, strict=True):
                column.append(text)
            count += 1
            if len(columns[0]) == BATCH:
                flush()
        if columns[0]:
            flush()
    return count


def write_arrays(folder: Path, columns: dict[str, Sequence[np.ndarray]]) -> None:
    """Write columns of arrays; entry n has the same length in every column.

    Args:
        folder: where ``NAME.npy`` and the common ``ends.npy`` go.
        columns: name to arrays of one type.
    """
    first = next(iter(columns.values()))
    np.save(folder / ENDS, np.cumsum([len(array) for array in first], dtype=np.int64), allow_pickle=False)
    for name, arrays in columns.items():
        values = np.concatenate(arrays) if len(arrays) else np.empty(0)
        np.save(folder / f"{name}.npy", values, allow_pickle=False)


T = TypeVar("T")


class Chosen(Sequence[T]):
    """Some rows of a sequence, in an order of their own.

    Args:
        base: the sequence.
        rows: which.
    """

    def __init__(self, base: Sequence[T], rows: np.ndarray) -> None:
        self.base, self.rows = base, rows

    def __len__(self) -> int:
        """Number of chosen rows."""
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        """An entry, or a list of them."""
        if isinstance(index, slice):
            return [self.base[int(row)] for row in self.rows[index]]
        return self.base[int(self.rows[index])]
