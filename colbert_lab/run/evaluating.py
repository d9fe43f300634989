"""The evaluation that a config asks for: its measures, its evaluator, the systems beside the student."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import DEV_NAMES, Split
from colbert_lab.evaluation.evaluator import Evaluator, FirstStage
from colbert_lab.evaluation.measure import Measure
from colbert_lab.evaluation.measures import KINDS, parse_measure
from colbert_lab.evaluation.searching import keeping_of
from colbert_lab.records.means import split_weights
from colbert_lab.records.runs import BEFORE
from colbert_lab.search.mode import SearchSettings
from colbert_lab.settings import Settings
from colbert_lab.settings.evaluation import EvaluationSettings
from colbert_lab.settings.typed import check_used, instantiated, made
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.text.collections.splits import is_dev

log = logging.getLogger(__name__)
OWN_MEASURES = "evaluation.own_measures"


def own_measures(settings: EvaluationSettings) -> dict[str, Measure]:
    """The measures of a class of their own, by the kinds in the names of measures.

    Args:
        settings: of the evaluation.

    Raises:
        InputError: one is no measure.
    """
    return instantiated(settings.own_measures, OWN_MEASURES, Measure, "measure", KINDS)


def check_kinds(settings: EvaluationSettings, overrides: Sequence[str], schedule: Sequence[str]) -> None:
    """Whether there are the splits, phases and measures that the config names, before anything is loaded.

    Args:
        settings: of the evaluation.
        overrides: what the user gave on the command line, to find settings without effect.
        schedule: the phases of the run; none where a student is only measured.

    Raises:
        InputError: an unknown split, phase or measure, a last phase that is not measured, a class that is no measure,
            or a setting without effect.
    """
    _check_after(settings.after, schedule)
    for each in settings.measured:
        if each not in settings.splits:
            there = ", ".join(settings.splits) or "none"
            raise InputError(f"evaluation.measured: evaluation.splits has no {each}; there are {there}")
    own = own_measures(settings)
    used = [parse_measure(measure, own)[0] for measure in settings.measures]
    for measure in settings.measures:
        if parse_measure(measure, own)[1] > settings.depth:
            raise InputError(
                f"evaluation.measures: {measure} looks deeper than evaluation.depth={settings.depth}"
            )
    _check_headline(settings)
    check_used(own, used, OWN_MEASURES, "evaluation.measures=[NAME@10]", overrides)


def _check_after(after: Sequence[str], schedule: Sequence[str]) -> None:
    """Whether ``evaluation.after`` names phases of the schedule, the last one among them."""
    if not after:
        return
    if not schedule:
        raise InputError("evaluation.after: has no effect without training; leave it out")
    for each in after:
        if each not in (BEFORE, *schedule):
            raise InputError(
                f"evaluation.after: schedule has no {each}; there are {', '.join((BEFORE, *schedule))}"
            )
    if schedule[-1] not in after:
        raise InputError(
            f"evaluation.after: the last phase, {schedule[-1]}, must be measured; add it to the list"
        )


def is_measured(settings: EvaluationSettings, phase: str) -> bool:
    """Whether students are measured after a phase.

    Args:
        settings: of the evaluation.
        phase: its name, ``before`` for the start, or ``evaluate``.
    """
    return not settings.after or phase in settings.after


def check_measures(settings: EvaluationSettings, splits: Mapping[str, Split]) -> None:
    """Check ``evaluation`` before anything is computed or written.

    Args:
        settings: the ``evaluation`` part of the config.
        splits: the loaded splits.

    Raises:
        InputError: an unknown measure, a mean of splits that do not exist, or a headline that is not measured or not
            on a dev split.
    """
    split_weights(settings.means, list(splits), settings.splits)
    small = [key for key, split in splits.items() if len(split.corpus) < settings.depth]
    if names := ", ".join(key for key in small if not splits[key].candidates):
        log.info(
            "evaluation.depth=%d: rankings hold all documents of %s, which has fewer", settings.depth, names
        )
    if settings.headline is None:
        return
    key = settings.headline.rpartition("/")[0]
    if key in splits and not is_dev(splits[key]):
        raise InputError(
            f"evaluation.headline={settings.headline}: nothing selects on test; name a dev split "
            f"({', '.join(DEV_NAMES)})"
        )


def _check_headline(settings: EvaluationSettings) -> None:
    """Whether the headline is a measure and a split that the config measures."""
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


def systems_beside(settings: EvaluationSettings, data: Sequence[Any]) -> dict[str, Scorer]:
    """The configured baselines, and the teacher when it is wanted and can score any text.

    Args:
        settings: of the evaluation.
        data: the configured sources of training data.
    """
    systems: dict[str, Scorer] = dict(made(settings.baselines) or {})
    if not settings.without_teacher and (
        teachers := [source.teacher for source in data if source.teacher is not None]
    ):
        systems["teacher"] = teachers[0]
    return systems
