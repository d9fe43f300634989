"""Time and memory from measured pieces, on made-up measurements."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.plan.counting import Counted, Size, Work, evenly, fit_rates
from colbert_lab.plan.peaks import Guard, along, predict
from colbert_lab.plan.steps import Measured, Step
from colbert_lab.plan.table import duration


def size(padded: int, queries: int = 4, documents: int = 64) -> Size:
    return Size(queries, documents, padded - 10, padded, padded - 10, 100 * padded, padded)


def step(padded: int, seconds: float, peak: int, optimizer: float = 0.0, queries: int = 4) -> Step:
    return Step(size(padded, queries), seconds, optimizer, peak, None)


def test_rates_are_recovered() -> None:
    works = [
        Work(n, n * width) for n, width in ((2000, 50), (4000, 60), (5000, 120), (8000, 80), (9000, 200))
    ]
    taken = [0.3 + 1e-4 * work.padded + 2e-7 * work.area for work in works]
    rates = fit_rates(works, taken)
    assert (rates.fixed, rates.per_token, rates.per_area) == pytest.approx((0.3, 1e-4, 2e-7), rel=1e-6)
    assert rates.of(Work(100_000, 0)) == pytest.approx(10.3)


def test_rates_of_noisy_measurements_are_never_negative_and_predict_the_middle() -> None:
    draw = random.Random(0)
    works = [Work(n, n * 100) for n in range(1000, 9000, 1000)]
    taken = [1e-3 * work.padded * draw.uniform(0.9, 1.1) for work in works]
    rates = fit_rates(works, taken)
    assert min(rates.fixed, rates.per_token, rates.per_area) >= 0
    assert rates.of(Work(5000, 500_000)) == pytest.approx(5.0, rel=0.1)


def test_what_was_measured_apart_is_taken_off() -> None:
    works = [Work(n, 0, n * n) for n in (10, 20, 40)]
    rates = fit_rates(works, [2 * w.padded + 3 * w.cells for w in works], per_cell=3)
    assert rates.per_token == pytest.approx(2)
    assert rates.of(Work(100, 0, 10_000)) == pytest.approx(200 + 30_000)


def test_evenly_has_both_ends() -> None:
    assert evenly(range(100), 3) == [0, 50, 99]
    assert evenly(range(2), 5) == [0, 1]


def test_a_phase_is_the_sum_of_its_micro_batches() -> None:
    steps = [step(n, 1.0 + n / 1000 + 0.2, 0, optimizer=0.2) for n in (1000, 2000, 4000)]
    measured = Measured(step(2000, 5.2, 0), steps, 0.0, 0.0, True, False)
    counted = Counted(8, [0, 1], [size(1000), size(3000)], 0.0)  # two of eight
    ready = 5.2 - 3.2
    assert measured.seconds(counted, 1) == pytest.approx(8 * (1.2 + 2) + ready)
    assert measured.seconds(counted, 4) == pytest.approx(8 * (1.0 + 2) + 2 * 0.2 + ready)
    assert counted.sum("padded") == 16_000
    assert not counted.whole


def test_peak_of_plain_steps_grows_with_tokens() -> None:
    steps = [step(n, 1.0, 10**9 + 50_000 * n) for n in (2000, 4000)]
    assert along([s.size for s in steps], [s.peak for s in steps], 40_000) == pytest.approx(3e9)
    part = Measured(steps[0], steps, 0.0, 0.0, whole=False, recompute=False)
    assert predict(part, size(40_000), 128).bytes == pytest.approx(3e9)
    whole = Measured(steps[0], steps, 0.0, 0.0, whole=True, recompute=False)
    assert predict(whole, size(4000), 128).bytes == 10**9 + 200_000_000


def test_peak_of_gradcache_grows_with_embeddings_and_scores() -> None:
    steps = [step(8000, 1.0, 2 * 10**9, queries=100)]
    part = Measured(steps[0], steps, 0.0, 0.0, whole=False, recompute=True)
    largest = size(80_000, queries=1000, documents=1000)
    more = 4 * 4 * 128 * 72_000 + 3 * 4 * (1_000_000 - 6400)
    assert predict(part, largest, 128).bytes == 2 * 10**9 + more


def test_a_step_that_will_not_fit_is_not_computed() -> None:
    config = SimpleNamespace(hidden_size=1, num_hidden_layers=1, num_attention_heads=1)
    model = cast(Any, SimpleNamespace(backbone=SimpleNamespace(config=config)))
    phase = cast(
        Any,
        SimpleNamespace(name="distill", settings=SimpleNamespace(batch_size=4, token_budget=4096)),
    )
    guard = Guard(phase, model, False, 10**12, True)
    for padded in (500, 1000, 2000):  # the first one does not count
        guard.check(size(padded))
        guard.note(size(padded), 10**8 * padded)
    guard.check(size(9000))
    with pytest.raises(InputError, match=r"phases.distill.recompute=true.*phases.distill.batch_size"):
        guard.check(size(11_000))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.04, "0.0 s"),
        (12.4, "12 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (276_000, "3 d 4 h"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told
