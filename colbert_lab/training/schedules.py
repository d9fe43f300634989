"""Learning-rate schedules of a phase."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from colbert_lab.base.errors import InputError

WSD = "wsd"
NAMES = {"constant": "constant_with_warmup", WSD: "warmup_stable_decay"}
"""What transformers calls a schedule, where it has another name."""


class Spans(NamedTuple):
    """Optimizer steps of a schedule's parts.

    Attributes:
        warmup: of the linear warm-up.
        decay: of the decay at the end of ``wsd``; None for the others, which decay all along or not at all.
    """

    warmup: int
    decay: int | None


def spans_of(name: str, warmup: float, max_steps: int, decay: float | None = None) -> Spans:
    """How many steps the parts of a schedule take.

    Args:
        name: ``linear``, ``cosine``, ``constant`` or ``wsd``.
        warmup: below 1 a share of ``max_steps`` (rounded up, as in transformers), else a number of steps.
        max_steps: optimizer steps of the phase.
        decay: of ``wsd``, the share of ``max_steps`` in which the rate falls (rounded up); None for the others.

    Raises:
        InputError: a warm-up and a decay that are longer than the phase, a decay that has no effect, or none where it
            is needed.
    """
    if (decay is None) == (name == WSD):
        told = (
            "null: wsd needs" if decay is None else f"{decay:g}: has no effect with name={name}, only wsd has"
        )
        raise InputError(
            f"lr_schedule.decay={told} a share of the steps in which the rate falls, such as 0.1"
        )
    steps = math.ceil(warmup * max_steps) if warmup < 1 else int(warmup)
    if steps > max_steps:
        raise InputError(f"lr_schedule.warmup={warmup}: must be at most the {max_steps} steps of the phase")
    falling = None if decay is None else math.ceil(decay * max_steps)
    if falling is not None and steps + falling > max_steps:
        raise InputError(
            f"lr_schedule.decay={decay:g}: warm-up ({steps} steps) and decay ({falling}) are longer than the "
            f"{max_steps} steps of the phase; lower one of them"
        )
    return Spans(steps, falling)


def make_scheduler(
    optimizer: Optimizer, name: str, warmup: float, max_steps: int, decay: float | None = None
) -> LRScheduler:
    """A per-step schedule from transformers, after a linear warm-up.

    ``linear`` and ``cosine`` decay to 0 over all other steps and ``constant`` does not. ``wsd`` (warm-up, stable,
    decay; Hu et al. 2024, arXiv 2404.06395) keeps the full rate until a last share of the steps, in which it falls to 0
    along a line, as in Haegele et al. 2024 (arXiv 2405.18392).

    Args:
        optimizer: whose learning rates to drive; every parameter group goes through the same shares of its own rate.
        name: see :func:`spans_of`, like the settings that follow.
        warmup: see there.
        max_steps: see there.
        decay: see there.
    """
    spans = spans_of(name, warmup, max_steps, decay)
    own = {} if spans.decay is None else {"num_decay_steps": spans.decay, "decay_type": "linear"}
    return get_scheduler(  # type: ignore[no-any-return]
        NAMES.get(name, name),
        optimizer,
        num_warmup_steps=spans.warmup,
        num_training_steps=max_steps,
        scheduler_specific_kwargs=own,
    )
