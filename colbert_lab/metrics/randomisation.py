"""Is a paired difference real: randomisation test, correction for several tests, and what could have been seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

from colbert_lab.errors import InputError

if TYPE_CHECKING:
    import numpy as np

EXACT = 16
"""Up to this many differences that are not 0, all sign patterns are tried (2 ** 16 = 65,536)."""
BLOCK_VALUES = 262_144  # signed differences held at once (2 MiB of float64)
TIE = 1e-12  # two sums of the same numbers in another order are equal up to this part of their size


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

    d = _finite(differences)
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
    for flips_SN in _all_patterns(len(d)) if exact else _random_patterns(len(d), resamples, seed):
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
    d = _finite(differences)
    if len(d) < 2:
        return math.nan
    z = NormalDist().inv_cdf
    return (z(1 - level / 2) + z(power)) * float(d.std(ddof=1)) / math.sqrt(len(d))


def _all_patterns(n: int) -> Iterator[np.ndarray]:
    """Every choice of the queries whose sign is flipped, [2 ** n, n] of 0 and 1, in blocks."""
    import numpy as np

    size = max(1, BLOCK_VALUES // n)
    for first in range(0, 2**n, size):
        numbers_S = np.arange(first, min(first + size, 2**n))
        yield (numbers_S[:, None] >> np.arange(n)) & 1


def _random_patterns(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Random choices of the queries whose sign is flipped, [resamples, n] of 0 and 1, in blocks."""
    import numpy as np

    generator, size, width = np.random.default_rng(seed), max(1, BLOCK_VALUES // n), -(-n // 8)
    for first in range(0, resamples, size):
        rows = min(size, resamples - first)
        drawn = np.frombuffer(generator.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        yield np.unpackbits(drawn, axis=1, count=n)


def _finite(differences: np.ndarray | Sequence[float]) -> np.ndarray:
    import numpy as np

    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1:
        raise InputError(f"one difference a query is needed, not an array of shape {d.shape}")
    if not np.isfinite(d).all():
        raise InputError(
            f"{int((~np.isfinite(d)).sum())} of {len(d)} per-query differences are not finite numbers"
        )
    return d
