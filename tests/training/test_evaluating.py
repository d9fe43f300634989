"""What values on dev decide: the student that is kept and the step at which a phase ends, also after a kill.

Which value is the best one, and when a phase ends, is compared with numpy and Lightning's own rules.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping
from safetensors.torch import load_file

from colbert_lab.settings.groups import LoraSettings, PhaseSettings
from colbert_lab.training import phase as training_phase
from colbert_lab.training.evaluating import DevValue, Selection, count_evaluations
from colbert_lab.training.module import StudentModule
from colbert_lab.training.phase_files import read_metrics
from tests.training.support import phase_settings
from tests.training.test_phase import Killed, curves, equal, train

FALLS = (0.1, 0.4, 0.6, 0.6, 0.5, 0.3, 0.2)
"""Values by step: the best is that of step 2, and that of step 3 is equal to it."""
SCHEDULE: dict[str, Any] = {"evaluate_every": 1, "lr_schedule": {"name": "constant", "warmup": 0.0}}


Weights = dict[str, torch.Tensor]


def falls(step: int) -> float:
    return FALLS[step]


def saved(folder: Path, name: str = "student") -> Weights:
    return load_file(folder / name / "model.safetensors")


def dev(folder: Path) -> list[tuple[str, str]]:
    rows = read_metrics(folder / "metrics.csv")
    return [(row["step"], row["value"]) for row in rows if row["name"] == "dev_small/ndcg@10"]


def early(patience: int) -> dict[str, Any]:
    return {"early_stopping": {"measure": "ndcg@10", "patience": patience, "min_delta": 0.0}}


def test_dev_is_evaluated_from_step_0_to_the_last_one_and_changes_nothing(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    seen: dict[int, Weights] = {}
    watched, outcome = train(student_settings, tmp_path / "a", evaluate_every=4, seen=seen, values=falls)
    plain, _ = train(student_settings, tmp_path / "b")
    assert list(seen) == [0, 4, 6]
    assert dev(tmp_path / "a") == [("0", "0.1"), ("4", "0.5"), ("6", "0.2")]
    assert equal(watched, plain)
    assert curves(tmp_path / "a") == curves(tmp_path / "b")
    assert outcome.selection is None
    assert outcome.kept_step == 6


def test_the_best_student_is_that_of_a_run_that_ended_there(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    kept, outcome = train(student_settings, tmp_path / "best", keep="best", values=falls, **SCHEDULE)
    ended, _ = train(student_settings, tmp_path / "two", steps=2, **SCHEDULE)
    last, _ = train(student_settings, tmp_path / "last", **SCHEDULE)
    assert equal(kept, ended)
    assert equal(saved(tmp_path / "best"), saved(tmp_path / "two"))
    assert equal(saved(tmp_path / "best", "student_last"), saved(tmp_path / "last"))
    assert not equal(kept, last)
    assert (outcome.steps, outcome.kept_step) == (6, 2)
    assert outcome.selection == {
        "keep": "best", "measure": "ndcg@10", "step": 2, "best": {"step": 2, "value": 0.6},
        "last": {"step": 6, "value": 0.2}, "stopped_early": False,
    }  # fmt: skip


def test_a_phase_that_only_harms_keeps_the_student_it_began_with(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    seen: dict[int, Weights] = {}
    asked: dict[str, Any] = {"keep": "best", "seen": seen, "values": lambda step: 0.5 - step / 20, **SCHEDULE}
    kept, outcome = train(student_settings, tmp_path / "a", **asked)
    assert outcome.kept_step == 0
    assert equal(kept, seen[0])


def test_the_best_average_is_kept_where_weights_are_averaged(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    seen: dict[int, Weights] = {}
    asked: dict[str, Any] = {"ema": 0.7, "keep": "best", "steps": 3, **SCHEDULE}
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "a", values=lambda step: 0.5 - abs(step - 2), stop_at=3, **asked)
    kept, _ = train(student_settings, tmp_path / "a", seen=seen, values=lambda step: 0.0, **asked)
    again: dict[int, Weights] = {}
    train(student_settings, tmp_path / "b", seen=again, values=falls, **asked)
    assert list(seen) == [3]
    assert equal(kept, again[2])
    assert equal(saved(tmp_path / "a", "student_last"), again[3])
    assert equal(seen[3], again[3])


def test_adapters_are_merged_into_both_students(student_settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra 'lora' is not installed")
    lora = LoraSettings(rank=2, alpha=4, dropout=0.0, targets=["query"])
    asked: dict[str, Any] = {"lora": lora, "steps": 3, **SCHEDULE}
    train(student_settings, tmp_path / "best", keep="best", values=lambda step: 0.5 - abs(step - 1), **asked)
    for steps, name in ((1, "student"), (3, "student_last")):
        train(student_settings, tmp_path / f"{steps}", **{**asked, "steps": steps})
        assert equal(saved(tmp_path / "best", name), saved(tmp_path / f"{steps}"))


@pytest.mark.parametrize("keep", ["last", "best"])
def test_early_stopping_ends_a_phase_and_leaves_its_schedule(
    keep: str, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    """The learning rate up to there is that of the whole phase, which goes down to 0."""
    seen: dict[int, Weights] = {}
    asked: dict[str, Any] = {"evaluate_every": 1, "lr_schedule": {"name": "linear", "warmup": 0.2}}
    train(student_settings, tmp_path / "whole", seen=seen, values=falls, **asked)
    kept, outcome = train(student_settings, tmp_path / "early", keep=keep, values=falls, **early(2), **asked)
    assert outcome.selection is not None
    assert (outcome.steps, outcome.selection["stopped_early"]) == (4, True)  # 3 and 4 are no improvement
    assert outcome.queries == 4 * 2 * 3
    whole = curves(tmp_path / "whole")
    assert curves(tmp_path / "early") == [row for row in whole if int(row[0]) <= 4]
    assert len([row for row in whole if row[1] == "train/lr"]) == 6
    assert dev(tmp_path / "early") == dev(tmp_path / "whole")[:5]
    best, last = ("student", "student_last") if keep == "best" else ("student_best", "student")
    assert equal(saved(tmp_path / "early", best), seen[2])
    assert equal(saved(tmp_path / "early", last), seen[4])
    assert equal(kept, seen[2 if keep == "best" else 4])
    assert not (tmp_path / "early" / "checkpoints").exists()


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_a_stopped_phase_keeps_the_same_student(
    stop_at: int, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    """Checkpoints are at 2 and 4: the best student and what was waited since are in them."""
    asked: dict[str, Any] = {"keep": "best", "values": falls, "evaluate_every": 1, **early(3)}
    _, expected = train(student_settings, tmp_path / "whole", **asked)
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "cut", stop_at=stop_at, **asked)
    _, outcome = train(student_settings, tmp_path / "cut", **asked)
    assert (outcome.steps, outcome.kept_step) == (5, 2)
    assert outcome.selection == expected.selection
    for name in ("student", "student_last"):
        assert equal(saved(tmp_path / "whole", name), saved(tmp_path / "cut", name))
    assert dev(tmp_path / "cut") == dev(tmp_path / "whole")
    assert curves(tmp_path / "cut") == curves(tmp_path / "whole")


def test_a_phase_that_was_killed_after_its_early_end_is_not_trained_on(
    student_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"keep": "best", "values": falls, "evaluate_every": 1, **early(2)}
    _, expected = train(student_settings, tmp_path / "whole", **asked)

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training_phase, "save_student", killed)
        with pytest.raises(Killed):
            train(student_settings, tmp_path / "cut", **asked)  # the checkpoint is that of step 4
        patch.undo()
        patch.setattr(StudentModule, "training_step", killed)
        _, outcome = train(student_settings, tmp_path / "cut", **asked)
    measured = {"seconds", "matmul_rate", "peak_memory_bytes"}
    same: dict[str, Any] = {name: getattr(expected, name) for name in measured}
    assert replace(outcome, **same) == expected
    for name in ("student", "student_last"):
        assert equal(saved(tmp_path / "whole", name), saved(tmp_path / "cut", name))
    assert dev(tmp_path / "cut") == dev(tmp_path / "whole")


CURVES = [np.random.default_rng(seed).integers(0, 12, 20).astype(float) / 12 for seed in range(20)]
"""Values on a coarse grid, so that some are equal."""


def selection(keep: str = "best", patience: int | None = None, min_delta: float = 0.0) -> Selection:
    early = {"measure": "ndcg@10", "patience": patience, "min_delta": min_delta}
    found = Selection.of(phase_settings(keep=keep, early_stopping=early))
    assert found is not None
    return found


def seen(curve: np.ndarray, asked: Selection) -> int | None:
    """Give a selection a curve, one value every 5 steps; the step at which it stops."""
    for n, value in enumerate(curve):
        asked.see(5 * n, float(value))
        if asked.stops:
            return 5 * n
    return None


@pytest.mark.parametrize("curve", CURVES)
def test_the_best_is_the_first_of_the_highest(curve: np.ndarray) -> None:
    asked = selection()
    assert [n for n, value in enumerate(curve) if asked.see(5 * n, float(value))] == [
        n for n in range(len(curve)) if n == 0 or curve[n] > curve[:n].max()
    ]
    first = int(np.argmax(curve))  # numpy takes the first of equal ones
    assert asked.kept == DevValue(5 * first, curve[first])
    last = selection("last", patience=100)
    assert seen(curve, last) is None
    assert (last.kept, last.best) == (DevValue(95, curve[-1]), asked.best)


@pytest.mark.parametrize("min_delta", [0.0, 1 / 12, 0.2])
@pytest.mark.parametrize("patience", [1, 2, 5])
def test_a_phase_ends_where_lightning_would_end_it(patience: int, min_delta: float) -> None:
    ends = []
    for curve in CURVES:
        theirs = EarlyStopping("dev", min_delta, patience, mode="max")
        stops = [theirs._evaluate_stopping_criteria(torch.tensor(value))[0] for value in curve]
        ends.append(5 * stops.index(True) if True in stops else None)
        assert seen(curve, selection(patience=patience, min_delta=min_delta)) == ends[-1]
    assert len(set(ends)) > 1


def test_it_goes_on_from_its_state() -> None:
    for curve in CURVES[:5]:
        whole, resumed = selection(patience=3), selection(patience=3)
        for n, value in enumerate(curve):
            again = selection(patience=3)
            again.restore(resumed.state())
            resumed = again
            assert whole.see(n, value) == resumed.see(n, value)
            assert (whole.told(20), whole.stops) == (resumed.told(20), resumed.stops)


@pytest.mark.parametrize(
    ("keep", "patience", "chooses"),
    [
        ("last", None, None),
        ("best", None, "keep=best"),
        ("best", 2, "keep=best"),
        ("last", 2, "early_stopping.patience=2"),
    ],
)
def test_what_decides_is_named(keep: str, patience: int | None, chooses: str | None) -> None:
    settings: PhaseSettings = phase_settings(keep=keep, early_stopping={"patience": patience})
    assert settings.chooses == chooses
    assert (Selection.of(settings) is None) == (chooses is None)


@pytest.mark.parametrize(
    ("done", "every", "steps", "at"),
    [
        (0, 2, 6, [0, 2, 4, 6]),
        (0, 4, 6, [0, 4, 6]),
        (0, 9, 6, [0, 6]),
        (2, 2, 6, [4, 6]),
        (5, 2, 6, [6]),
        (6, 4, 6, []),
    ],
)
def test_evaluations_are_counted(done: int, every: int, steps: int, at: list[int]) -> None:
    assert count_evaluations(done, every, steps) == len(at)
