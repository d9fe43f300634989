"""Values on dev while a phase trains: the cut that is read, and phases whose students such values decide."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.progress import without_bars
from colbert_lab.base.types import DEV_NAMES, Split
from colbert_lab.evaluation.evaluator import EXACT
from colbert_lab.model.student import Student
from colbert_lab.run.evaluating import build_evaluator
from colbert_lab.search.mode import SearchSettings
from colbert_lab.settings import Settings
from colbert_lab.settings.evaluation import DevCutSettings, EvaluationSettings
from colbert_lab.settings.groups import EarlyStoppingSettings
from colbert_lab.settings.roles import Role, keys
from colbert_lab.text.collections.cut import cut_split
from colbert_lab.text.collections.splits import is_dev
from colbert_lab.training.prepare import PreparedPhase

log = logging.getLogger(__name__)
ROUNDING = tuple(f"evaluation.{key}" for key in keys(EvaluationSettings, has=Role.ROUNDING))
"""Settings of the evaluation that decide the last digits of its values and are not in the protocol."""


def split_while_training(size: DevCutSettings, splits: Mapping[str, Split]) -> tuple[str, Split] | None:
    """Name and content of what is evaluated while training; None without a dev split.

    Args:
        size: how much of it.
        splits: evaluation splits by name.
    """
    key = next((key for key, split in splits.items() if is_dev(split)), None)
    if key is None:
        return None
    split = splits[key]
    documents = size.documents and min(size.documents, len(split.corpus))
    queries = size.queries and min(size.queries, len(split.queries))
    return f"{key}_small", cut_split(split, documents, queries)


def while_training(
    settings: Settings, splits: Mapping[str, Split], phase: str, owner: Path
) -> Callable[[Student, int], Mapping[str, float]] | None:
    """What is evaluated during training: a cut of the first dev split.

    Args:
        settings: the config.
        splits: evaluation splits by name.
        phase: the phase that is to be trained.
        owner: the run's folder.

    Returns:
        None when there is no dev split; nothing is then evaluated while training.
    """
    found = split_while_training(settings.evaluation.during_training, splits)
    if found is None:
        if every := settings.phases[phase].evaluate_every:
            log.info(
                "%s: no value is read while training (phases.%s.evaluate_every=%d): there is no dev split, and no "
                "other is read then; add one to evaluation.splits",
                phase, phase, every,
            )  # fmt: skip
        return None
    name, small = found
    evaluator = build_evaluator(settings, {name: small}, SearchSettings(), owner=owner)

    def evaluate(student: Student, step: int) -> Mapping[str, float]:
        if without_bars():
            log.info("%s, step %d: reading %s", phase, step, name)
        (result,) = evaluator.evaluate_student(student, f"step {step}", progress=False)
        values = {f"{name}/{measure}": result.per_query.mean(measure) for measure in evaluator.measures}
        first, value = next(iter(values.items()))
        log.info("%s, step %d: %s %.4f (%.0f s)", phase, step, first, value, result.seconds)
        return values

    return evaluate


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
