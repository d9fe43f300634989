"""What is wrong with an optimizer is found with a step on two small weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import Optimizer

from colbert_lab.settings.optimizer import MUON, problem_of
from colbert_lab.training.optim import optimizer_factory


class NeedsClosure(Optimizer):
    """One that looks for its step's length."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override]
        return closure()


HERE = f"{__name__}.NeedsClosure"


@pytest.mark.parametrize(
    ("settings", "key", "problem"),
    [
        ({"_target_": "torch.optim.LBFGS", "lr": 1.0}, "", "LBFGS doesn't support per-parameter options"),
        ({"_target_": "torch.optim.LBFGS", "lr": 1.0, "betas": [0.9, 0.999]}, "", "LBFGS doesn't support"),
        ({"_target_": HERE}, "", "it needs a closure, which training does not give"),
        ({"_target_": "torch.optim.SparseAdam"}, "", "SparseAdam does not support dense gradients"),
        ({"_target_": "torch.optim.Muon"}, "_target_", f"trains matrices alone; {MUON} has it for those and AdamW"),
        ({"_target_": MUON, "momentum": -1.0}, "", "momentum should be >= 0"),
        ({"_target_": MUON, "adjust_lr_fn": "none"}, "", "Adjust learning rate function none is not supported"),
        ({"_target_": MUON, "betas": [0.9, 1.5]}, "", "Invalid beta"),
        ({"_target_": "torch.optim.SGD", "lr": -1.0}, "", "Invalid learning rate"),
        ({"_target_": "torch.optim.SGD", "lr": 1e39}, "", "cannot be converted to type float without overflow"),
        ({"_target_": "torch.optim.SGD", "lr": 1.0, "weight_decay": 1e39}, "", "without overflow"),
        ({"_target_": "torch.optim.SGD", "lr": 1e20, "weight_decay": 1e30}, "", "weights that are not finite"),
        ({"_target_": "torch.optim.SGD", "lr": 1e-3, "betas": [0.9, 0.999]}, "betas", "SGD has no such argument"),
        ({"_target_": "torch.optim.AdamW", "betas": 0.9}, "betas", "must be a list of 2 numbers"),
        ({"_target_": "torch.optim.AdamW", "betas": [0.9, float("nan")]}, "betas", "must be a finite number"),
        ({"_target_": "torch.optim.AdamW", "fused": "maybe"}, "fused", "must be true or false"),
        ({"_target_": "torch.nn.Linear"}, "_target_", "is no optimizer class"),
        ({"lr": 1e-3}, "", "must name a class of optimizers"),
        (None, "", "must name a class of optimizers"),
    ],
)  # fmt: skip
def test_one_that_cannot_train(settings: Any, key: str, problem: str) -> None:
    found = problem_of(settings)
    assert found is not None
    assert found[0] == key
    assert problem in found[2]


def test_whole_numbers_are_numbers() -> None:
    settings = {"_target_": "torch.optim.AdamW", "lr": 1, "betas": [0, 0.9]}
    assert problem_of(settings) is None
    (group,) = optimizer_factory(settings)([torch.nn.Parameter(torch.ones(2))]).param_groups
    assert group["betas"] == (0.0, 0.9)


OTHERS = [f"torch.optim.{name}" for name in ("AdamW", "SGD", "Adafactor", "RMSprop", "NAdam", "Adagrad")]


@pytest.mark.parametrize("name", [*OTHERS, MUON])
def test_others_can(name: str) -> None:
    before = torch.get_rng_state()
    assert problem_of({"_target_": name, "lr": 1e-3, "fused": None}) is None
    assert torch.equal(before, torch.get_rng_state())
