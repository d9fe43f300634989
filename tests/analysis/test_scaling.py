"""Laws of quality against the amount of training: against scipy's fit, their intervals, and who is ahead where."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from colbert_lab.analysis import scaling
from colbert_lab.analysis.scaling import Curve, Law, fit_together, stretches
from colbert_lab.base.errors import InputError

COSTS = (1e5, 3e5, 1e6, 3e6, 1e7)


def law(costs: np.ndarray, limit: float, gap: float, rate: float) -> np.ndarray:
    values: np.ndarray = limit - gap * (costs / costs[0]) ** -rate
    return values


def curve(
    limit: float,
    gap: float,
    rate: float,
    *,
    title: str = "a",
    seed: int = 0,
    spread: float = 0.3,
    queries: int = 2000,
) -> Curve:
    """Queries whose values differ, as do their changes with the amount."""
    generator = np.random.default_rng(seed)
    means_P = law(np.array(COSTS), limit, gap, rate)
    own_Q = generator.normal(0, spread, queries)
    values_PQ = means_P[:, None] + own_Q + generator.normal(0, spread / 3, (len(COSTS), queries))
    return Curve(title, COSTS, values_PQ)


def fit(one: Curve) -> Law:
    (found,) = fit_together([one])
    return found


@pytest.mark.parametrize(("limit", "gap", "rate"), [(0.6, 0.5, 0.4), (0.5, 0.2, 1.5), (0.7, 0.3, 0.15)])
def test_a_law_without_noise_is_found(limit: float, gap: float, rate: float) -> None:
    costs = np.array(COSTS)
    found = fit(Curve("a", COSTS, np.repeat(law(costs, limit, gap, rate)[:, None], 50, axis=1)))
    assert (found.limit, found.gap, found.rate) == pytest.approx((limit, gap, rate), rel=0.02)
    assert found.at(COSTS) == pytest.approx(law(costs, limit, gap, rate), abs=1e-5)
    assert found.error < 1e-5
    assert not found.at_an_end


def test_the_law_is_that_of_scipy() -> None:
    noisy = curve(0.6, 0.5, 0.4, seed=3)
    found = fit(noisy)
    costs = np.array(COSTS)
    means = noisy.per_query_PQ.mean(axis=1)
    best, _ = curve_fit(law, costs, means, p0=(0.5, 0.3, 0.5))
    assert found.at(COSTS) == pytest.approx(law(costs, *best), abs=1e-5)
    assert ((found.at(COSTS) - means) ** 2).sum() <= ((law(costs, *best) - means) ** 2).sum() + 1e-9


def test_intervals_hold_what_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "RESAMPLES", 200)
    truth, held = law(np.array(COSTS), 0.6, 0.4, 0.5), []
    for seed in range(40):
        low, high = fit(curve(0.6, 0.4, 0.5, seed=seed, queries=400)).bounds(COSTS)
        held.append((low <= truth) & (truth <= high))
    assert 0.85 <= np.mean(held) <= 1.0  # 0.95 is meant; the standard deviation of a mean of 40 is 0.034


def test_who_is_ahead_where() -> None:
    early, late = curve(0.5, 0.2, 1.0, title="early"), curve(0.7, 0.6, 0.5, title="late", seed=1)
    costs = np.geomspace(COSTS[0], COSTS[-1], 100_000)
    apart = (0.5 - 0.2 * (costs / costs[0]) ** -1.0) - (0.7 - 0.6 * (costs / costs[0]) ** -0.5)
    crossing = costs[np.flatnonzero(np.diff(np.sign(apart)))[0]]
    found = stretches(*fit_together([early, late]))
    assert [each.ahead for each in found] == ["early", None, "late"]
    assert found[0].low == pytest.approx(COSTS[0])
    assert found[-1].high == pytest.approx(COSTS[-1])
    assert found[0].high < crossing < found[2].low
    assert found[0].difference.low > 0 > found[2].difference.high
    same = stretches(*fit_together([early, Curve("same", COSTS, early.per_query_PQ)]))
    assert [each.ahead for each in same] == [None]
    assert same[0].difference.mean == 0


def test_recipes_without_common_amounts_are_not_compared() -> None:
    later = Curve("later", tuple(1000 * cost for cost in COSTS), curve(0.6, 0.5, 0.4).per_query_PQ)
    assert stretches(*fit_together([curve(0.6, 0.5, 0.4), later])) == []


def test_a_flat_curve_has_no_gap_and_a_straight_one_an_end() -> None:
    flat = fit(Curve("flat", COSTS, np.full((5, 20), 0.3)))
    assert (flat.limit, flat.gap) == pytest.approx((0.3, 0.0))
    falling = fit(Curve("falling", COSTS, np.linspace(0.5, 0.1, 5)[:, None].repeat(20, axis=1)))
    assert falling.gap == 0.0  # the law does not fall; its error says that it does not fit
    assert falling.error > 0.1
    straight = fit(Curve("straight", COSTS, np.linspace(0.1, 0.5, 5)[:, None].repeat(20, axis=1)))
    assert straight.limit <= 1.0


def test_what_is_no_curve_is_refused() -> None:
    values = np.zeros((5, 10))
    with pytest.raises(InputError, match=r"^few: has 3 amounts of training; a law needs 4"):
        fit(Curve("few", COSTS[:3], values[:3]))
    with pytest.raises(InputError, match=r"^back: amounts of training must rise from above 0"):
        fit(Curve("back", COSTS[::-1], values))
    with pytest.raises(InputError, match=r"^none: amounts of training must rise"):
        fit(Curve("none", (0.0, *COSTS[1:]), values))
    with pytest.raises(InputError, match=r"^b: needs one value for each amount and query of a"):
        fit_together([Curve("a", COSTS, values), Curve("b", COSTS, values[:, :4])])
