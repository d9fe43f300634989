"""The average of weights: against a loop in float64, over a kill, and whose weights are evaluated, kept and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from colbert_lab.settings.optimizer import MUON
from tests.training.test_phase import Killed, curves, equal, train

DECAY, STEPS = 0.7, 5
Weights = dict[str, torch.Tensor]


def by_hand(weights: list[Weights], name: str) -> torch.Tensor:
    """The average of what was there after each step."""
    found = weights[0][name].double()
    for each in weights[1:]:
        found = DECAY * found + (1 - DECAY) * each[name].double()
    return found


def test_it_is_the_average_over_steps_and_leaves_training_alone(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {
        "steps": STEPS,
        "freeze": ["layers.0"],
        "lr_schedule": {"name": "constant", "warmup": 0},
    }
    plain: dict[int, Weights] = {}
    averaged: dict[int, Weights] = {}
    last, _ = train(student_settings, tmp_path / "plain", seen=plain, **changes)
    student, _ = train(student_settings, tmp_path / "ema", seen=averaged, ema=DECAY, **changes)
    steps = [*(plain[step] for step in range(1, STEPS)), last]
    for done in range(1, STEPS + 1):
        for name, value in (student if done == STEPS else averaged[done]).items():
            torch.testing.assert_close(value.double(), by_hand(steps[:done], name), rtol=1e-5, atol=1e-8)
            if ".layer.0." in name:  # frozen
                assert torch.equal(value, last[name])
    assert not equal(student, last)
    saved = load_file(tmp_path / "ema" / "student" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in student.items() if name in saved)
    assert curves(tmp_path / "ema") == curves(tmp_path / "plain")


def test_with_muon_it_goes_on_where_it_was_killed(student_settings: dict[str, Any], tmp_path: Path) -> None:
    changes: dict[str, Any] = {"ema": DECAY, "optimizer": {"_target_": MUON, "lr": 1e-3}}
    whole, _ = train(student_settings, tmp_path / "whole", **changes)
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "cut", stop_at=3, **changes)
    resumed, _ = train(student_settings, tmp_path / "cut", **changes)
    assert equal(whole, resumed)
