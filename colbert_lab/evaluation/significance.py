"""How sure a mean over queries is: bootstrap intervals of a system and of a paired difference.

Is a paired difference real: randomisation test, correction for several tests, and what could have been seen.

Here stands what ``higher``, ``lower``, ``unclear`` and ``same`` mean in every table, figure and sentence: see
:attr:`Paired.mark` and :data:`MARKS`. (The claims of a study have words of their own, as they also weigh a margin and
the seeds: :mod:`colbert_lab.studies.evidence`.)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeVar

from colbert_lab.base.errors import InputError

if TYPE_CHECKING:
    import numpy as np

NO_INTERVAL = "one query: no interval"
KEPT_DRAWS = 2**26  # bytes of the draws that are kept for the next interval of as many queries
BLOCK_VALUES = 262_144  # values of resamples held at once (2 MiB): stays in cache, 1.4x faster than 4 million


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

    def bounds(self, sign: str = "") -> str:
        """``[0.6289, 0.7180]``, or that there are none.

        Args:
            sign: ``+`` shows the sign of positive bounds too.
        """
        if self.n < 2:
            return f"({NO_INTERVAL})"
        return f"[{self.low:{sign}.4f}, {self.high:{sign}.4f}]"

    @property
    def known(self) -> tuple[float | None, float | None]:
        """The bounds; None where there are none."""
        return (self.low, self.high) if self.n > 1 else (None, None)


def bootstrap_interval(
    values: np.ndarray | Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean over queries (Efron 1979).

    The draws and the bounds are those of ``scipy.stats.bootstrap``, to the bit. Intervals over as many queries share
    their draws, which take half of the time.

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
    x = _finite(values, "value")
    if len(x) < 2:
        mean = float(x[0]) if len(x) else float("nan")
        return Interval(mean, float("nan"), float("nan"), len(x))
    if (x == x[0]).all():
        return Interval(float(x[0]), float(x[0]), float(x[0]), len(x))
    drawn = _kept_picks if 8 * len(x) * resamples <= KEPT_DRAWS else _picks
    means_S = np.concatenate([x[picks_SN].mean(axis=1) for picks_SN in drawn(len(x), resamples, seed)])
    low, high = np.percentile(means_S, [50 * (1 - level), 100 - 50 * (1 - level)])
    return Interval(float(x.mean()), float(low), float(high), len(x))


def _picks(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """The queries in each sample, [samples, n], in blocks."""
    import numpy as np

    generator, size = np.random.default_rng(seed), max(1, BLOCK_VALUES // n)
    for first in range(0, resamples, size):
        yield generator.integers(0, n, (min(size, resamples - first), n))


@functools.lru_cache(maxsize=2)
def _kept_picks(n: int, resamples: int, seed: int) -> list[np.ndarray]:
    return list(_picks(n, resamples, seed))


LEVEL = 0.05
"""Below this corrected p, a difference is called higher or lower."""
MARKS = (
    f"higher, lower: p of the two-sided randomisation test over queries is below {LEVEL}, after Holm's correction over "
    "the splits on which the same two are compared; unclear: it is not; same: no query differs."
)
"""What the words below a table mean."""
Key = TypeVar("Key")
EXACT = 16
"""Up to this many differences that are not 0, all sign patterns are tried (2 ** 16 = 65,536)."""
TIE = 1e-12  # two sums of the same numbers in another order are equal up to this part of their size


@dataclass(frozen=True)
class Paired(Interval):
    """A paired difference between two systems over queries: its bootstrap interval, and whether it is real.

    Attributes:
        p: two-sided p of the randomisation test, see :func:`randomisation_p`.
        p_holm: p corrected over the splits on which the same two are compared, see :func:`corrected`.
        detectable: the smallest true difference that so many queries find with power 0.8, before the correction, see
            :func:`smallest_detectable`.
    """

    p: float
    p_holm: float
    detectable: float

    @property
    def mark(self) -> str:
        """``higher``, ``lower``, ``unclear`` (corrected p not below ``LEVEL``), ``same``, or "" for a single query."""
        if self.n < 2:
            return ""
        if self.low == self.high == 0:
            return "same"
        return "unclear" if self.p_holm >= LEVEL else "higher" if self.mean > 0 else "lower"

    def __str__(self) -> str:
        """``+0.0123 [+0.0040, +0.0210] higher``."""
        return f"{self.mean:+.4f} {self.bounds('+')} {self.mark}".rstrip()


def corrected(found: Mapping[Key, Paired]) -> dict[Key, Paired]:
    """The same differences with p corrected for being several, see :func:`holm`.

    Args:
        found: of the same two systems in one measure and search mode, by split. A mean of splits is another question
            than whether any of them differs, so it is no member of their family.
    """
    p_holm = holm([each.p for each in found.values()])
    return {key: replace(each, p_holm=p) for (key, each), p in zip(found.items(), p_holm, strict=True)}


def randomisation_p(
    differences: np.ndarray | Sequence[float], resamples: int = 100_000, seed: int = 0
) -> float:
    """Two-sided p-value of a paired difference between two systems: the randomisation test over queries.

    If the two systems were the same, each query's difference could as well have had the other sign. The
    p-value is the share of sign patterns whose mean is at least as far from 0 as the one observed (Fisher
    1935; Smucker, Allan and Carterette 2007 recommend it for retrieval). It assumes no distribution.

    A difference of 0 has no sign to flip and is left out, which changes no mean's rank. Up to ``EXACT`` others,
    all patterns are counted; beyond, a random draw of them, with 1 added to both counts so that p is never 0
    and the test never too eager (Phipson and Smyth 2010). Same as ``scipy.stats.permutation_test`` with
    ``permutation_type="samples"``, 50 times as fast: signs are drawn as bits, and a block of patterns is one
    matrix product.

    Args:
        differences: one system minus the other, one number a query, finite.
        resamples: sign patterns drawn when there are too many for all.
        seed: the same seed gives the same p.

    Returns:
        p in (0, 1]; 1 when all differences are 0 or there are none.

    Raises:
        InputError: a value that is not finite, not one value a query, or no resamples.
    """
    import numpy as np

    d = _finite(differences, "difference")
    if resamples < 1:
        raise InputError(f"resamples {resamples} must be above 0")
    d = d[d != 0]
    if not len(d):
        return 1.0
    # All-positive signs give this sum; a pattern that flips the queries in S gives it minus twice S's sum.
    total = float(d.sum())
    limit = abs(total) - TIE * float(np.abs(d).sum())
    exact = len(d) <= EXACT
    extreme = 0
    for flips_SN in _patterns(len(d), resamples, seed):
        sums_S = total - 2.0 * (flips_SN.astype(np.float64) @ d)
        extreme += int((np.abs(sums_S) >= limit).sum())
    return extreme / 2 ** len(d) if exact else (extreme + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being several, so that the chance of any false positive stays at the level.

    Step-down method of Holm (1979): the smallest of m is multiplied by m, the next by m - 1, and so on; a
    corrected value is never below a smaller one's, and at most 1. Valid however the tests depend on each other.

    Args:
        p_values: one for each test, in any order.

    Returns:
        The corrected values, in the order of ``p_values``.

    Raises:
        InputError: a value outside [0, 1].
    """
    wrong = [p for p in p_values if not 0 <= p <= 1]
    if wrong:
        raise InputError(f"p-values must lie between 0 and 1, not {wrong[0]}")
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def smallest_detectable(
    differences: np.ndarray | Sequence[float], level: float = 0.05, power: float = 0.8
) -> float:
    """The true difference that a two-sided paired test on this many queries finds with the given power.

    ``(z(1 - level / 2) + z(power)) * sd / sqrt(n)``, with the sample standard deviation of the per-query
    differences; the normal approximation of a paired test's power (Cohen 1988; for retrieval, Sakai 2014).
    With the defaults it is 2.80 standard errors. A true difference below it is more likely to be missed than
    in one of five repetitions, so "not significant" then says little.

    Args:
        differences: one system minus the other, one number a query, finite.
        level: significance level of the test, between 0 and 1.
        power: wanted chance to find the difference, between 0 and 1.

    Returns:
        The difference, in the unit of the values; nan below two queries.

    Raises:
        InputError: a value that is not finite, or a level or power outside (0, 1).
    """
    if not (0 < level < 1 and 0 < power < 1):
        raise InputError(f"level {level} and power {power} must lie between 0 and 1")
    d = _finite(differences, "difference")
    if len(d) < 2:
        return math.nan
    z = NormalDist().inv_cdf
    return (z(1 - level / 2) + z(power)) * float(d.std(ddof=1)) / math.sqrt(len(d))


def _patterns(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Choices of the queries whose sign is flipped, [patterns, n] of 0 and 1, in blocks: up to ``EXACT`` every one."""
    import numpy as np

    generator, size, width = np.random.default_rng(seed), max(1, BLOCK_VALUES // n), -(-n // 8)
    count = 2**n if n <= EXACT else resamples
    for first in range(0, count, size):
        rows = min(size, count - first)
        if n <= EXACT:
            yield (np.arange(first, first + rows)[:, None] >> np.arange(n)) & 1
        else:
            drawn = np.frombuffer(generator.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
            yield np.unpackbits(drawn, axis=1, count=n)


def _finite(values: np.ndarray | Sequence[float], what: str) -> np.ndarray:
    """One number a query, checked; ``what`` names them in errors."""
    import numpy as np

    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise InputError(f"one {what} a query is needed, not an array of shape {x.shape}")
    if not np.isfinite(x).all():
        raise InputError(
            f"{int((~np.isfinite(x)).sum())} of {len(x)} per-query {what}s are not finite numbers"
        )
    return x
