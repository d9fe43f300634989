"""Callbacks of ``trainer.callbacks``: where they stand, what their errors say, and what checkpoints keep of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, DeviceStatsMonitor, LearningRateMonitor

from colbert_lab.base.errors import InputError
from colbert_lab.run.callbacks import INSTEAD, check_callbacks, guarded, made_callbacks
from colbert_lab.training import phase
from colbert_lab.training.phase_files import Checkpoints, read_metrics
from colbert_lab.training.trainer import phase_trainer
from tests.training.test_phase import equal, train


class Noting(Callback):
    """Notes its steps, keeps them in checkpoints, and does what it is told to."""

    def __init__(
        self, text: str = "", stop_at: int | None = None, state: Any = None, raises: str = ""
    ) -> None:
        self.text, self.stop_at, self.raises = text, stop_at, raises
        self.steps: list[int] = []
        self.state = state

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.raises == "on_train_batch_end":
            raise ValueError("no\nmore")
        if trainer.global_step not in self.steps:
            self.steps.append(trainer.global_step)
        self.log("own/steps", float(len(self.steps)))  # type: ignore[attr-defined]
        if trainer.global_step == self.stop_at:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "state": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = state_dict["steps"]


class Saving(Callback):
    """Adds something to checkpoints itself."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def on_save_checkpoint(
        self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["own"] = self.what


@dataclass(frozen=True)
class Frozen(Callback):
    """Lightning cannot set what it sets."""


class Needy(Callback):
    def __init__(self) -> None:
        raise ValueError("no such device")


def named(name: str) -> str:
    return f"{__name__}.{name}"


def test_they_stand_after_ours_and_before_the_checkpoints(
    student_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[pl.Trainer] = []

    def trainer(*given: Any, **others: Any) -> pl.Trainer:
        made.append(phase_trainer(*given, **others))
        return made[-1]

    monkeypatch.setattr(phase, "phase_trainer", trainer)
    own = [Noting(), LearningRateMonitor(), DeviceStatsMonitor()]
    train(student_settings, tmp_path, steps=2, own=own, ema=0.9, pause=0.001)
    (fit,) = made
    *ours, first, second, third, last = fit.callbacks  # type: ignore[attr-defined]
    assert [first, second, third] == own
    assert isinstance(last, Checkpoints)
    assert not {type(each) for each in ours} & {type(each) for each in own}
    names = {row["name"] for row in read_metrics(tmp_path / "metrics.csv")}
    assert {"own/steps", "lr-AdamW/pg1", "DeviceStatsMonitor.on_train_batch_end/cpu_percent"} <= names


def test_a_resumed_phase_gives_them_their_state(student_settings: dict[str, Any], tmp_path: Path) -> None:
    flags = {"max_time": "00:00:00:00"}
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(student_settings, tmp_path, own=[guarded(Noting(), "own")], flags=flags)
    last = Noting()
    _, outcome = train(student_settings, tmp_path, own=[guarded(last, "own")])
    assert outcome.steps == 6
    assert [step for step in last.steps if step] == [1, 2, 3, 4, 5, 6]


def test_one_that_sets_should_stop_ends_the_phase(
    student_settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        stopped, outcome = train(student_settings, tmp_path / "a", own=[Noting(stop_at=3)])
    assert outcome.steps == 3
    assert "distill: stopped at step 3 of 6 by one of trainer.callbacks" in caplog.text
    assert (tmp_path / "a" / "phase.json").is_file()
    whole, _ = train(student_settings, tmp_path / "b")
    assert not equal(stopped, whole)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (Noting(raises="on_train_batch_end"),
         r"own: on_train_batch_end raised ValueError: no more \(test_callbacks.py, line \d+\)$"),
        (Noting(state=np.zeros(2)), "own: state_dict keeps what a checkpoint cannot give back without running code"),
        (Noting(state=lambda: 1), "own: state_dict keeps what a checkpoint cannot give back"),
        (Saving(Path()), "own: on_save_checkpoint keeps what a checkpoint cannot give back"),
    ],
)  # fmt: skip
def test_an_error_names_the_callback(
    own: Callback, said: str, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        train(student_settings, tmp_path, own=[guarded(own, "own")])


def test_what_checkpoints_give_back_is_kept(student_settings: dict[str, Any], tmp_path: Path) -> None:
    _, outcome = train(student_settings, tmp_path, steps=2, own=[guarded(Saving({"a": [1, "b"]}), "own")])
    assert outcome.steps == 2


def test_places_are_filled_in_and_each_phase_has_its_own() -> None:
    given = {"own": {"_target_": named("Noting"), "text": "{run}/{phase}/{else}"}}
    (one,), (other,) = (made_callbacks(given, {"run": "r", "phase": phase}) for phase in ("a", "b"))
    assert isinstance(one, Noting)
    assert isinstance(other, Noting)
    assert (one.text, other.text) == ("r/a/{else}", "r/b/{else}")


def test_every_callback_that_a_setting_takes_the_place_of_is_refused() -> None:
    for kind, instead in INSTEAD.items():
        target = f"pytorch_lightning.callbacks.{kind.__name__}"
        with pytest.raises(InputError, match=re.escape(f"{target}: has no place in a phase; set {instead}")):
            check_callbacks({"own": {"_target_": target}})


@pytest.mark.parametrize(
    ("callbacks", "said"),
    [
        ({"Own": {"_target_": named("Noting")}}, "trainer.callbacks.Own: must have a name of small letters"),
        ({"own": {"text": "x"}}, "trainer.callbacks.own: names no class; give its _target_"),
        ({"own": {"_target_": "torch.nn.Linear"}},
         "trainer.callbacks.own._target_=torch.nn.Linear: is no callback of Lightning; derive it from"),
        ({"own": {"_target_": named("Frozen")}}, "is a frozen dataclass, in which Lightning cannot set"),
        ({"own": {"_target_": named("Needy")}}, "trainer.callbacks.own: no such device"),
        ({"a": {"_target_": named("Noting")}, "b": {"_target_": named("Noting")}},
         "trainer.callbacks.b: has the state_key of trainer.callbacks.a (Noting), by which checkpoints tell"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(callbacks: Mapping[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        check_callbacks(callbacks)
