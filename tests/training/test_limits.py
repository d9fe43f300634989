"""How much a phase trains with flags of Lightning's Trainer, and when a command with a limit of time ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader

from colbert_lab.base.errors import InputError
from colbert_lab.base.interruptions import TimeOver
from colbert_lab.base.stopping import exit_status
from colbert_lab.settings.lightning import QUIET
from colbert_lab.training.limits import count_steps, share_of, time_limit
from colbert_lab.training.phase_files import resume_point
from tests.training.support import phase_settings
from tests.training.test_phase import curves, equal, train

LIMIT, REPEAT = "limit_train_batches", "overfit_batches"


@pytest.mark.parametrize("asked", [1, 3, 9, 10, 30, 1.0, 0.5, 0.1, 0.35, 3.0])
def test_a_share_is_what_it_is_to_lightning(asked: float) -> None:
    fit = pl.Trainer(**QUIET, limit_train_batches=asked, max_epochs=1)
    fit.fit(BoringModel(), DataLoader(torch.randn(10, 32), batch_size=1))  # type: ignore[arg-type]
    assert share_of(asked, 10) == fit.global_step


@pytest.mark.parametrize(
    ("limit", "changes", "steps"),
    [
        (None, {}, 6),
        (12, {}, 6),
        (1000, {}, 6),
        (10, {}, 5),
        (11, {}, 5),
        (1.0, {}, 6),
        (0.5, {}, 3),
        (0.2, {}, 1),
        (2, {"steps": None, "epochs": 3.0}, 1),
        (0.5, {"steps": None, "epochs": 2.0}, 2),
    ],
)
def test_the_limit_becomes_steps(limit: float | None, changes: dict[str, Any], steps: int) -> None:
    assert count_steps("distill", phase_settings(**changes), 4, {LIMIT: limit}) == steps


@pytest.mark.parametrize("limit", [0, 1, 0.1])
def test_a_limit_that_leaves_no_step_is_refused(limit: float) -> None:
    with pytest.raises(
        InputError, match=rf"^trainer\.lightning\.{LIMIT}={limit}: leaves no optimizer step of"
    ):
        count_steps("distill", phase_settings(), 4, {LIMIT: limit})


def test_a_limited_phase_is_one_of_so_many_steps(student_settings: dict[str, Any], tmp_path: Path) -> None:
    limited, outcome = train(student_settings, tmp_path / "limited", flags={LIMIT: 0.5})
    short, _ = train(student_settings, tmp_path / "short", steps=3)
    assert outcome.steps == 3
    assert equal(limited, short)
    assert curves(tmp_path / "limited") == curves(tmp_path / "short")


@pytest.mark.parametrize(("asked", "n"), [(2, 2), (0.5, 2)])
def test_the_first_micro_batches_come_again_and_again(
    asked: float, n: int, student_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colbert_lab.training.module import StudentModule

    seen: list[torch.Tensor] = []
    step = StudentModule.training_step

    def watched(self: StudentModule, batch: Any, batch_idx: int) -> Any:
        seen.append(torch.cat([batch.queries.input_ids_NL.flatten(), batch.keys_N]))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(StudentModule, "training_step", watched)
    whole, _ = train(student_settings, tmp_path / "whole", flags={REPEAT: asked})
    assert len(seen) == 12
    assert not torch.equal(seen[0], seen[1])
    assert all(torch.equal(seen[k], seen[k % n]) for k in range(12))
    with pytest.raises(TimeOver):
        train(student_settings, tmp_path / "cut", flags={REPEAT: asked, "max_time": "00:00:00:00"})
    resumed, _ = train(student_settings, tmp_path / "cut", flags={REPEAT: asked})
    assert equal(resumed, whole)


def test_less_than_one_micro_batch_is_refused(student_settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{REPEAT}=0\.1: is less than one of the 4 micro-batches of"):
        train(student_settings, tmp_path, flags={REPEAT: 0.1})


def test_time_ends_a_command_after_a_step_and_the_next_one_goes_on(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    whole, _ = train(student_settings, tmp_path / "whole")
    flags = {"max_time": "00:00:00:00"}
    for done in range(1, 6):
        with pytest.raises(TimeOver) as over:
            train(student_settings, tmp_path / "cut", flags=flags)
        assert (
            str(over.value)
            == f"trainer.lightning.max_time=00:00:00:00 is over at step {done} of 6 of distill"
        )
        assert exit_status(over.value) == 143
        point = resume_point(tmp_path / "cut" / "checkpoints")
        assert point is not None
        assert point.step == done
    resumed, outcome = train(student_settings, tmp_path / "cut", flags=flags)
    assert outcome.steps == 6
    assert equal(resumed, whole)
    assert curves(tmp_path / "cut") == curves(tmp_path / "whole")


@pytest.mark.parametrize(
    ("flags", "seconds"),
    [({}, None), ({"max_time": "00:01:00:05"}, 3605), ({"max_time": {"minutes": 2}}, 120)],
)
def test_a_limit_of_time_is_read_as_lightning_does(flags: Mapping[str, Any], seconds: float | None) -> None:
    found = time_limit("distill", flags)
    assert (found and found.seconds) == seconds
