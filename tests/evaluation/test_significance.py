"""Bootstrap intervals, and the randomisation test: coverage, agreement with theory and with scipy, edge cases."""

import itertools
import math
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.stats
from scipy.stats import norm, permutation_test, ttest_1samp

from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.significance import (
    BLOCK_VALUES,
    Interval,
    bootstrap_interval,
    holm,
    randomisation_p,
    smallest_detectable,
)


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


def test_pairing_takes_the_difficulty_of_queries_out() -> None:
    rng = np.random.default_rng(3)
    before = rng.beta(0.5, 0.5, 300)
    after = before + rng.normal(0.02, 0.05, 300)
    paired, alone = bootstrap_interval(after - before), bootstrap_interval(after)
    assert paired.low > 0
    assert bootstrap_interval(before - after).high == pytest.approx(-paired.low, abs=2e-3)
    assert alone.high - alone.low > 3 * (paired.high - paired.low)


def test_deterministic() -> None:
    x = np.random.default_rng(4).random(50)
    assert bootstrap_interval(x) == bootstrap_interval(x.tolist())
    assert bootstrap_interval(x, seed=1) != bootstrap_interval(x)


def test_degenerate_values_are_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bootstrap_interval([0.25] * 10) == Interval(0.25, 0.25, 0.25, 10)
        one = bootstrap_interval([0.5])
        assert (one.mean, one.n) == (0.5, 1)
        assert math.isnan(one.low)
        assert math.isnan(one.high)
        assert one.bounds("+") == "(one query: no interval)"
        assert one.known == (None, None)
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


@pytest.mark.parametrize("n", [2, 9, 300, 7000])
def test_the_bounds_are_those_of_scipy(n: int) -> None:
    """Also from draws that are kept of an interval before, and from those of too many queries to be kept."""
    values = np.random.default_rng(n).normal(0.01, 0.1, n)
    resamples = 10_000
    batch = max(1, BLOCK_VALUES // n)
    theirs = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=batch,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    for factor in (1.0, 2.0):
        ours = bootstrap_interval(factor * values, resamples=resamples)
        expected = (factor * float(theirs.low), factor * float(theirs.high))
        assert (ours.low, ours.high) == expected


def ndcg_like(rng: np.random.Generator, n: int) -> np.ndarray:
    """Skewed values in [0, 1] as nDCG@10 has them: a third 0, a sixth 1, the others in between."""
    kind = rng.random(n)
    return np.where(kind < 1 / 3, 0.0, np.where(kind < 1 / 2, 1.0, rng.beta(2, 2, n)))


def scipy_p(d: np.ndarray, resamples: int) -> float:
    """The same test by scipy: exact when all sign patterns fit into ``resamples``."""
    found = permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=resamples, batch=1_000, vectorized=True,
        rng=np.random.default_rng(9),
    )  # fmt: skip
    return float(found.pvalue)


@pytest.mark.parametrize("n", [2, 3, 5, 9, 12])
def test_exact_agrees_with_scipy_and_with_a_plain_loop(n: int) -> None:
    rng = np.random.default_rng(n)
    d = ndcg_like(rng, n) - ndcg_like(rng, n) + 0.1
    d[d == 0] = 0.05
    found = randomisation_p(d)
    assert found == pytest.approx(scipy_p(d, 2**n), abs=1e-12)
    signs = itertools.product((1, -1), repeat=n)
    extreme = [abs(math.fsum(s * x for s, x in zip(sign, d, strict=True))) for sign in signs]
    assert found == sum(value >= abs(math.fsum(d)) - 1e-9 for value in extreme) / 2**n


def test_sixteen_are_exact_and_seventeen_are_drawn() -> None:
    d = np.random.default_rng(3).normal(0.2, 0.5, 17)
    assert randomisation_p(d[:16]) == pytest.approx(scipy_p(d[:16], 2**16), abs=1e-12)
    assert randomisation_p(d[:16], resamples=1, seed=1) == randomisation_p(d[:16], seed=2)
    assert randomisation_p(d, seed=1) != randomisation_p(d, seed=2)
    assert randomisation_p(d) == pytest.approx(scipy_p(d, 2**17), abs=0.005)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.05])
def test_drawn_patterns_agree_with_scipy(shift: float) -> None:
    """Both estimate the same p; 0.02 is four standard errors of scipy's 5,000 draws at p = 0.15."""
    rng = np.random.default_rng(4)
    d = ndcg_like(rng, 120) * 0.2 - ndcg_like(rng, 120) * 0.2 + shift
    assert randomisation_p(d) == pytest.approx(scipy_p(d, 5_000), abs=0.02)


