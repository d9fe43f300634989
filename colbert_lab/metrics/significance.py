"""How sure a mean over queries is: bootstrap intervals of a system and of a paired difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colbert_lab.errors import InputError

if TYPE_CHECKING:
    import numpy as np

BATCH_VALUES = 262_144  # resampled values held at once (2 MiB): stays in cache, 1.4x faster than 4 million


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval over queries.

    Attributes:
        mean: the plain mean of the values.
        low: lower bound, nan below two queries.
        high: upper bound, nan below two queries.
        n: number of queries.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval; False when the bounds are nan."""
        return self.low > 0 or self.high < 0


def bootstrap_interval(
    values: np.ndarray | Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean over queries (Efron 1979), by ``scipy.stats.bootstrap``.

    Percentile and not BCa (DiCiccio and Efron 1996): it is the simplest one to explain, needs no jackknife
    (n * n values), and on spread-out values of 300 to 1000 queries BCa moved the bounds by under 2% of the
    width. Where only a handful of queries differ, BCa moves a bound by up to two thirds of the width; no
    bootstrap interval is to be trusted there.

    The interval speaks of the choice of queries alone; how much another training seed would change the value
    is not in it.

    Args:
        values: one number a query, finite.
        level: confidence level between 0 and 1.
        resamples: number of bootstrap samples.
        seed: the same seed gives the same bounds.

    Returns:
        The interval. Values that are all equal give one of zero width, fewer than two values nan bounds.

    Raises:
        InputError: a value that is not finite, a level outside (0, 1), or no resamples.
    """
    import numpy as np

    if not 0 < level < 1 or resamples < 1:
        raise InputError(
            f"confidence level {level} must lie between 0 and 1 and resamples {resamples} must be above 0"
        )
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise InputError(f"one value a query is needed, not an array of shape {x.shape}")
    if not np.isfinite(x).all():
        raise InputError(
            f"{int((~np.isfinite(x)).sum())} of {len(x)} per-query values are not finite numbers"
        )
    if len(x) < 2:
        mean = float(x[0]) if len(x) else float("nan")
        return Interval(mean, float("nan"), float("nan"), len(x))
    if (x == x[0]).all():
        return Interval(float(x[0]), float(x[0]), float(x[0]), len(x))
    from scipy.stats import bootstrap

    bounds = bootstrap(
        (x,),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        batch=max(1, BATCH_VALUES // len(x)),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(x.mean()), float(bounds.low), float(bounds.high), len(x))


def paired_bootstrap(
    after: np.ndarray | Sequence[float],
    before: np.ndarray | Sequence[float],
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of the mean per-query difference ``after - before`` of two systems.

    Pairing takes the difficulty of a query out of the comparison: two systems with wide, overlapping
    intervals can still differ clearly.

    Args:
        after: one number a query.
        before: the same measure of the other system, same queries in the same order.
        level: confidence level between 0 and 1.
        resamples: number of bootstrap samples.
        seed: seed of the resampling.

    Raises:
        InputError: different numbers of queries, and what :func:`bootstrap_interval` raises.
    """
    import numpy as np

    a, b = np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64)
    if a.shape != b.shape:
        raise InputError(f"a paired comparison needs the same queries: {a.shape} and {b.shape} values")
    return bootstrap_interval(a - b, level, resamples, seed)
