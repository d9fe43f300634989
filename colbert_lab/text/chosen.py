"""Some rows of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    import numpy as np

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
