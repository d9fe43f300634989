"""How much a phase trains: its optimizer steps, and what flags of Lightning's Trainer (``trainer.lightning``) leave."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.callbacks import Timer

from colbert_lab.base.errors import InputError
from colbert_lab.settings.groups import PhaseSettings, check_length
from colbert_lab.settings.lightning import KEY
from colbert_lab.training.data import MicroBatches
from colbert_lab.training.phase_files import TimeLimit

log = logging.getLogger(__name__)
LIMIT, REPEAT, TIME = "limit_train_batches", "overfit_batches", "max_time"


def count_steps(
    name: str, settings: PhaseSettings, per_epoch: int, flags: Mapping[str, Any] | None = None
) -> int:
    """Optimizer steps of a phase, from ``steps`` or ``epochs``, and ``limit_train_batches``.

    Args:
        name: the phase's name.
        settings: the phase's settings.
        per_epoch: micro-batches in one pass over the data.
        flags: ``trainer.lightning``.

    Raises:
        InputError: both or neither are set, or nothing would be trained.
    """
    steps, epochs = settings.steps, settings.epochs
    check_length(name, steps, epochs)
    total = steps if epochs is None else math.floor(epochs * per_epoch / settings.accumulation)
    assert total is not None
    if total < 1:
        raise InputError(
            f"phases.{name}: no optimizer step to take; raise steps or epochs, or lower batch_size"
        )
    limit = (flags or {}).get(LIMIT)
    if limit is None:
        return total
    left = share_of(limit, total * settings.accumulation) // settings.accumulation
    if left < 1:
        raise InputError(
            f"{KEY}.{LIMIT}={limit}: leaves no optimizer step of phases.{name}.accumulation={settings.accumulation} "
            "micro-batches; raise it"
        )
    log.info("%s: %s.%s=%s leaves %d of %d optimizer steps", name, KEY, LIMIT, limit, left, total)
    return left


def repeated(name: str, batches: MicroBatches, flags: Mapping[str, Any]) -> MicroBatches:
    """A phase's micro-batches, or with ``overfit_batches`` the first of them again and again.

    Args:
        name: the phase's name.
        batches: all of them.
        flags: ``trainer.lightning``.

    Raises:
        InputError: there would be none.
    """
    asked = flags.get(REPEAT)
    if not asked:
        return batches
    n = share_of(asked, batches.per_epoch)
    if n < 1:
        raise InputError(
            f"{KEY}.{REPEAT}={asked}: is less than one of the {batches.per_epoch} micro-batches of phases.{name}; "
            "raise it"
        )
    log.info("%s: %s.%s=%s: its micro-batches are the first %d, again and again", name, KEY, REPEAT, asked, n)
    return batches.repeating(n)


def share_of(asked: float, n: int) -> int:
    """How many of ``n`` micro-batches are asked for, as Lightning reads it: a whole number, or a share up to 1.0."""
    return min(int(asked), n) if isinstance(asked, int) or asked > 1 else int(n * asked)


def time_limit(name: str, flags: Mapping[str, Any]) -> TimeLimit | None:
    """How long a phase may train in one command, ``max_time`` as Lightning reads it; None for as long as it takes.

    Lightning's own timer counts the time of all commands together: one that goes on would end at once.

    Args:
        name: the phase's name.
        flags: ``trainer.lightning``.
    """
    asked = flags.get(TIME)
    seconds = Timer(asked).time_remaining()
    return None if seconds is None else TimeLimit(seconds, f"{KEY}.{TIME}={asked}", name)
