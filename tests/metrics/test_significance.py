"""Bootstrap intervals: coverage, agreement with theory, edge cases."""

import math
import warnings

import numpy as np
import pytest

from colbert_lab.errors import InputError
from colbert_lab.metrics.significance import Interval, bootstrap_interval, paired_bootstrap


def test_coverage() -> None:
    """Of 400 samples of 100 queries, about 95% of the intervals hold the true mean."""
    rng = np.random.default_rng(1)
    covered = 0
    for i in range(400):
        interval = bootstrap_interval(rng.beta(0.5, 0.8, 100), resamples=1_000, seed=i)
        covered += interval.low <= 0.5 / 1.3 <= interval.high
    assert 0.92 * 400 <= covered <= 0.98 * 400, covered


@pytest.mark.parametrize(("level", "z"), [(0.95, 1.959964), (0.8, 1.281552)])
def test_agrees_with_the_normal_interval(level: float, z: float) -> None:
    x = np.random.default_rng(2).normal(0.3, 0.2, 2_000)
    interval = bootstrap_interval(x, level=level)
    half = z * x.std(ddof=1) / math.sqrt(len(x))
    assert interval.mean == x.mean()
    assert interval.n == 2_000
    assert interval.low == pytest.approx(x.mean() - half, abs=0.05 * half)
    assert interval.high == pytest.approx(x.mean() + half, abs=0.05 * half)


def test_paired_is_the_interval_of_differences() -> None:
    rng = np.random.default_rng(3)
    before = rng.beta(0.5, 0.5, 300)
    after = before + rng.normal(0.02, 0.05, 300)
    paired = paired_bootstrap(after, before)
    assert paired == bootstrap_interval(after - before)
    assert paired.excludes_zero
    assert paired_bootstrap(before, after).high == pytest.approx(-paired.low, abs=2e-3)
    assert not paired_bootstrap(before + rng.normal(0, 0.05, 300), before).excludes_zero
    alone = bootstrap_interval(after)
    assert alone.high - alone.low > 3 * (paired.high - paired.low)


def test_deterministic() -> None:
    x = np.random.default_rng(4).random(50)
    assert bootstrap_interval(x) == bootstrap_interval(x.tolist())
    assert bootstrap_interval(x, seed=1) != bootstrap_interval(x)


def test_degenerate_values_are_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bootstrap_interval([0.25] * 10) == Interval(0.25, 0.25, 0.25, 10)
        same = paired_bootstrap([0.1, 0.7], [0.1, 0.7])
        assert same == Interval(0.0, 0.0, 0.0, 2)
        assert not same.excludes_zero
        one = bootstrap_interval([0.5])
        assert (one.mean, one.n) == (0.5, 1)
        assert math.isnan(one.low)
        assert math.isnan(one.high)
        assert not one.excludes_zero
        none = bootstrap_interval([])
        assert math.isnan(none.mean)
        assert none.n == 0
        nearly = bootstrap_interval([0.0] * 99 + [1.0])
        assert nearly.low == 0.0


def test_bad_input() -> None:
    with pytest.raises(InputError, match="1 of 2"):
        bootstrap_interval([0.1, float("nan")])
    with pytest.raises(InputError, match="level"):
        bootstrap_interval([0.1, 0.2], level=95)
    with pytest.raises(InputError, match="shape"):
        bootstrap_interval(np.zeros((2, 2)))
    with pytest.raises(InputError, match="same queries"):
        paired_bootstrap([0.1, 0.2], [0.1])
