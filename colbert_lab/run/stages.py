"""The stages of a run, and roughly how much work each of them is: tokens that the student reads.

A token that another network reads is as many as that network is larger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers.utils import CONFIG_NAME

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.model.model_files import locate, read_json
from colbert_lab.run.dev import split_while_training
from colbert_lab.run.evaluating import is_measured, systems_beside
from colbert_lab.run.inputs import Inputs
from colbert_lab.settings import Settings
from colbert_lab.training.prepare import PreparedPhase

INPUTS, BASELINES = "text and student", "baselines"
TRAINING, GRADCACHE = 3.0, 4.0
"""Forward passes that a step is worth; a backward pass is two of them, and GradCache makes another one."""
CHARACTERS = 4.5
"""Of a token, in English and in code."""
SAMPLE = 64
"""Texts whose lengths stand for a corpus."""


def names_of(settings: Settings) -> list[str]:
    """The stages of a run, in their order.

    Args:
        settings: the config.
    """
    if settings.task == "evaluate":
        return [INPUTS, BASELINES, "evaluate"]
    names = [INPUTS, BASELINES]
    for phase in ("before", *settings.schedule):
        names += [] if phase == "before" else [phase]
        names += [measured(phase)] if is_measured(settings.evaluation, phase) else []
    return names


def measured(phase: str) -> str:
    """The stage in which a student is measured: after a phase, or before all of them.

    Args:
        phase: its name, or ``before`` or ``evaluate``.
    """
    return phase if phase in ("before", "evaluate") else f"after {phase}"


def work_of(settings: Settings, inputs: Inputs) -> dict[str, float]:
    """The work of every stage that is still to come once the inputs are loaded.

    It is for telling how much time is left, and knows nothing of what is taken over from other runs.

    Args:
        settings: the config.
        inputs: of the run.
    """
    longest = settings.student.document_length
    text = sum(_tokens(split, longest) for split in inputs.splits.values())
    beside = systems_beside(settings.evaluation, list(inputs.data.values()))
    own = inputs.student.model.backbone.config
    larger = sum(times_larger(model, own) for model in set(_networks(beside.values())))
    work = {BASELINES: text * larger, "before": text, "evaluate": text}
    found = split_while_training(settings.evaluation.during_training, inputs.splits)
    for name, phase in inputs.phases.items():
        work[name] = _training(phase)
        if found is not None and (every := phase.settings.evaluate_every):
            work[name] += (phase.max_steps // every + 2) * _tokens(found[1], longest)
        work[measured(name)] = text
    return work


def times_larger(model: str, own: Any) -> float:
    """How many times as much a token costs as with the student, by layers and the square of their width.

    Args:
        model: as the teacher's settings name it; one whose config is not at hand counts like the student.
        own: the config of the student's backbone.
    """
    try:
        config = read_json(Path(locate(model)) / CONFIG_NAME)
        sizes = [
            float(config[key]) / float(getattr(own, key)) for key in ("num_hidden_layers", "hidden_size")
        ]
    except (InputError, KeyError, AttributeError, TypeError, ValueError):
        return 1.0
    return sizes[0] * sizes[1] ** 2


def _training(phase: PreparedPhase) -> float:
    settings = phase.settings
    if not phase.max_steps:
        return 0.0
    passes = GRADCACHE if settings.recompute is True else TRAINING
    return passes * phase.batches[0].n_padded * settings.accumulation * phase.max_steps


def _tokens(split: Split, longest: int) -> float:
    """Tokens of a split's documents and queries, from a sample."""
    corpus, queries = split.corpus.texts, list(split.queries.values())
    return _of_texts(corpus, longest) + _of_texts(queries, longest)


def _of_texts(texts: Sequence[str], longest: int) -> float:
    if not len(texts):
        return 0.0
    step = max(1, len(texts) // SAMPLE)
    some = [min(len(texts[n]) / CHARACTERS, longest) for n in range(0, len(texts), step)]
    return len(texts) * sum(some) / len(some)


def _networks(systems: Iterable[Any]) -> Iterable[str]:
    """What reads text by a network, each once: the model of a system, or of its members."""
    for system in systems:
        members: Mapping[str, Any] = getattr(system, "members", {})
        yield from _networks(members.values())
        model = getattr(system, "model", None) or getattr(system, "checkpoint", None)
        if model is not None:
            yield str(model)
