"""Optimizers with parameter groups, and learning-rate schedules."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from colbert_lab.errors import InputError
from colbert_lab.student.colbert import ColBERT
from colbert_lab.student.depth import depths

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SCHEDULES = ("linear", "cosine", "constant")


def optimizer_factory(settings: Mapping[str, Any]) -> OptimizerFactory:
    """What makes the optimizer of a phase from parameter groups.

    Args:
        settings: ``_target_`` (any optimizer class, such as torch.optim.SGD) and its arguments; null leaves an argument
            to the optimizer's own default.

    Raises:
        InputError: no such class, or one that has no such argument or does not take its value.
    """
    given = {key: value for key, value in settings.items() if not key.startswith("_") and value is not None}
    target = settings.get("_target_")
    try:
        made = resolve_name(str(target))
    except Exception as error:
        raise InputError(f"optimizer._target_={target}: cannot be imported") from error
    if not (isinstance(made, type) and issubclass(made, Optimizer)):
        raise InputError(f"optimizer._target_={target}: is no optimizer class")
    known = inspect.signature(made).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for key in given:
        if key not in known and not open_ended:
            raise InputError(f"optimizer.{key}: {target} has no such argument; set it to null")
    factory: OptimizerFactory = partial(made, **given)
    try:
        factory([{"params": [nn.Parameter(torch.zeros(1))]}])
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"optimizer: {str(error).splitlines()[0]}") from error
    return factory


def make_optimizer(
    factory: OptimizerFactory,
    module: nn.Module,
    model: ColBERT,
    head_lr: float | None = None,
    layer_decay: float | None = None,
) -> Optimizer:
    """The optimizer of all trainable parameters.

    Matrices have the optimizer's weight decay; biases, norms and a learned temperature are spared it. The learning rate
    of a parameter is the optimizer's, but for

    - the head: ``head_lr``, if given;
    - the backbone with ``layer_decay`` d: counted from its end, layer n has d^n times that rate (the last layer d) and
      the embeddings have d to the number of layers plus one, as in BEiT's fine-tuning (Bao et al. 2022) and, one power
      apart, ELECTRA's (Clark et al. 2020). What follows the last layer, such as a final norm, has the full rate.

    Args:
        factory: see :func:`optimizer_factory`.
        module: owns the parameters: the model, and perhaps a temperature.
        model: the network in it.
        head_lr: learning rate of the head.
        layer_decay: see above.

    Raises:
        InputError: a setting is out of range, or has nothing to work on.
    """
    if head_lr is not None and not head_lr > 0:
        raise InputError(f"head_lr={head_lr}: must be above 0")
    if head_lr is not None and not any(p.requires_grad for p in model.head.parameters()):
        raise InputError(
            f"head_lr={head_lr}: has no effect, the student has no head to train; set it to null"
        )
    if layer_decay is not None and not 0 < layer_decay < 1:
        raise InputError(f"layer_decay={layer_decay}: must be between 0 and 1; null is off")
    head = {id(parameter) for parameter in model.head.parameters()}
    scales = {} if layer_decay is None else _scales(model, layer_decay)
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            of_head = head_lr is not None and id(parameter) in head
            kind = (of_head, scales.get(id(parameter), 1.0), parameter.ndim < 2)
            groups.setdefault(kind, []).append(parameter)
    kinds = sorted(groups, key=lambda kind: (kind[0], -kind[1], kind[2]))
    spared = [{"weight_decay": 0.0} if kind[2] else {} for kind in kinds]
    optimizer = factory([{"params": groups[kind]} | more for kind, more in zip(kinds, spared, strict=True)])
    for (of_head, scale, _), group in zip(kinds, optimizer.param_groups, strict=True):
        group["lr"] = head_lr if of_head else group["lr"] * scale
    return optimizer


def _scales(model: ColBERT, layer_decay: float) -> dict[int, float]:
    """By id of a backbone's parameter, what its learning rate is multiplied with."""
    found, layers = depths(model.backbone)
    parameters = dict(model.backbone.named_parameters())
    return {id(parameters[name]): layer_decay ** (layers + 1 - depth) for name, depth in found.items()}


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
        optimizer: whose learning rates to drive; every parameter group goes through the same shares of its own rate.
        name: see :func:`warmup_steps`, like the settings that follow.
        warmup: see there.
        max_steps: see there.
    """
    steps = warmup_steps(name, warmup, max_steps)
    full = "constant_with_warmup" if name == "constant" else name
    return get_scheduler(full, optimizer, num_warmup_steps=steps, num_training_steps=max_steps)  # type: ignore[no-any-return]
