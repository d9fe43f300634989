"""What of ``trainer.lightning`` gets to Lightning's Trainer, and does there what it says."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from colbert_lab.training import phase
from colbert_lab.training.module import StudentModule
from colbert_lab.training.phase_files import read_metrics
from colbert_lab.training.trainer import phase_trainer
from tests.training.support import TRAINER
from tests.training.test_phase import equal, train


def test_flags_get_to_the_trainer(
    student_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def trainer(*given: Any, **others: Any) -> Any:
        made.append(phase_trainer(*given, **others))
        return made[-1]

    monkeypatch.setattr(phase, "phase_trainer", trainer)
    flags = {"detect_anomaly": True, "gradient_clip_algorithm": "value", "max_time": "01:00:00:00"}
    flags["profiler"] = "simple"
    train(student_settings, tmp_path, steps=1, flags=flags)
    (fit,) = made
    assert fit._detect_anomaly
    assert fit.gradient_clip_algorithm == "value"
    assert (fit.max_steps, fit.limit_train_batches) == (1, 1.0)
    report = (tmp_path / "fit-profile.txt").read_text()
    assert "FIT Profiler Report" in report
    assert "training_step" in report
    assert TRAINER.keys().isdisjoint(flags)


def test_gradients_are_clipped_by_value(student_settings: dict[str, Any], tmp_path: Path) -> None:
    found = {
        name: train(student_settings, tmp_path / name, steps=2, gradient_clip=1e-3, flags=flags)[0]
        for name, flags in (
            ("plain", {}),
            ("norm", {"gradient_clip_algorithm": "norm"}),
            ("value", {"gradient_clip_algorithm": "value"}),
        )
    }  # fmt: skip
    assert equal(found["plain"], found["norm"])
    assert not equal(found["plain"], found["value"])
    rows = (read_metrics(tmp_path / name / "metrics.csv") for name in ("plain", "value"))
    norms = [next(row["value"] for row in each if row["name"] == "train/gradient_norm") for each in rows]
    assert norms[0] == norms[1]  # that of before clipping


@pytest.mark.parametrize(
    ("algorithm", "expected"), [("value", [0.5, -0.5, 0.25]), ("norm", None), (None, None)]
)
def test_a_clipped_gradient_is_torchs_own(algorithm: str | None, expected: list[float] | None) -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([3.0, -4.0, 0.25])
    whole = weight.grad / weight.grad.norm() * 0.5
    norms: list[float] = []
    module: Any = SimpleNamespace(
        trainer=SimpleNamespace(precision_plugin=None, global_step=0, accumulate_grad_batches=1),
        parameters=lambda: [weight],
        watch=SimpleNamespace(gradient=lambda norm, *_: norms.append(float(norm))),
    )
    module.gradient_norm = partial(StudentModule.gradient_norm, module)
    StudentModule.configure_gradient_clipping(module, None, 0.5, algorithm)
    torch.testing.assert_close(
        weight.grad, whole if expected is None else torch.tensor(expected), rtol=1e-5, atol=0
    )
    assert norms == pytest.approx([float(torch.tensor([3.0, -4.0, 0.25]).norm())])
