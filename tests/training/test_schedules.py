"""Schedules against loops that were written from the papers, and what cannot be a schedule."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.training.schedules import Spans, make_scheduler, spans_of
from tests.training.test_optim import prepared


def shares(name: str, warmup: float, max_steps: int, decay: float | None) -> list[float]:
    """Of the full rate, at each step and after the last one."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = make_scheduler(optimizer, name, warmup, max_steps, decay)
    found = []
    for _ in range(max_steps + 1):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


def by_hand(step: int, warmup: int, decay: int, last: int) -> float:
    """Warm-up from 0, then 1, then a line that is 1 where the decay begins and 0 after the last step."""
    if step < warmup:
        return step / warmup
    return min(1.0, (last - step) / decay)


@pytest.mark.parametrize(
    ("warmup", "decay", "spans"), [(0.1, 0.2, (2, 4)), (3, 0.05, (3, 1)), (0, 1.0, (0, 20))]
)
def test_wsd_is_full_until_its_decay(warmup: float, decay: float, spans: tuple[int, int]) -> None:
    assert spans_of("wsd", warmup, 20, decay) == Spans(*spans)
    wanted = [by_hand(step, *spans, 20) for step in range(21)]
    assert shares("wsd", warmup, 20, decay) == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_wsd_that_only_decays_is_linear() -> None:
    assert shares("wsd", 0.25, 8, 0.75) == pytest.approx(shares("linear", 0.25, 8, None), rel=1e-12)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"name": "linear", "warmup": 0, "decay": 0.2}, r"decay=0\.2: has no effect with name=linear"),
        ({"name": "wsd", "warmup": 0}, "decay=null: wsd needs a share"),
        ({"name": "wsd", "warmup": 0.5, "decay": 0.6}, r"decay=0\.6: warm-up \(3 steps\) and decay \(4\) are longer"),
        ({"name": "cosine", "warmup": 7}, "warmup=7: must be at most the 6 steps"),
    ],
)  # fmt: skip
def test_what_is_no_schedule(
    schedule: dict[str, Any], message: str, student_settings: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=rf"^phases\.distill\.lr_schedule\.{message}"):
        prepared(student_settings, lr_schedule=schedule)
