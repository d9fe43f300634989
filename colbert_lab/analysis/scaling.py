"""Quality against the amount of training: a law for each recipe, its intervals, and which recipe wins at what amount.

The law is ``limit - gap * (cost / cheapest) ** -rate``: a power law that saturates (Hestness et al. 2017, "Deep
Learning Scaling is Predictable, Empirically"; Hoffmann et al. 2022 fit the same form to losses). ``gap`` is not below
0, ``limit`` not above 1, and ``rate`` lies within :data:`RATES`. For one rate the other two are a least-squares line,
so that the rate alone is searched, over a grid and then between its points; no start values decide what is found.

Intervals are 95% percentile intervals over queries: the same resampled queries for every point and recipe, the laws
fitted anew each time. They say nothing of other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.significance import Interval

if TYPE_CHECKING:
    import numpy as np

RATES = (0.02, 5.0)
"""Smallest and largest rate."""
TRIED = 64
"""Rates of the grid, evenly in their logarithm."""
FEWEST = 4
"""Points of a recipe: one more than the law has numbers."""
RESAMPLES = 1000
BUDGETS = 61
"""Amounts at which recipes are compared, evenly in their logarithm."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One recipe at several amounts of training.

    Attributes:
        title: what tables call it.
        costs: such as tokens, rising.
        per_query_PQ: each query's value at each amount, averaged over seeds, [points, queries].
    """

    title: str
    costs: tuple[float, ...]
    per_query_PQ: np.ndarray


@dataclass(frozen=True, eq=False)
class Law:
    """What was fitted to a curve.

    Attributes:
        curve: the curve.
        limit: value that it tends to.
        gap: what the smallest amount lacks of it.
        rate: exponent.
        error: root mean square distance of the points from the law.
        fits_S3: limit, gap and rate of each resample.
    """

    curve: Curve
    limit: float
    gap: float
    rate: float
    error: float
    fits_S3: np.ndarray

    def interval(self, number: int) -> tuple[float, float]:
        """95% interval of the limit (0), the gap (1) or the rate (2)."""
        return _percentiles(self.fits_S3[:, number])

    def at(self, costs: Sequence[float] | np.ndarray) -> np.ndarray:
        """The law's values at some amounts."""
        values_C: np.ndarray = _law(_one(self), _shares(costs, self.curve))[0]
        return values_C

    def bounds(self, costs: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """95% interval of the law at some amounts."""
        import numpy as np

        low, high = np.percentile(_law(self.fits_S3, _shares(costs, self.curve)), [2.5, 97.5], axis=0)
        return low, high

    @property
    def at_an_end(self) -> bool:
        """Whether the rate is at an end of its range, so that the points do not say what it is."""
        return not RATES[0] < self.rate < RATES[1]


@dataclass(frozen=True)
class Stretch:
    """Amounts of training at which the same of two recipes is ahead.

    Attributes:
        low: smallest amount.
        high: largest amount.
        ahead: title of the recipe that is better with 95% certainty; None where neither is.
        difference: of the laws at the middle of the stretch, first recipe less second, with its 95% interval.
    """

    low: float
    high: float
    ahead: str | None
    difference: Interval


def fit_together(curves: Sequence[Curve]) -> list[Law]:
    """Fit the laws of several curves over the same resampled queries, so that they can be compared.

    Args:
        curves: over the same queries in the same order.

    Raises:
        InputError: a curve has fewer than ``FEWEST`` amounts, they do not rise, or the queries are not as many.
    """
    import numpy as np

    for curve in curves:
        if len(curve.costs) < FEWEST:
            raise InputError(
                f"{curve.title}: has {len(curve.costs)} amounts of training; a law needs {FEWEST}"
            )
        if not all(less < more for less, more in zip((0.0, *curve.costs), curve.costs, strict=False)):
            raise InputError(f"{curve.title}: amounts of training must rise from above 0")
        if curve.per_query_PQ.shape != (len(curve.costs), curves[0].per_query_PQ.shape[1]):
            raise InputError(f"{curve.title}: needs one value for each amount and query of {curves[0].title}")
    means_SP = _resampled(np.concatenate([curve.per_query_PQ for curve in curves]))
    laws, first = [], 0
    for curve in curves:
        last = first + len(curve.costs)
        shares_P = _shares(curve.costs, curve)
        whole_3 = _fitted(curve.per_query_PQ.mean(axis=1)[None], shares_P)
        error = float(np.sqrt(np.mean((_law(whole_3, shares_P)[0] - curve.per_query_PQ.mean(axis=1)) ** 2)))
        limit, gap, rate = map(float, whole_3[0])
        laws.append(Law(curve, limit, gap, rate, error, _fitted(means_SP[:, first:last], shares_P)))
        first = last
    return laws


def stretches(first: Law, second: Law) -> list[Stretch]:
    """Where which of two recipes is ahead, over the amounts that both were measured at or between.

    Args:
        first: one law.
        second: the other, fitted together with it.

    Returns:
        From the smallest amount on; nothing where the two have no amounts in common.
    """
    import numpy as np

    low = max(first.curve.costs[0], second.curve.costs[0])
    high = min(first.curve.costs[-1], second.curve.costs[-1])
    if low >= high:
        return []
    budgets_B = np.geomspace(low, high, BUDGETS)
    apart_B = first.at(budgets_B) - second.at(budgets_B)
    apart_SB = _law(first.fits_S3, _shares(budgets_B, first.curve)) - _law(
        second.fits_S3, _shares(budgets_B, second.curve)
    )
    low_B, high_B = np.percentile(apart_SB, [2.5, 97.5], axis=0)
    sign_B = np.where(low_B > 0, 1, np.where(high_B < 0, -1, 0))
    titles = {1: first.curve.title, -1: second.curve.title, 0: None}
    queries = first.curve.per_query_PQ.shape[1]
    found = []
    for part in np.split(np.arange(BUDGETS), np.flatnonzero(np.diff(sign_B)) + 1):
        middle = int(part[len(part) // 2])
        interval = Interval(float(apart_B[middle]), float(low_B[middle]), float(high_B[middle]), queries)
        ahead = titles[int(sign_B[part[0]])]
        found.append(Stretch(float(budgets_B[part[0]]), float(budgets_B[part[-1]]), ahead, interval))
    return found


def _resampled(values_PQ: np.ndarray) -> np.ndarray:
    """Means over the same resampled queries, [resamples, points]."""
    import numpy as np

    generator, queries = np.random.default_rng(0), values_PQ.shape[1]
    return np.stack(
        [values_PQ[:, generator.integers(0, queries, queries)].mean(axis=1) for _ in range(RESAMPLES)]
    )


def _shares(costs: Sequence[float] | np.ndarray, curve: Curve) -> np.ndarray:
    import numpy as np

    return np.asarray(costs, dtype=float) / curve.costs[0]


def _one(law: Law) -> np.ndarray:
    import numpy as np

    return np.array([[law.limit, law.gap, law.rate]])


def _law(fits_S3: np.ndarray, shares_C: np.ndarray) -> np.ndarray:
    """Values of laws at amounts, [laws, amounts]."""
    limit_S1, gap_S1, rate_S1 = fits_S3[:, :1], fits_S3[:, 1:2], fits_S3[:, 2:]
    found: np.ndarray = limit_S1 - gap_S1 * shares_C[None] ** -rate_S1
    return found


def _fitted(values_SP: np.ndarray, shares_P: np.ndarray) -> np.ndarray:
    """The best limit, gap and rate of each row of values, [rows, 3]."""
    import numpy as np

    best_S3, least_S = np.zeros((len(values_SP), 3)), np.full(len(values_SP), np.inf)

    def take(rate_S: np.ndarray) -> None:
        limit_S, gap_S, errors_S = _at_rate(values_SP, shares_P[None] ** -rate_S[:, None])
        better_S = errors_S < least_S
        least_S[better_S] = errors_S[better_S]
        best_S3[better_S] = np.stack([limit_S, gap_S, rate_S], axis=1)[better_S]

    for rate in np.geomspace(*RATES, TRIED):
        take(np.full(len(values_SP), rate))
    step = (RATES[1] / RATES[0]) ** (1 / (TRIED - 1))
    while step > 1.0001:
        step **= 0.5
        middle_S = best_S3[:, 2].copy()
        for rate_S in (middle_S / step, middle_S * step):
            take(np.clip(rate_S, *RATES))
    return best_S3


def _at_rate(values_SP: np.ndarray, x_SP: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares of ``limit - gap * x`` within the bounds of both: limit, gap and squared error of each row."""
    import numpy as np

    middle_S1 = x_SP.mean(axis=1, keepdims=True)
    apart_SP = x_SP - middle_S1
    gap_S = np.maximum(-(values_SP * apart_SP).sum(axis=1) / (apart_SP**2).sum(axis=1), 0.0)
    limit_S = values_SP.mean(axis=1) + gap_S * middle_S1[:, 0]
    at_most_S = np.maximum(((1 - values_SP) * x_SP).sum(axis=1) / (x_SP**2).sum(axis=1), 0.0)
    gap_S, limit_S = np.where(limit_S > 1, at_most_S, gap_S), np.minimum(limit_S, 1.0)
    errors_S = ((limit_S[:, None] - gap_S[:, None] * x_SP - values_SP) ** 2).sum(axis=1)
    return limit_S, gap_S, errors_S


def _percentiles(values_S: np.ndarray) -> tuple[float, float]:
    import numpy as np

    low, high = np.percentile(values_S, [2.5, 97.5])
    return float(low), float(high)