def test_close_to_the_t_test_on_many_queries() -> None:
    d = np.random.default_rng(5).normal(0.01, 0.1, 800)
    assert randomisation_p(d) == pytest.approx(float(ttest_1samp(d, 0.0).pvalue), abs=0.003)


def test_false_positives_come_at_the_stated_rate() -> None:
    """1,000 pairs of equally good systems: p < 0.05 in 3.5% to 6.5% of them."""
    rng = np.random.default_rng(6)
    found = 0
    for trial in range(1_000):
        a, b = ndcg_like(rng, 50), ndcg_like(rng, 50)
        same = rng.random(50) < 0.3  # some queries do not change at all
        found += randomisation_p(np.where(same, 0.0, a - b), resamples=2_000, seed=trial) < 0.05
    assert 35 <= found <= 65, found


def test_queries_that_do_not_change_leave_p_alone() -> None:
    d = np.array([0.3, -0.1, 0.2, 0.4, 0.05])
    assert randomisation_p(np.concatenate([d, np.zeros(500)])) == randomisation_p(d)
    assert randomisation_p(np.zeros(30)) == 1.0
    assert randomisation_p([]) == 1.0


def test_p_is_never_zero_and_does_not_depend_on_direction() -> None:
    d = np.full(200, 0.1)
    assert randomisation_p(d, resamples=999) == 1 / 1_000
    e = np.random.default_rng(7).normal(0.02, 0.1, 100)
    assert randomisation_p(e) == randomisation_p(-e) == randomisation_p(e)
    assert randomisation_p([0.5]) == 1.0
    assert randomisation_p([0.1] * 6) == 2 / 2**6


def test_sums_that_differ_by_rounding_alone_count_as_ties() -> None:
    """0.1 + 0.2 and 0.3 differ in the last bit; both patterns are as extreme as each other."""
    assert randomisation_p([0.1, 0.2, -0.3]) == 1.0
    assert randomisation_p([0.1, 0.2, 0.3]) == 2 / 8


def test_memory_is_bounded() -> None:
    d = np.random.default_rng(8).normal(0, 0.1, 20_000)
    randomisation_p(d, resamples=10)
    tracemalloc.start()
    randomisation_p(d, resamples=2_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20, peak  # all patterns at once would be 320 MB


def test_holm_by_hand() -> None:
    """.01 * 4 = .04; .02 * 3 = .06; .03 * 2 = .06; .04 * 1 = .04, raised to the .06 before it."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
    with pytest.raises(InputError, match=r"not 1\.2"):
        holm([0.1, 1.2])


def test_holm_keeps_the_chance_of_any_false_positive() -> None:
    """Five true null hypotheses, 4,000 times: at least one corrected p below 0.05 in at most 5% (+ 1%)."""
    rng = np.random.default_rng(10)
    any_found = sum(min(holm(rng.random(5).tolist())) < 0.05 for _ in range(4_000))
    assert 0.04 * 4_000 <= any_found <= 0.06 * 4_000


def test_smallest_detectable_by_hand() -> None:
    """sd 0.1, n 100: (1.959964 + 0.841621) * 0.01."""
    d = np.tile([0.1, -0.1], 50) * math.sqrt(99 / 100)
    assert smallest_detectable(d) == pytest.approx(0.02801585, rel=1e-6)
    assert smallest_detectable(d, level=0.01, power=0.9) == pytest.approx(
        (norm.ppf(0.995) + norm.ppf(0.9)) * 0.01
    )
    assert smallest_detectable(np.zeros(5)) == 0.0
    assert math.isnan(smallest_detectable([0.3]))


def test_the_detectable_difference_is_found_in_four_of_five_trials() -> None:
    rng = np.random.default_rng(11)
    noise = [ndcg_like(rng, 60) - ndcg_like(rng, 60) for _ in range(400)]
    shift = (norm.ppf(0.975) + norm.ppf(0.8)) * np.std(np.concatenate(noise)) / math.sqrt(60)
    found = sum(randomisation_p(d + shift, resamples=1_000) < 0.05 for d in noise)
    assert 0.74 * 400 <= found <= 0.86 * 400, found


def test_bad_differences() -> None:
    with pytest.raises(InputError, match="1 of 2"):
        randomisation_p([0.1, float("inf")])
    with pytest.raises(InputError, match="shape"):
        randomisation_p(np.zeros((2, 2)))
    with pytest.raises(InputError, match="resamples"):
        randomisation_p([0.1], resamples=0)
    with pytest.raises(InputError, match="power"):
        smallest_detectable([0.1, 0.2], power=1.0)
