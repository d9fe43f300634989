"""The evaluation that a config asks for: its evaluator, the systems beside the student, the cut read while training.

Phases whose students values on dev decide: whether the config has such values, and what identifies them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.evaluation.evaluator import EXACT, Evaluator, FirstStage
from colbert_lab.evaluation.measure import Measure
from colbert_lab.evaluation.measures import KINDS, parse_measure
from colbert_lab.evaluation.searching import keeping_of
from colbert_lab.model.student import Student
from colbert_lab.records.means import split_weights
from colbert_lab.search.mode import SearchSettings
from colbert_lab.settings import Settings
from colbert_lab.settings.evaluation import DevCutSettings, EvaluationSettings
from colbert_lab.settings.groups import EarlyStoppingSettings
from colbert_lab.settings.roles import Role, keys
from colbert_lab.settings.typed import check_used, instantiated, made
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.text.collections.cut import cut_split
from colbert_lab.text.collections.splits import DEV_NAMES, is_dev
from colbert_lab.training.prepare import PreparedPhase

log = logging.getLogger(__name__)
OWN_MEASURES = "evaluation.own_measures"
ROUNDING = tuple(f"evaluation.{key}" for key in keys(EvaluationSettings, has=Role.ROUNDING))
"""Settings of the evaluation that decide the last digits of its values and are not in the protocol."""


def own_measures(settings: EvaluationSettings) -> dict[str, Measure]:
    """The measures of a class of their own, by the kinds in the names of measures.

    Args:
        settings: of the evaluation.

    Raises:
        InputError: one is no measure.
    """
    return instantiated(settings.own_measures, OWN_MEASURES, Measure, "measure", KINDS)


def check_kinds(settings: EvaluationSettings, overrides: Sequence[str]) -> None:
    """Whether there are the splits and measures that the config names, before anything is loaded.

    Args:
        settings: of the evaluation.
        overrides: what the user gave on the command line, to find settings without effect.

    Raises:
        InputError: an unknown split or measure, one of a class that is none, or a setting without effect.
    """
    for each in settings.measured:
        if each not in settings.splits:
            there = ", ".join(settings.splits) or "none"
            raise InputError(f"evaluation.measured: evaluation.splits has no {each}; there are {there}")
    own = own_measures(settings)
    used = [parse_measure(measure, own)[0] for measure in settings.measures]
    check_used(own, used, OWN_MEASURES, "evaluation.measures=[NAME@10]", overrides)


def check_measures(settings: EvaluationSettings, splits: Mapping[str, Split]) -> None:
    """Check ``evaluation`` before anything is computed or written.

    Args:
        settings: the ``evaluation`` part of the config.
        splits: the loaded splits.

    Raises:
        InputError: an unknown measure, a mean of splits that do not exist, or a headline that is not measured or not
            on a dev split.
    """
    for measure in settings.measures:
        if parse_measure(measure, settings.own_measures)[1] > settings.depth:
            raise InputError(
                f"evaluation.measures: {measure} looks deeper than evaluation.depth={settings.depth}"
            )
    split_weights(settings.means, list(splits), settings.splits)
    small = [key for key, split in splits.items() if len(split.corpus) < settings.depth]
    if names := ", ".join(key for key in small if not splits[key].candidates):
        log.info(
            "evaluation.depth=%d: rankings hold all documents of %s, which has fewer", settings.depth, names
        )
    if settings.headline is None:
        return
    key, _, measure = settings.headline.rpartition("/")
    name = f"evaluation.headline={settings.headline}"
    if measure not in settings.measures:
        raise InputError(
            f"{name}: {measure} is not among evaluation.measures ({', '.join(settings.measures)})"
        )
    if key not in settings.splits:
        raise InputError(f"{name}: evaluation.splits has no {key}; there are {', '.join(settings.splits)}")
    if settings.measured and key not in settings.measured:
        raise InputError(f"{name}: {key} is not among evaluation.measured ({', '.join(settings.measured)})")
    if key in splits and not is_dev(splits[key]):
        raise InputError(f"{name}: nothing selects on test; name a dev split ({', '.join(DEV_NAMES)})")


def measured_splits(settings: EvaluationSettings, splits: Mapping[str, Split]) -> dict[str, Split]:
    """The splits that ``evaluation.measured`` names, all where it names none.

    Args:
        settings: of the evaluation.
        splits: the loaded splits; an entry with candidate lists of several sources is ``<name>.<source>`` here.
    """
    wanted = settings.measured
    return {
        key: split
        for key, split in splits.items()
        if not wanted or any(f"{key}.".startswith(f"{each}.") for each in wanted)
    }


def build_evaluator(
    settings: Settings,
    splits: Mapping[str, Split],
    search: SearchSettings,
    first_stage: FirstStage | None = None,
    processes: int = 1,
    owner: Path | None = None,
) -> Evaluator:
    """The evaluator of a run.

    Args:
        settings: the config.
        splits: evaluation splits by name.
        search: how they are searched.
        first_stage: what the mode ``rerank`` reranks.
        processes: that encode corpora together.
        owner: the run's folder.
    """
    evaluation = settings.evaluation
    return Evaluator(
        splits,
        evaluation.measures,
        evaluation.depth,
        evaluation.token_budget,
        evaluation.precision,
        search,
        keeping_of(evaluation, settings.cache, processes, owner),
        first_stage,
        own_measures(evaluation),
    )


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
            log.warning(
                "phases.%s.evaluate_every=%d has no effect: there is no dev split, and no other is read while "
                "training; set it to null, or add a dev split to evaluation.splits",
                phase, every,
            )  # fmt: skip
        return None
    name, small = found
    evaluator = build_evaluator(settings, {name: small}, SearchSettings(), owner=owner)

    def evaluate(student: Student, step: int) -> Mapping[str, float]:
        (result,) = evaluator.evaluate_student(student, f"step {step}", progress=False)
        return {f"{name}/{measure}": result.per_query.mean(measure) for measure in evaluator.measures}

    return evaluate


def systems_beside(baselines: Any, data: Sequence[Any]) -> dict[str, Scorer]:
    """The configured baselines, and the teacher when it can score any text.

    Args:
        baselines: ``evaluation.baselines``.
        data: the configured sources of training data.
    """
    systems: dict[str, Scorer] = dict(made(baselines) or {})
    if teachers := [source.teacher for source in data if source.teacher is not None]:
        systems["teacher"] = teachers[0]
    return systems


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
