import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from colbert_lab.errors import InputError
from colbert_lab.student.student import Student, build_student
from colbert_lab.training.checkpoints import resume_point
from colbert_lab.training.metrics_file import read_metrics
from colbert_lab.training.phase import PhaseOutcome, finished_phase, train_phase
from colbert_lab.training.prepare import prepare_phase
from tests.training.support import TRAINER, make_lists, phase_settings


class Killed(RuntimeError):
    pass


@contextmanager
def ballast(size: int) -> Iterator[None]:
    held = np.ones(size, dtype=np.uint8)
    yield
    del held


def train(
    student_settings: dict[str, Any],
    folder: Path,
    *,
    stop_at: int | None = None,
    seed: int = 3,
    trainer: dict[str, Any] | None = None,
    **changes: Any,
) -> tuple[dict[str, torch.Tensor], PhaseOutcome]:
    """Train from scratch or from what is in ``folder``; ``stop_at`` breaks off after that step."""
    torch.manual_seed(0)
    student = build_student(**student_settings)
    settings = phase_settings(evaluate_every=1 if stop_at else None, **changes)
    phase = prepare_phase(
        "distill",
        settings,
        [make_lists()],
        student.tokenizer,
        seed=seed,
        allow_flat_teacher=False,
        allow_prompt_mismatch=False,
    )

    def evaluate(_: Student, step: int) -> Mapping[str, float]:
        if step == stop_at:
            raise Killed
        return {"dev": 0.0}

    trained, outcome = train_phase(
        phase,
        student.model,
        folder,
        trainer=trainer or TRAINER,
        num_workers=0,
        phase_hash="x",
        seed=seed,
        loggers=[],
        evaluate=evaluate,
        progress=False,
    )
    return trained.model.state_dict(), outcome


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_same_seed_same_weights_other_seed_others(student_settings: dict[str, Any], tmp_path: Path) -> None:
    first, _ = train(student_settings, tmp_path / "a")
    again, _ = train(student_settings, tmp_path / "b")
    other, _ = train(student_settings, tmp_path / "c", seed=4)
    assert equal(first, again)
    assert not equal(first, other)


@pytest.mark.parametrize("stop_at", [1, 2, 3, 5])
def test_a_stopped_phase_ends_with_the_same_weights(
    stop_at: int, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    whole, expected = train(student_settings, tmp_path / "whole")
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "cut", stop_at=stop_at)
    assert finished_phase(tmp_path / "cut") is None
    resumed, outcome = train(student_settings, tmp_path / "cut")
    assert equal(whole, resumed)
    assert (outcome.steps, outcome.queries, outcome.tokens) == (
        expected.steps,
        expected.queries,
        expected.tokens,
    )
    assert outcome.flops == pytest.approx(expected.flops, rel=1e-12)
    steps = [
        row["step"] for row in read_metrics(tmp_path / "cut" / "metrics.csv") if row["name"] == "train/loss"
    ]
    assert steps == [str(step) for step in range(1, 7)]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    student_settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = train(student_settings, tmp_path / "whole")
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "cut", stop_at=5)
    newest = resume_point(tmp_path / "cut" / "checkpoints")
    assert newest is not None
    assert newest.step == 4
    newest.path.write_bytes(newest.path.read_bytes()[:1000])
    resumed, _ = train(student_settings, tmp_path / "cut")
    assert "cannot be read" in caplog.text
    assert equal(whole, resumed)


