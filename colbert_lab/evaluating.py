"""The evaluation that a config asks for: its evaluator, the systems beside the student, the cut read while training."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra.utils
from omegaconf import DictConfig

from colbert_lab.errors import InputError
from colbert_lab.metrics.evaluator import Evaluator, FirstStage
from colbert_lab.metrics.measures import parse_measure
from colbert_lab.results.means import split_weights
from colbert_lab.retrieval.variants import SearchSettings
from colbert_lab.searching import keeping_of
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.text.cut import cut_split
from colbert_lab.text.splits import DEV_NAMES, is_dev
from colbert_lab.types import Split

log = logging.getLogger(__name__)


def check_measures(settings: DictConfig, splits: Mapping[str, Split]) -> None:
    """Check ``evaluation`` before anything is computed or written.

    Args:
        settings: the ``evaluation`` part of the config.
        splits: the loaded splits.

    Raises:
        InputError: an unknown measure, a mean of splits that do not exist, or a headline that is not measured or not
            on a dev split.
    """
    for measure in settings.measures:
        if parse_measure(measure)[1] > settings.depth:
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
    if key in splits and not is_dev(splits[key]):
        raise InputError(f"{name}: nothing selects on test; name a dev split ({', '.join(DEV_NAMES)})")


def build_evaluator(
    cfg: DictConfig,
    splits: Mapping[str, Split],
    search: SearchSettings,
    first_stage: FirstStage | None = None,
    processes: int = 1,
    owner: Path | None = None,
) -> Evaluator:
    """The evaluator of a run.

    Args:
        cfg: the checked config.
        splits: evaluation splits by name.
        search: how they are searched.
        first_stage: what the mode ``rerank`` reranks.
        processes: that encode corpora together.
        owner: the run's folder.
    """
    settings = cfg.evaluation
    return Evaluator(
        splits,
        list(settings.measures),
        settings.depth,
        settings.token_budget,
        settings.precision,
        search,
        keeping_of(settings, Path(cfg.cache_dir).expanduser(), processes, owner),
        first_stage,
    )


def split_while_training(cfg: DictConfig, splits: Mapping[str, Split]) -> tuple[str, Split] | None:
    """Name and content of what is evaluated while training; None without a dev split.

    Args:
        cfg: the checked config.
        splits: evaluation splits by name.
    """
    key = next((key for key, split in splits.items() if is_dev(split)), None)
    if key is None:
        return None
    settings, split = cfg.evaluation.during_training, splits[key]
    documents = _at_most(settings.documents, len(split.corpus))
    return f"{key}_small", cut_split(split, documents, _at_most(settings.queries, len(split.queries)))


def systems_beside(cfg: DictConfig, data: Sequence[Any]) -> dict[str, Scorer]:
    """The configured baselines, and the teacher when it can score any text.

    Args:
        cfg: the checked config.
        data: the configured sources of training data.
    """
    systems: dict[str, Scorer] = dict(
        hydra.utils.instantiate(cfg.evaluation.baselines, _convert_="all") or {}
    )
    if teachers := [source.teacher for source in data if source.teacher is not None]:
        systems["teacher"] = teachers[0]
    return systems


def _at_most(wanted: int | None, available: int) -> int | None:
    return None if wanted is None else min(wanted, available)
