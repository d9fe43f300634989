"""``phases.<name>.optimizer``: any class of PyTorch's optimizers, tried out before anything is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pkgutil import resolve_name
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from colbert_lab.settings.allowed import Allowed

TARGET = "_target_"
ELSEWHERE = ("capturable",)
"""Arguments that a CPU does not take, where it is tried out."""
HIDDEN = "hidden"
"""What a parameter group says of itself to classes with ``takes_hidden``: whether it holds matrices inside a backbone's
layers."""
MUON = "colbert_lab.training.optim.Muon"


def problem_of(settings: object) -> tuple[str, Any, str] | None:
    """What is wrong with the settings of an optimizer; None where it trains a student.

    Numbers have to be finite, and one step has to work on a small matrix and a vector, as a student has both, each with
    a gradient. That shows values out of the class's own ranges, classes that need a closure (LBFGS), sparse gradients
    (SparseAdam) or matrices alone (PyTorch's Muon), and weights that are not finite afterwards.

    Args:
        settings: ``_target_`` and its arguments, as configured; null leaves an argument to the class's own default.

    Returns:
        The key below the settings (empty for all of them), its value, and what is wrong with it.
    """
    if not isinstance(settings, Mapping) or TARGET not in settings:
        return "", settings, f"must name a class of optimizers: {{{TARGET}: torch.optim.AdamW, lr: 3e-5}}"
    target = settings[TARGET]
    try:
        made = resolve_name(str(target))
    except Exception:
        return TARGET, target, "cannot be imported"
    if not (isinstance(made, type) and issubclass(made, Optimizer)):
        return TARGET, target, "is no optimizer class"
    if made is torch.optim.Muon:
        return TARGET, target, f"trains matrices alone; {MUON} has it for those and AdamW for all else"
    given, known = arguments_of(settings), inspect.signature(made).parameters
    found = next(_wrong_arguments(made, given), None)
    if found is None or found[0] in known:
        return found or _wrong_step(made, given)
    # Without the arguments that it lacks, a class that cannot train still could not.
    return _wrong_step(made, {name: value for name, value in given.items() if name in known}) or found


def arguments_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the class is called with.

    Args:
        settings: as for :func:`problem_of`. In a list, whole numbers are numbers: PyTorch refuses ``betas=(0, 0.9)``.
    """
    return {
        name: [float(each) if type(each) is int else each for each in value]
        if isinstance(value, list)
        else value
        for name, value in settings.items()
        if not name.startswith("_") and value is not None
    }


def _wrong_arguments(made: type, given: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    known = inspect.signature(made).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for name, value in given.items():
        if name not in known:
            if not open_ended:
                yield name, value, f"{made.__name__} has no such argument; set it to null"
            continue
        default = known[name].default
        if isinstance(default, bool) or "bool" in str(known[name].annotation):
            wrong = None if isinstance(value, bool) else "must be true or false"
        elif isinstance(default, tuple):
            fits = isinstance(value, list) and len(value) == len(default)
            wrong = None if fits else f"must be a list of {len(default)} numbers"
            for each, usual in zip(value, default, strict=True) if fits else ():
                wrong = wrong or (None if each is usual is None else Allowed(numbers=True).wrong(each))
        else:
            is_number = isinstance(default, int | float)
            wrong = Allowed(numbers=True).wrong(value) if is_number else None
        if wrong:
            yield name, value, wrong


def _wrong_step(made: type, given: Mapping[str, Any]) -> tuple[str, Any, str] | None:
    weights = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))]
    used = {name: value for name, value in given.items() if name not in ELSEWHERE}
    try:
        first = {HIDDEN: True} if getattr(made, "takes_hidden", False) else {}
        optimizer = made(
            [{"params": weights[:1]} | first, {"params": weights[1:], "weight_decay": 0.0}], **used
        )
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        said = "it needs a closure, which training does not give" if "'closure'" in text else text
        return "", made.__name__, f"cannot train a student: {said}"
    if not all(bool(weight.isfinite().all()) for weight in weights):
        return "", made.__name__, "makes weights that are not finite in one step; lower the learning rate"
    return None
