"""One phase: data, objective and optimizer from its settings; train; save the student."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import hydra.utils
import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers.logger import Logger

from colbert_lab.atomic import write_text
from colbert_lab.errors import InputError
from colbert_lab.objectives.contrastive import Contrastive
from colbert_lab.objectives.distillation import Distillation, Side, normalised_entropy
from colbert_lab.objectives.mix import Mix
from colbert_lab.student.colbert import ColBERT
from colbert_lab.student.formats.own import save_student
from colbert_lab.student.student import Student
from colbert_lab.tokens.tokenizer import StudentTokenizer
from colbert_lab.training.callbacks import EvaluateWhileTraining, PhaseBar, Points, RandomState
from colbert_lab.training.checkpoints import checkpoint_callback, resume_point
from colbert_lab.training.data import ListMicroBatches, PhaseData
from colbert_lab.training.metrics_file import MetricsFile
from colbert_lab.training.module import StudentModule
from colbert_lab.training.optim import warmup_steps
from colbert_lab.types import ScoredLists

log = logging.getLogger(__name__)
FLAT, ONE_HOT = 0.98, 0.02  # normalised teacher entropy outside these has nothing, or only a label, to teach
ENTROPY_LISTS = 1000
CODE_VERSION = "1"  # raise when the same settings would train another student
DONE_FILE = "phase.json"


@dataclass(frozen=True)
class PhaseOutcome:
    """What a finished phase did, as ``phase.json`` keeps it.

    Attributes:
        phase_hash: identity of the phase (settings, seed, data, parent).
        steps: optimizer steps.
        seconds: wall time of training steps, evaluations while training left out.
        queries: queries processed.
        tokens: tokens processed, without padding.
        padded_tokens: tokens the encoder computed, with padding.
        teacher_entropy: mean normalised entropy of the teacher's distributions before step 1.
    """

    phase_hash: str
    steps: int
    seconds: float
    queries: int
    tokens: int
    padded_tokens: int
    teacher_entropy: float


def objective_from(settings: DictConfig) -> Mix:
    """The objective of a phase's ``objective`` settings.

    Raises:
        InputError: a value is not possible.
    """
    distillation, contrastive = settings.distillation, settings.contrastive
    return Mix(
        Distillation(Side(**distillation.teacher), Side(**distillation.student), distillation.direction),
        Contrastive(contrastive.temperature),
        distillation.weight,
        contrastive.weight,
    )


def count_steps(name: str, settings: DictConfig, per_epoch: int) -> int:
    """Optimizer steps of a phase, from ``steps`` or ``epochs``.

    Args:
        name: the phase's name.
        settings: the phase's settings.
        per_epoch: micro-batches in one pass over the data.

    Raises:
        InputError: both or neither are set, or nothing would be trained.
    """
    steps, epochs = settings.steps, settings.epochs
    if (steps is None) == (epochs is None):
        raise InputError(f"phases.{name}: set exactly one of steps and epochs (the other null)")
    total = steps if steps is not None else math.floor(epochs * per_epoch / settings.accumulation)
    if total < 1:
        raise InputError(
            f"phases.{name}: no optimizer step to take; raise steps or epochs, or lower batch_size"
        )
    return int(total)


def teacher_entropy(batches: ListMicroBatches, objective: Mix) -> float:
    """Mean normalised entropy of the teacher over the first lists that training will read, as sampled for it."""
    n_batches = min(batches.per_epoch, math.ceil(ENTROPY_LISTS / batches.batch_size))
    scores = np.concatenate([batches.candidates(k)[2] for k in range(n_batches)])
    return float(normalised_entropy(torch.from_numpy(scores), objective.distillation.teacher).mean())


def check_teacher(name: str, lists: ScoredLists, entropy: float, allow: bool) -> None:
    """Stop before step 1 when the teacher has nothing to teach.

    Raises:
        InputError: the teacher is flat or one-hot and ``allow`` is false.
    """
    log.info("%s: mean normalised teacher entropy %.4f (0 one-hot, 1 uniform)", name, entropy)
    if ONE_HOT <= entropy <= FLAT:
        return
    kind = "almost uniform" if entropy > FLAT else "almost one-hot"
    message = (
        f"phases.{name}.objective.distillation.teacher: the scores of {lists.name} make an {kind} distribution "
        f"(normalised entropy {entropy:.4f}, wanted {ONE_HOT} to {FLAT}); change normalisation or temperature, "
        "or set allow_flat_teacher=true"
    )
    if not allow:
        raise InputError(message)
    log.warning("%s", message)


def finished_phase(folder: Path) -> PhaseOutcome | None:
    """The outcome of a finished phase in ``folder``, or None."""
    path = folder / DONE_FILE
    return PhaseOutcome(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


@dataclass(frozen=True)
class PreparedPhase:
    """A phase whose settings and data have been checked and that is ready to train.

    Attributes:
        name: the slot's name.
        settings: the phase's settings.
        lists: its data.
        tokenizer: the student's tokenizer with the phase's lengths.
        batches: micro-batch k.
        objective: what it minimises.
        max_steps: optimizer steps.
        entropy: mean normalised teacher entropy.
    """

    name: str
    settings: DictConfig
    lists: ScoredLists
    tokenizer: StudentTokenizer
    batches: ListMicroBatches
    objective: Mix
    max_steps: int
    entropy: float


def prepare_phase(
    name: str,
    settings: DictConfig,
    lists: ScoredLists,
    tokenizer: StudentTokenizer,
    *,
    seed: int,
    allow_flat_teacher: bool,
) -> PreparedPhase:
    """Check everything about a phase that can be checked before training.

    Args:
        name: the slot's name.
        settings: the phase's settings.
        lists: its data.
        tokenizer: of the student that the phase will start from.
        seed: the run's seed.
        allow_flat_teacher: go on although the teacher has nothing to teach.

    Raises:
        InputError: a setting or the data cannot be worked with.
    """
    for key in ("accumulation", "checkpoint_every", "log_every", "token_budget"):
        if settings[key] < 1:
            raise InputError(f"phases.{name}.{key}={settings[key]}: must be at least 1")
    objective = _keyed(name, lambda: objective_from(settings.objective))
    tokenizer = tokenizer.with_lengths(settings.query_length, settings.document_length)
    batches = ListMicroBatches(
        lists,
        tokenizer,
        batch_size=settings.batch_size,
        n_way=settings.n_way,
        token_budget=settings.token_budget,
        seed=seed,
        phase=name,
    )
    max_steps = count_steps(name, settings, batches.per_epoch)
    _keyed(name, lambda: warmup_steps(settings.lr_schedule.name, settings.lr_schedule.warmup, max_steps))
    _check_optimizer(name, settings)
    entropy = teacher_entropy(batches, objective)
    if objective.distillation_weight > 0:
        check_teacher(name, lists, entropy, allow_flat_teacher)
    return PreparedPhase(name, settings, lists, tokenizer, batches, objective, max_steps, entropy)


T = TypeVar("T")


def _keyed(name: str, check: Callable[[], T]) -> T:
    """Put the phase in front of the key that an error names."""
    try:
        return check()
    except InputError as error:
        raise InputError(f"phases.{name}.{error}") from error


def _check_optimizer(name: str, settings: DictConfig) -> None:
    """Build the optimizer once on a value of no account."""
    try:
        hydra.utils.instantiate(settings.optimizer, _convert_="all")([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"phases.{name}.optimizer: {str(error).splitlines()[0]}") from error


def train_phase(
    phase: PreparedPhase,
    model: ColBERT,
    folder: Path,
    *,
    trainer: Mapping[str, Any],
    num_workers: int,
    phase_hash: str,
    seed: int,
    loggers: Sequence[Logger],
    evaluate: Callable[[Student, int], Mapping[str, float]] | None,
    progress: bool,
) -> tuple[Student, PhaseOutcome]:
    """Train a prepared phase, going on from its newest checkpoint when there is one.

    Args:
        phase: how to train.
        model: what to train; changed in place.
        folder: the phase's folder in the run directory.
        trainer: arguments of Lightning's Trainer (accelerator, devices, strategy, precision, deterministic).
        num_workers: processes that tokenize ahead.
        phase_hash: identity of the phase.
        seed: the run's seed.
        loggers: loggers beside ``metrics.csv``.
        evaluate: called with the student and the step every ``evaluate_every`` steps; None evaluates never.
        progress: whether to show a progress bar.

    Returns:
        The trained student and what the phase did.
    """
    settings, name = phase.settings, phase.name
    student = Student(model, phase.tokenizer)
    pl.seed_everything(seed, verbose=False)
    resume = resume_point(folder / "checkpoints")
    step = resume.step if resume else 0
    if resume:
        log.info("%s: going on from step %d of %d", name, step, phase.max_steps)
    points = Points()
    callbacks: list[pl.Callback] = [points, RandomState()]
    if evaluate is not None and settings.evaluate_every:
        callbacks.append(EvaluateWhileTraining(settings.evaluate_every, lambda at: evaluate(student, at)))
    if progress:
        callbacks.append(PhaseBar(name, points))
    callbacks.append(checkpoint_callback(folder / "checkpoints", settings.checkpoint_every))
    module = StudentModule(
        model,
        phase.objective,
        optimizer=hydra.utils.instantiate(settings.optimizer, _convert_="all"),
        lr_schedule=settings.lr_schedule.name,
        warmup=settings.lr_schedule.warmup,
        max_steps=phase.max_steps,
        log_every=settings.log_every,
    )
    data = PhaseData(
        phase.batches,
        start=step * settings.accumulation,
        total=phase.max_steps * settings.accumulation,
        num_workers=num_workers,
    )
    fit = pl.Trainer(
        **trainer,
        max_steps=phase.max_steps,
        max_epochs=1,
        accumulate_grad_batches=settings.accumulation,
        gradient_clip_val=settings.gradient_clip,
        logger=[MetricsFile(folder / "metrics.csv", step), *loggers],
        callbacks=callbacks,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=settings.log_every,
        default_root_dir=folder,
    )
    fit.fit(module, data, ckpt_path=resume.path if resume else None, weights_only=True)
    if fit.global_step != phase.max_steps:
        raise KeyboardInterrupt(f"{name} stopped at step {fit.global_step} of {phase.max_steps}")
    outcome = PhaseOutcome(
        phase_hash=phase_hash,
        steps=fit.global_step,
        seconds=points.seconds,
        queries=points.queries,
        tokens=points.tokens,
        padded_tokens=points.padded,
        teacher_entropy=phase.entropy,
    )
    student = Student(model.cpu(), phase.tokenizer)
    save_student(student, folder / "student")
    write_text(folder / DONE_FILE, json.dumps(asdict(outcome), indent=2) + "\n")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return student, outcome
