"""Optimizer parameter groups and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from colbert_lab.errors import InputError

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SCHEDULES = ("linear", "cosine", "constant")


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Two groups: matrices, which the optimizer's weight decay applies to, and biases and norms, which it spares."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim >= 2]},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]


def warmup_steps(name: str, warmup: float, max_steps: int) -> int:
    """Steps of linear warm-up of a schedule.

    Args:
        name: ``linear``, ``cosine`` or ``constant``.
        warmup: below 1 a share of ``max_steps`` (rounded up, as in transformers), else a number of steps.
        max_steps: optimizer steps of the phase.

    Raises:
        InputError: an unknown schedule, or a warm-up that is negative or longer than the phase.
    """
    if name not in SCHEDULES:
        raise InputError(f"lr_schedule.name={name}: must be one of {', '.join(SCHEDULES)}")
    steps = math.ceil(warmup * max_steps) if warmup < 1 else int(warmup)
    if not 0 <= steps <= max_steps:
        raise InputError(
            f"lr_schedule.warmup={warmup}: must be between 0 and the {max_steps} steps of the phase"
        )
    return steps


def make_scheduler(optimizer: Optimizer, name: str, warmup: float, max_steps: int) -> LRScheduler:
    """A per-step schedule from transformers: linear or cosine decay to 0, or constant, after warm-up.

    Args:
        optimizer: whose learning rates to drive.
        name: see :func:`warmup_steps`, like the settings that follow.
        warmup: see there.
        max_steps: see there.
    """
    steps = warmup_steps(name, warmup, max_steps)
    full = "constant_with_warmup" if name == "constant" else name
    return get_scheduler(full, optimizer, num_warmup_steps=steps, num_training_steps=max_steps)  # type: ignore[no-any-return]
