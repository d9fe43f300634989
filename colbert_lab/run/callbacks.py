"""The callbacks that ``trainer.callbacks`` names: those of Lightning, and a user's own."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from pkgutil import resolve_name
from traceback import extract_tb
from typing import Any

import torch
from pytorch_lightning.callbacks import (
    BatchSizeFinder,
    Callback,
    Checkpoint,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ProgressBar,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)

from colbert_lab.base.errors import InputError
from colbert_lab.run.loggers import filled
from colbert_lab.settings.typed import NAME, instance_of

KEY = "trainer.callbacks"
INSTEAD: Mapping[type[Callback], str] = {
    BatchSizeFinder: "phases.NAME.batch_size, which decides the loss",
    Checkpoint: "phases.NAME.checkpoint_every, and phases.NAME.keep for the best student on dev",
    EarlyStopping: "phases.NAME.early_stopping, which reads the values on dev",
    GradientAccumulationScheduler: "phases.NAME.accumulation",
    LearningRateFinder: "hydra/sweeper=optuna, which searches phases.NAME.optimizer.lr by dev",
    ProgressBar: "progress",
    StochasticWeightAveraging: "phases.NAME.ema",
    Timer: "trainer.lightning.max_time",
    WeightAveraging: "phases.NAME.ema",
}
"""Callbacks of Lightning's that would decide once more what a setting decides, and the setting."""
HOOKS = [name for name, each in vars(Callback).items() if callable(each) and not name.startswith("_")]
STATE, SAVE = "state_dict", "on_save_checkpoint"


def check_callbacks(callbacks: Mapping[str, Any]) -> None:
    """Whether ``trainer.callbacks`` names callbacks that can be made; each is made once, and forgotten.

    Args:
        callbacks: name to settings with a ``_target_``.

    Raises:
        InputError: a name that is none, a class that is no callback or cannot be made, one that another setting takes
            the place of, or two whose states a checkpoint could not tell apart.
    """
    states: dict[str, str] = {}
    for name, chosen in callbacks.items():
        key = f"{KEY}.{name}"
        if not NAME.fullmatch(name):
            raise InputError(f"{key}: must have a name of small letters, digits and _")
        if not isinstance(chosen, Mapping) or not isinstance(chosen.get("_target_"), str):
            raise InputError(f"{key}: names no class; give its _target_")
        target = f"{key}._target_={chosen['_target_']}"
        made = resolve_name(chosen["_target_"])
        if isinstance(made, type) and issubclass(made, Callback):
            if instead := next((INSTEAD[kind] for kind in INSTEAD if issubclass(made, kind)), None):
                raise InputError(f"{target}: has no place in a phase; set {instead}")
            if getattr(getattr(made, "__dataclass_params__", None), "frozen", False):
                raise InputError(
                    f"{target}: is a frozen dataclass, in which Lightning cannot set what it has to"
                )
        one = _made(chosen, name)
        if _overrides(one, STATE) and (other := states.setdefault(one.state_key, name)) != name:
            raise InputError(
                f"{key}: has the state_key of {KEY}.{other} ({one.state_key}), by which checkpoints tell the states of "
                "callbacks apart; give its class a state_key of its settings"
            )


def made_callbacks(callbacks: Mapping[str, Any], places: Mapping[str, str]) -> list[Callback]:
    """The callbacks of one phase, in the order of their names in the config.

    What one of them raises is an error that names it, and what it keeps in checkpoints is looked at.

    Args:
        callbacks: name to settings with a ``_target_``.
        places: what is filled in where texts of theirs have it in braces, see
            :func:`colbert_lab.run.loggers.places_of`.
    """
    return [
        guarded(_made(filled(chosen, places), name), f"{KEY}.{name}") for name, chosen in callbacks.items()
    ]


def _made(chosen: Mapping[str, Any], name: str) -> Callback:
    return instance_of(chosen, f"{KEY}.{name}", Callback, "callback of Lightning")


def guarded(callback: Callback, key: str) -> Callback:
    """The same callback, whose methods raise errors that name it.

    Args:
        callback: changed in place: Lightning asks its class which methods it has.
        key: its whole key.
    """
    for hook in filter(lambda name: _overrides(callback, name), HOOKS):
        setattr(callback, hook, _named(getattr(callback, hook), f"{key}: {hook}"))
    return callback


def _overrides(callback: Callback, hook: str) -> bool:
    return getattr(type(callback), hook) is not getattr(Callback, hook)


def _named(method: Callable[..., Any], what: str) -> Callable[..., Any]:
    """A method whose errors begin with what it is; checkpoints give back what it adds to them."""

    @wraps(method)
    def called(*args: Any, **given: Any) -> Any:
        before = set(args[-1]) if method.__name__ == SAVE else set()
        try:
            found = method(*args, **given)
        except Exception as error:
            place = extract_tb(error.__traceback__)[-1]
            raise InputError(
                f"{what} raised {type(error).__name__}: {' '.join(str(error).split())} "
                f"({Path(place.filename).name}, line {place.lineno})"
            ) from error
        if method.__name__ == STATE:
            _check_state(found, what)
        elif method.__name__ == SAVE:
            _check_state({name: value for name, value in args[-1].items() if name not in before}, what)
        return found

    return called


def _check_state(state: Any, what: str) -> None:
    """Whether a checkpoint that is read without running code gives a state back."""
    file = io.BytesIO()
    try:
        torch.save(state, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception as error:
        raise InputError(
            f"{what} keeps what a checkpoint cannot give back without running code; keep tensors, numbers, texts, and "
            f"lists and mappings of them ({' '.join(str(error).split())[:100]}...)"
        ) from error
