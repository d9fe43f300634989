"""What a module sums up between two points of its curves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import Diverged, InputError
from colbert_lab.training import watch
from colbert_lab.training.checks import objective_from
from colbert_lab.training.module import StudentModule
from colbert_lab.training.objectives.contrastive import Contrastive
from colbert_lab.training.objectives.objective import Objective
from colbert_lab.training.objectives.term import Scored, scores_alone
from colbert_lab.training.optim import Optimization
from colbert_lab.training.watch import Watch
from tests.toy import new_student
from tests.training.support import phase_settings


@pytest.fixture
def module(student_settings: dict[str, Any]) -> StudentModule:
    made = StudentModule(
        new_student(**student_settings).model,
        objective_from(phase_settings().objective),
        Optimization(torch.optim.SGD, "constant", 0, 1),
        log_every=1,
        token_budget=64,
        recompute=False,
    )
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.5}])
    made._trainer = SimpleNamespace(optimizers=[optimizer], _accelerator_connector=None)  # type: ignore[assignment]
    return made


def test_what_is_no_number_has_no_weight_in_a_mean(module: StudentModule) -> None:
    module._add("loss", torch.tensor(1.0))
    module._add("loss", torch.tensor(torch.nan))
    module._add("loss", torch.tensor([2.0, 6.0, torch.nan]))
    module._add("gradient_norm", torch.tensor(torch.nan))
    point = module.point()
    assert point["train/loss"] == 3.0
    assert "train/gradient_norm" not in point  # it saw no number
    assert "train/list_mrr" not in point  # nor was it updated
    assert point["train/lr"] == 0.5
    module._add("loss", torch.tensor(4.0))
    assert module.point()["train/loss"] == 4.0


def test_what_was_summed_goes_on(module: StudentModule) -> None:
    module._add("loss", torch.tensor([1.0, 2.0]))
    kept = module.sums()
    module.point()
    module.set_sums(kept)
    module._add("loss", torch.tensor(6.0))
    assert module.point()["train/loss"] == 3.0


def test_all_processes_take_a_loss_of_one_for_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one of them would stop, and the others wait for it."""
    asked: list[bool] = []

    def gathered(own: bool) -> list[bool]:
        asked.append(own)
        return [own, True]

    monkeypatch.setattr(watch, "gather_states", gathered)
    nan, own = torch.tensor(torch.nan), Watch("distill", lambda k: [f"q{k}"])
    own.loss(torch.tensor(1.0))
    assert not own.gradient(nan, 0, 1, lambda: 1024.0)
    own.loss(torch.tensor(1.0))
    with pytest.raises(Diverged, match="the gradient of step 2 is not a finite number"):
        own.gradient(nan, 1, 1, lambda: 1024.0)
    assert asked == [False, False]


def test_what_a_term_logs_is_a_curve_of_its_own(student_settings: dict[str, Any]) -> None:
    made = StudentModule(
        new_student(**student_settings).model,
        Objective({"one": Contrastive(temperature=1.0), "two": Contrastive(temperature=1.0)}),
        Optimization(torch.optim.SGD, "constant", 0, 1),
        log_every=1,
        token_budget=64,
        recompute=False,
    )
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.5}])
    made._trainer = SimpleNamespace(optimizers=[optimizer], _accelerator_connector=None)  # type: ignore[assignment]
    batch: Any = SimpleNamespace(keys_N=torch.zeros(2, dtype=torch.int64))
    for values in ([1.0, 0.0], [1.0, torch.nan, 1.0]):
        scored = Scored(batch, scores_alone, scores_alone)
        scored.log("accuracy", torch.tensor(values))
        made._add_parts("one", scored)
        assert not scored.logged
        made._add_parts("two", scored)
    point = made.point()
    assert point["train/one_accuracy"] == 0.75
    assert "train/two_accuracy" not in point  # it logged nothing
    scored.log("precision", torch.ones(2))
    with pytest.raises(
        InputError, match=r"objective\.one: logs precision, which its class does not name in parts"
    ):
        made._add_parts("one", scored)
