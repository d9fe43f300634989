"""The evaluation that a config asks for: its measures, its evaluator, the systems beside the student."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.evaluation.evaluator import Evaluator, FirstStage
from colbert_lab.evaluation.measure import Measure
from colbert_lab.evaluation.measures import KINDS, parse_measure
from colbert_lab.evaluation.searching import keeping_of
from colbert_lab.records.means import split_weights
from colbert_lab.search.mode import SearchSettings
from colbert_lab.settings import Settings
from colbert_lab.settings.evaluation import EvaluationSettings
from colbert_lab.settings.typed import check_used, instantiated, made
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.text.collections.splits import DEV_NAMES, is_dev

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
    for measure in settings.measures:
        if parse_measure(measure, own)[1] > settings.depth:
            raise InputError(
                f"evaluation.measures: {measure} looks deeper than evaluation.depth={settings.depth}"
            )
    _check_headline(settings)
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
