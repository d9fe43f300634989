"""What a phase cost: the numbers, and the line of the log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from colbert_lab.records.cost import PhaseCost, mfu
from tests.analysis.ledger.made import COST


def test_a_phase_in_a_sentence() -> None:
    assert COST.told() == (
        "10 steps in 30 s, 83 tokens a second and device, 6.00 TFLOP, 10.0% of the 1.00 TFLOP/s of a large matrix "
        "product (MFU), peak memory 3.00 GiB"
    )
    assert replace(COST, peak_device_bytes=2**31).told().endswith("peak memory 2.00 GiB of the GPU")


def test_more_than_all_that_is_possible_is_no_result() -> None:
    assert COST.flops is not None
    strange = replace(COST, flops=20.6 * COST.flops)
    assert strange.mfu is None
    assert "MFU not measurable (the device was slower" in strange.told()
    assert "%" not in strange.told()


def test_what_an_older_file_does_not_say_is_left_out() -> None:
    old = PhaseCost(10, 30.0, 5000, None)
    assert old.told() == "10 steps in 30 s"
    assert (old.device_hours, old.mfu, old.peak) == (None, None, None)


def test_no_time_is_no_division_by_zero() -> None:
    none = replace(COST, seconds=0.0)
    assert none.mfu is None
    assert none.told().startswith("10 steps in 0 s")


def test_the_share_of_phases_together_weighs_them_by_what_was_possible() -> None:
    longer = replace(COST, seconds=90.0)
    assert [COST.mfu, longer.mfu] == pytest.approx([0.1, 1 / 30])
    assert mfu([COST, longer]) == pytest.approx(12e12 / 240e12)
    assert mfu([COST, PhaseCost(10, 30.0, 5000, None)]) is None
    assert mfu([]) is None
