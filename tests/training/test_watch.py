"""Training that diverges stops before the step, keeps the good checkpoint, and no NaN is saved, loaded or measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.model.backbone import load_backbone
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.own import load_student, save_student, write_student
from colbert_lab.teachers.scorer import hits
from colbert_lab.training.phase_files import resume_point
from colbert_lab.training.watch import Watch
from tests.toy import new_student
from tests.training.support import phase_settings
from tests.training.test_phase import train

NAN, OK = torch.tensor(torch.nan), torch.tensor(1.0)


def adamw(lr: float) -> dict[str, Any]:
    return {"_target_": "torch.optim.AdamW", "lr": lr}


def test_a_rate_that_is_far_too_high_stops_with_the_step_and_its_queries(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    message = r"^phases\.distill: the loss of step 2 is not a finite number \(queries: \d+ \(.*q\d+.*\)"
    with pytest.raises(InputError, match=message):
        train(
            student_settings,
            tmp_path,
            optimizer=adamw(1e30),
            lr_schedule={"name": "constant", "warmup": 0},
            checkpoint_every=1,
        )
    assert not (tmp_path / "student").exists()
    kept = resume_point(tmp_path / "checkpoints")
    assert kept is not None
    assert kept.step == 1


def test_a_temperature_below_all_numbers_stops_before_the_first_step(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    objective = phase_settings().objective
    objective["distillation"]["student"]["temperature"] = 1e-45
    with pytest.raises(InputError, match=r"^phases\.distill: the loss of step 1 is not a finite number"):
        train(student_settings, tmp_path, objective=objective)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_weights_that_are_not_finite_get_into_no_checkpoint(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    """The last step is too long, and no loss comes after it."""
    with pytest.raises(InputError, match=r"step 1: weights with NaN or infinity in them: \d+ "):
        train(
            student_settings,
            tmp_path,
            steps=1,
            objective=steep(),
            lr_schedule={"name": "constant", "warmup": 0},
            optimizer={"_target_": "torch.optim.SGD", "lr": 3e38},
            gradient_clip=1e30,
        )
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not (tmp_path / "student").exists()


def steep() -> Any:
    """An objective with gradients far above 1."""
    objective = phase_settings().objective
    objective["distillation"]["weight"] = 1e4
    return objective


@pytest.mark.parametrize("scale", [None, 65536.0])
def test_float16_may_leave_out_single_steps(scale: float | None) -> None:
    watch = Watch("distill", lambda k: [f"q{k}"])
    tell = None if scale is None else lambda: float(scale)
    assert watch.loss(OK) == 1.0
    assert watch.gradient(OK, 0, 1, tell)
    watch.loss(OK)
    if tell is None:
        with pytest.raises(InputError, match=r"the gradient of step 2 .*\(queries: 1 \(q1\)\)"):
            watch.gradient(NAN, 1, 1, tell)
        return
    for step in range(20):  # overflow of a scaled loss: the scaler halves it
        watch.loss(OK)
        assert not watch.gradient(NAN, step, 1, tell)
    watch.loss(OK)
    with pytest.raises(InputError, match="the gradient of step 3"):
        watch.gradient(NAN, 2, 1, lambda: 0.5)


def test_a_loss_that_is_not_finite_may_not_repeat_in_float16() -> None:
    watch = Watch("distill", lambda k: [f"q{k}"])
    for good, bad, again in ((OK, NAN, False), (OK, NAN, True)):
        watch.loss(good)
        assert watch.loss(bad).isnan()
        if again:
            with pytest.raises(InputError, match=r"the loss of step 4 .*\(queries: 1 \(q7\)\)"):
                watch.gradient(NAN, 3, 2, lambda: 1024.0)
        else:
            assert not watch.gradient(NAN, 2, 2, lambda: 1024.0)


def test_an_infinite_loss_spoils_the_gradient_of_every_process() -> None:
    """So that all of them see it in the norm they share."""
    weight = torch.ones(2, requires_grad=True)
    infinite = weight.sum() + torch.tensor(torch.inf)
    Watch().loss(infinite).backward()
    assert weight.grad is not None
    assert weight.grad.isnan().all()
    other = torch.ones(2, requires_grad=True)
    Watch().loss(other.square().sum()).backward()
    assert other.grad is not None
    assert torch.equal(other.grad, torch.full((2,), 2.0))


def spoilt(student_settings: dict[str, Any]) -> Any:
    student = new_student(**student_settings)
    with torch.no_grad():
        next(iter(student.model.head.parameters()))[0, 0] = torch.nan
    return student


def test_no_nan_is_saved_or_loaded(student_settings: dict[str, Any], tmp_path: Path) -> None:
    student = spoilt(student_settings)
    with pytest.raises(InputError, match=r"weights with NaN or infinity in them: 1 \(head\."):
        save_student(student, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    write_student(student, tmp_path / "b")
    where = re.escape(f"student.checkpoint={tmp_path / 'b'}: weights with NaN or infinity")
    with pytest.raises(InputError, match=f"^{where}"):
        load_student(tmp_path / "b")


def test_a_backbone_with_nan_is_refused(student_settings: dict[str, Any], tmp_path: Path) -> None:
    backbone = load_backbone(student_settings["backbone"])
    with torch.no_grad():
        next(backbone.parameters())[3] = torch.inf
    backbone.save_pretrained(tmp_path)
    with pytest.raises(
        InputError, match=r"^student\.backbone=.*: weights with NaN or infinity in them: 1 \(emb"
    ):
        load_backbone(str(tmp_path))


def test_embeddings_that_are_not_finite_are_named(student_settings: dict[str, Any]) -> None:
    student = spoilt(student_settings)
    with pytest.raises(
        InputError, match=r"embeddings of document texts are not finite numbers: 2 \(d0, d1\)"
    ):
        encode(student, ["red fish", "blue bird"], "document", token_budget=64, ids=["d0", "d1"])


def test_a_checkpoint_with_nan_is_passed_over(
    student_settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"global_step": 2, "state_dict": {"w": torch.tensor([1.0])}}
    content |= {key: {} for key in ("optimizer_states", "lr_schedulers", "loops", "callbacks")}
    torch.save(content, tmp_path / "step=2.ckpt")
    torch.save(content | {"global_step": 4, "state_dict": {"w": NAN[None]}}, tmp_path / "step=4.ckpt")
    found = resume_point(tmp_path)
    assert found is not None
    assert found.step == 2
    assert "weights that are not finite: w" in caplog.text


class Broken:
    """An index of a teacher whose weights overflow."""

    def scores(self, queries: Sequence[str]) -> Tensor:
        return torch.stack([torch.full((3,), torch.nan if query == "b" else 1.0) for query in queries])


def test_scores_of_a_teacher_that_are_not_finite_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^teacher: Broken: scores that are not finite numbers for 1 queries.*'b'"
    ):
        hits(Broken(), ["a", "b"])
