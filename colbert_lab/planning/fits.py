"""From a few measured pieces of work to the time and memory of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls


@dataclass(frozen=True)
class Work:
    """Size of a piece of work, known from tokenization alone.

    Attributes:
        padded: tokens that the encoder computes, padding included.
        area: sum over texts of the squared padded length; what attention computes.
        cells: similarities between query and document tokens, padding included, of a batch that is scored as a whole.
    """

    padded: float
    area: float
    cells: float = 0.0


@dataclass(frozen=True)
class Rates:
    """Seconds (or bytes) as a linear function of the work.

    Attributes:
        fixed: of a piece of work of any size.
        per_token: of a padded token.
        per_area: of a unit of ``area``.
        per_cell: of a unit of ``cells``.
    """

    fixed: float
    per_token: float
    per_area: float
    per_cell: float = 0.0

    def of(self, work: Work) -> float:
        """What a piece of work takes."""
        return (
            self.fixed + self.per_token * work.padded + self.per_area * work.area + self.per_cell * work.cells
        )


def fit_rates(works: Sequence[Work], taken: Sequence[float], per_cell: float = 0.0) -> Rates:
    """The rates that come closest to what was measured, in relative terms; none is below 0.

    Args:
        works: what was measured; at least one piece.
        taken: what each took.
        per_cell: of ``cells``, when it was measured by itself.

    Raises:
        ValueError: nothing was measured.
    """
    if not works:
        raise ValueError("nothing was measured")
    measured = np.array([t - per_cell * work.cells for t, work in zip(taken, works, strict=True)])
    measured = np.maximum(measured, 1e-9)
    columns = np.array([[1.0, work.padded, work.area] for work in works])
    sizes = np.maximum(columns.max(axis=0), 1e-12)  # numbers of one magnitude
    weighted = columns / sizes / measured[:, None]
    found = nnls(weighted, np.ones(len(measured)))[0] / sizes
    fixed, per_token, per_area = (float(value) for value in found)
    return Rates(fixed, per_token, per_area, per_cell)


def evenly(order: Sequence[int], n: int) -> list[int]:
    """Up to ``n`` of some things, evenly over their order, the first and the last included.

    Args:
        order: numbers of the things, from small to large.
        n: at least 1; 1 takes the last.
    """
    if n >= len(order):
        return list(order)
    places = np.unique(np.linspace(len(order) - 1, 0, n).round().astype(int))
    return [order[place] for place in places]