def test_the_student_is_in_training_mode_while_training(
    student_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colbert_lab.training.module import StudentModule

    seen: list[bool] = []
    step = StudentModule.training_step

    def watched(self: StudentModule, batch: Any, batch_idx: int) -> Any:
        seen.append(all(module.training for module in self.model.modules()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(StudentModule, "training_step", watched)
    train(student_settings, tmp_path / "a", steps=2)
    assert seen == [True] * 4


def test_dropout_is_on_while_training(student_settings: dict[str, Any], tmp_path: Path) -> None:
    off, _ = train(student_settings | {"dropout": 0.0}, tmp_path / "off", steps=2)
    on, _ = train(student_settings | {"dropout": 0.3}, tmp_path / "on", steps=2)
    assert not equal(off, on)


def test_training_brings_the_loss_down(student_settings: dict[str, Any], tmp_path: Path) -> None:
    train(student_settings, tmp_path / "a", steps=40, checkpoint_every=100)
    losses = [
        float(r["value"]) for r in read_metrics(tmp_path / "a" / "metrics.csv") if r["name"] == "train/loss"
    ]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_contrastive_term_is_added_by_weight(student_settings: dict[str, Any], tmp_path: Path) -> None:
    objective = phase_settings().objective
    objective.contrastive.weight = 0.3
    objective.distillation.weight = 0.7
    train(student_settings, tmp_path / "a", steps=1, accumulation=1, objective=objective)
    rows = {row["name"]: float(row["value"]) for row in read_metrics(tmp_path / "a" / "metrics.csv")}
    assert rows["train/loss"] == pytest.approx(
        0.7 * rows["train/distillation"] + 0.3 * rows["train/contrastive"], rel=1e-5
    )


def test_bf16_trains(student_settings: dict[str, Any], tmp_path: Path) -> None:
    exact, _ = train(student_settings | {"dropout": 0.0}, tmp_path / "32", steps=2)
    lowered, _ = train(
        student_settings | {"dropout": 0.0},
        tmp_path / "16",
        steps=2,
        trainer=TRAINER | {"precision": "bf16-mixed"},
    )
    assert not equal(exact, lowered)
    for name in exact:
        assert lowered[name].dtype == torch.float32
        torch.testing.assert_close(exact[name], lowered[name], atol=5e-3, rtol=0)


def test_finished_phase_keeps_counts_and_no_checkpoints(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    _, outcome = train(student_settings, tmp_path / "a")
    assert finished_phase(tmp_path / "a") == outcome
    assert outcome.queries == 6 * 2 * 3
    assert 0 < outcome.tokens <= outcome.padded_tokens
    assert (outcome.devices, outcome.peak_device_bytes) == (1, None)
    assert outcome.peak_memory_bytes is not None
    with ballast(outcome.peak_memory_bytes):  # the highest use of before does not count, that of now does
        _, again = train(student_settings, tmp_path / "b")
    _, later = train(student_settings, tmp_path / "c")
    assert again.flops == outcome.flops
    assert again.peak_memory_bytes is not None
    assert later.peak_memory_bytes is not None
    assert again.peak_memory_bytes > 1.5 * outcome.peak_memory_bytes
    assert later.peak_memory_bytes < 0.8 * again.peak_memory_bytes
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["metrics.csv", "phase.json", "student"]
    assert json.loads((tmp_path / "a" / "phase.json").read_text())["steps"] == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 3, "epochs": 1.0}, "exactly one of steps and epochs"),
        ({"steps": None}, "exactly one of steps and epochs"),
        ({"steps": None, "epochs": 0.1}, "no optimizer step"),
        ({"accumulation": 0}, r"phases\.distill\.accumulation=0"),
    ],
)
def test_bad_settings(student_settings: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare_phase(
            "distill",
            phase_settings(**changes),
            [make_lists()],
            build_student(**student_settings).tokenizer,
            seed=0,
            allow_flat_teacher=False,
            allow_prompt_mismatch=False,
        )


def test_epochs_become_steps(student_settings: dict[str, Any]) -> None:
    phase = prepare_phase(
        "distill",
        phase_settings(steps=None, epochs=3.0),
        [make_lists()],
        build_student(**student_settings).tokenizer,
        seed=0,
        allow_flat_teacher=False,
        allow_prompt_mismatch=False,
    )
    assert phase.max_steps == 3 * 4 // 2
