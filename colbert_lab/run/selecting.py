"""Phases whose students values on dev decide: whether the config has such values, and what identifies them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.evaluation.evaluator import EXACT
from colbert_lab.model.student import Student
from colbert_lab.run.evaluating import build_evaluator, split_while_training
from colbert_lab.search.mode import SearchSettings
from colbert_lab.settings import Settings
from colbert_lab.settings.evaluation import EvaluationSettings
from colbert_lab.settings.groups import EarlyStoppingSettings
from colbert_lab.settings.roles import Role, keys
from colbert_lab.text.collections.splits import DEV_NAMES, is_dev
from colbert_lab.training.prepare import PreparedPhase

log = logging.getLogger(__name__)
ROUNDING = tuple(f"evaluation.{key}" for key in keys(EvaluationSettings, has=Role.ROUNDING))
"""Settings of the evaluation that decide the last digits of its values and are not in the protocol."""


def check_selection(settings: Settings) -> None:
    """Whether phases that are decided by values on dev have such values, before anything is loaded.

    Args:
        settings: the config.

    Raises:
        InputError: they have not.
    """
    for name in settings.trained:
        phase, key = settings.phases[name], f"phases.{name}"
        early = phase.early_stopping
        if early.patience is None and early.min_delta != EarlyStoppingSettings.min_delta:
            log.info("%s.early_stopping.min_delta: has no effect without early_stopping.patience", key)
        if phase.chooses is None:
            continue
        if phase.evaluate_every is None:
            raise InputError(
                f"{key}.{phase.chooses}: needs values on dev while training; set {key}.evaluate_every, in steps"
            )
        if early.measure not in settings.evaluation.measures:
            raise InputError(
                f"{key}.early_stopping.measure={early.measure}: is not among evaluation.measures "
                f"({', '.join(settings.evaluation.measures)})"
            )
        evaluation = settings.evaluation
        measured = [evaluation.splits.get(key) for key in evaluation.measured or evaluation.splits]
        entries = [entry for entry in measured if entry is not None]
        named = {entry.role or ("dev" if entry.split == "auto" else entry.split) for entry in entries}
        if not named & {*DEV_NAMES}:
            raise InputError(_no_dev(f"{key}.{phase.chooses}"))


def check_dev(settings: Settings, splits: Mapping[str, Split]) -> None:
    """Whether there is a dev split for them, once splits are loaded.

    Args:
        settings: the config.
        splits: evaluation splits by name.

    Raises:
        InputError: there is none.
    """
    for name in settings.trained:
        chooses = settings.phases[name].chooses
        if chooses is not None and not any(map(is_dev, splits.values())):
            raise InputError(_no_dev(f"phases.{name}.{chooses}"))


def _no_dev(key: str) -> str:
    return (
        f"{key}: no dev split is measured, and nothing selects on test; add a split named {', '.join(DEV_NAMES)}, or "
        "one with role=dev, to evaluation.splits"
    )


def selected_by(
    settings: Settings, splits: Mapping[str, Split], phase: PreparedPhase, student: Student
) -> dict[str, Any] | None:
    """What decides a phase's student beside its training: how often, on which text and how it is evaluated.

    Args:
        settings: the config.
        splits: evaluation splits by name.
        phase: the prepared phase.
        student: the one that the run starts from.

    Returns:
        It as plain values; None where values on dev decide nothing.
    """
    chosen = settings.phases[phase.name]
    found = split_while_training(settings.evaluation.during_training, splits)
    if chosen.chooses is None or found is None:
        return None
    name, split = found
    evaluator = build_evaluator(settings, {name: split}, SearchSettings())
    asked, measure = Student(student.model, phase.tokenizer), chosen.early_stopping.measure
    return {
        "every": chosen.evaluate_every,
        "measure": measure,
        "split": split.fingerprint,
        "protocol": evaluator.student_protocol(asked, name, EXACT) | evaluator.measured_by(measure),
        "rounding": {key: attrgetter(key)(settings) for key in ROUNDING},
    }
