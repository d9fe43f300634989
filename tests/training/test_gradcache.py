"""Gradient certificates: chunks, recomputation and precision do not change what is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.student.student import build_student
from colbert_lab.training.data import MicroBatches
from colbert_lab.training.module import StudentModule
from colbert_lab.training.prepare import objective_from
from tests.training.support import TRAINER, distance, make_lists, phase_settings
from tests.training.test_phase import equal, train


def both_objectives(learnable: bool = True) -> Any:
    objective = phase_settings().objective
    objective.distillation.weight = 0.5
    objective.contrastive.weight = 0.5
    objective.contrastive.temperature = 0.1
    objective.contrastive.learnable = learnable
    return objective


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_recomputation_with_dropout_is_bit_identical(
    precision: str, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    """Through Lightning, with clipping, accumulation and a learnable temperature."""
    settings = student_settings | {"dropout": 0.2}
    changes = {
        "steps": 3,
        "batch_size": 6,
        "token_budget": 40,
        "objective": both_objectives(),
        "gradient_clip": 0.1,
        "trainer": TRAINER | {"precision": precision},
    }
    plain, _ = train(settings, tmp_path / "plain", recompute=False, **changes)
    recomputed, _ = train(settings, tmp_path / "again", recompute=True, **changes)
    assert equal(plain, recomputed)


def gradients(
    student_settings: dict[str, Any], token_budget: int, precision: torch.dtype, recompute: bool
) -> dict[str, torch.Tensor]:
    """Gradients of one micro-batch without dropout."""
    torch.manual_seed(0)
    student = build_student(**(student_settings | {"dropout": 0.0}))
    module = StudentModule(
        student.model,
        objective_from(phase_settings(objective=both_objectives()).objective),
        optimizer=torch.optim.SGD,
        lr_schedule="constant",
        warmup=0,
        max_steps=1,
        log_every=1,
        token_budget=token_budget,
        recompute=recompute,
    )
    batches = MicroBatches(
        [make_lists()],
        student.tokenizer,
        batch_size=12,
        n_way=4,
        token_budget=token_budget,
        seed=0,
        phase="x",
    )
    module.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        loss = module.training_step(batches[0], 0)
    loss.backward()
    return {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("token_budget", [1, 30, 100, 400])
@pytest.mark.parametrize(("precision", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_any_chunk_size_gives_the_gradient_of_the_full_batch(
    token_budget: int, precision: torch.dtype, limit: float, student_settings: dict[str, Any]
) -> None:
    whole = gradients(student_settings, 100_000, precision, recompute=False)
    assert "log_temperature" in whole
    chunked = gradients(student_settings, token_budget, precision, recompute=True)
    assert distance(chunked, whole) < limit
    assert (
        abs(chunked["log_temperature"] - whole["log_temperature"])
        <= limit * abs(whole["log_temperature"]) * 10
    )


def test_the_learned_temperature_moves_and_is_logged(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    from colbert_lab.training.metrics_file import read_metrics

    train(student_settings, tmp_path / "a", steps=4, objective=both_objectives())
    values = [
        float(row["value"])
        for row in read_metrics(tmp_path / "a" / "metrics.csv")
        if row["name"] == "train/temperature"
    ]
    assert len(set(values)) == 4
    assert values[0] == pytest.approx(0.1, rel=0.05)
