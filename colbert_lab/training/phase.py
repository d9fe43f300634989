"""Train one prepared phase, go on where it stopped, save the student."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import DummyLogger, Logger
from torch import Tensor

from colbert_lab.base.atomic import write_text
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.model.backbone import check_finite
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.formats.own import save_student
from colbert_lab.model.packing import packs
from colbert_lab.model.student import Student
from colbert_lab.settings.groups import ADAPTER
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.training.callbacks import Averaging, PhaseBar, Points, RandomState, Recomputation
from colbert_lab.training.cost import activation_bytes, matmul_rate, needs_recompute
from colbert_lab.training.data import MicroBatches, PhaseData
from colbert_lab.training.evaluating import EvaluateWhileTraining, Selection
from colbert_lab.training.freezing import HeadFirst, frozen
from colbert_lab.training.limits import time_limit
from colbert_lab.training.lora import plain, save_adapter
from colbert_lab.training.phase_files import MetricsFile, PhaseOutcome, checkpoint_callback, resume_point
from colbert_lab.training.prepare import PreparedPhase
from colbert_lab.training.sharding import STRATEGY, Whole, release
from colbert_lab.training.strategy import StopAtOnce, of_first, process_rank, stops_as_interrupts
from colbert_lab.training.trainer import phase_trainer, profiler_of, training_module
from colbert_lab.training.watch import FiniteWeights

log = logging.getLogger(__name__)
CODE_VERSION = "4"  # raise when the same settings would train another student


def train_phase(
    phase: PreparedPhase,
    model: ColBERT,
    folder: Path,
    *,
    trainer: Mapping[str, Any],
    phase_hash: str,
    loggers: Callable[[int], Sequence[Logger]],
    evaluate: Callable[[Student, int], Mapping[str, float]] | None,
    progress: bool,
    own: Sequence[pl.Callback] = (),
) -> tuple[Student, PhaseOutcome]:
    """Train a prepared phase, going on from its newest checkpoint when there is one.

    Args:
        phase: how to train.
        model: what to train; changed in place, but for a backbone whose adapters are trained.
        folder: the phase's folder in the run directory.
        trainer: arguments of Lightning's Trainer (accelerator, devices, strategy, precision, deterministic).
        phase_hash: identity of the phase.
        loggers: makes the loggers beside ``metrics.csv``, from the step that training goes on from.
        evaluate: called with the student and the step at the beginning, every ``evaluate_every`` steps and at the
            end; None evaluates never. Its values decide the student where the phase's ``keep`` or ``early_stopping``
            say so; then it is None in all processes but the first.
        progress: whether to show a progress bar.
        own: callbacks of the user's, in all processes; Lightning calls them after ours, and before checkpoints are
            written. One that sets ``should_stop`` ends the phase.

    Returns:
        The student that is kept and what the phase did. With ``fsdp`` it has weights in the first process alone; the
        others load it from the folder.
    """
    settings, name = phase.settings, phase.name
    with phase.adapted(model):
        averaging = None if settings.ema is None else Averaging(model, settings.ema)
        rank = process_rank()
        whole = Whole(model, rank == 0) if trainer["strategy"] == STRATEGY else None
        measured = whole or averaging
        student = Student(model if measured is None else measured.model, phase.tokenizer)
        resume, on_dev = of_first(
            trainer, lambda: (resume_point(folder / "checkpoints"), evaluate is not None)
        )
        pl.seed_everything(process_seed(phase.seed, rank), verbose=False)
        step = resume.step if resume else 0
        if resume:
            log.info("%s: going on from step %d of %d", name, step, phase.max_steps)
        points = Points()

        def recompute(fit: pl.Trainer) -> bool:
            mine, device = phase.batches.share(fit.global_rank, fit.world_size), fit.strategy.root_device
            return needs_gradcache(phase, mine, model, trainer["precision"], device, fit.num_devices)

        callbacks: list[pl.Callback] = [
            points,
            RandomState(),
            StopAtOnce(),
            Recomputation(recompute),
            FiniteWeights(),
        ]
        if averaging is not None:
            callbacks.append(averaging)
        selection = Selection.of(settings)
        watching: EvaluateWhileTraining | None = None
        assert selection is None or (settings.evaluate_every and (evaluate or rank)), "nothing to select by"
        takes_part = on_dev if whole is not None else evaluate is not None
        if settings.evaluate_every and (takes_part or selection is not None):
            watching = EvaluateWhileTraining(
                settings.evaluate_every,
                None if evaluate is None else partial(evaluate, student),
                points,
                student.model,
                selection,
                None if whole is None else whole.gather,
            )
            callbacks.append(watching)
        if settings.head_only_steps:
            callbacks.append(HeadFirst(settings.head_only_steps, points))
        if progress:
            callbacks.append(PhaseBar(name, points))
        callbacks += own
        limit = time_limit(name, phase.flags)
        callbacks.append(checkpoint_callback(folder / "checkpoints", settings.checkpoint_every, limit))
        # Whether to recompute is decided later, by the callback Recomputation.
        module = training_module(phase, model, False, trainer["precision"], trainer["strategy"])
        data = PhaseData(
            phase.batches,
            start=step * settings.accumulation,
            total=phase.max_steps * settings.accumulation,
            num_workers=phase.num_workers,
        )
        fit = phase_trainer(
            phase,
            trainer,
            max_steps=phase.max_steps,
            # Callbacks of others may ask for a logger in every process.
            logger=[MetricsFile(folder / "metrics.csv", step), *loggers(step)]
            if rank == 0
            else DummyLogger(),
            callbacks=callbacks,
            enable_progress_bar=progress,
            default_root_dir=folder,
            profiler=profiler_of(phase.flags, folder),
        )
        with stops_as_interrupts(), frozen(model, settings.freeze):
            fit.fit(module, data, ckpt_path=resume.path if resume else None, weights_only=True)
        if fit.global_step != phase.max_steps and not (selection is not None and selection.stops):
            told = f"stopped at step {fit.global_step} of {phase.max_steps}"
            if not (own and fit.should_stop):
                raise KeyboardInterrupt(f"{name} {told}")
            log.warning("%s: %s by one of trainer.callbacks", name, told)
        queries, tokens, padded, flops = _over_processes(
            fit, [points.queries, points.tokens, points.padded, points.flops]
        )
        outcome = PhaseOutcome(
            phase_hash=phase_hash,
            steps=fit.global_step,
            seconds=points.seconds,
            queries=int(queries),
            tokens=int(tokens),
            padded_tokens=int(padded),
            devices=fit.world_size,
            flops=flops,
            matmul_rate=matmul_rate(fit.strategy.root_device, str(trainer["precision"])),
            peak_memory_bytes=points.peak_bytes,
            peak_device_bytes=points.peak_device_bytes,
            teacher_entropy=phase.entropy,
            prompt_mismatch=phase.prompt_mismatch,
            truncation={role: asdict(audit) for role, audit in phase.truncation.items()},
            selection=None if selection is None else selection.told(phase.max_steps),
        )
        if whole is None:
            model.cpu()
        else:
            whole.gather()
            release(fit)
        if whole is None or rank == 0:
            student.model.cpu()
            check_finite(student.model, f"phases.{name}, step {fit.global_step}")
            if selection is not None and watching is not None:
                _take_kept(student, selection, watching.best_weights, folder if rank == 0 else None)
        if fit.is_global_zero and phase.lora is not None and phase.lora.save == ADAPTER:
            save_adapter(student.model, folder / "adapter")
        student = replace(student, model=plain(student.model))
        if fit.is_global_zero:
            save_student(student, folder / "student")
            write_text(folder / PHASE_FILE, json.dumps(asdict(outcome), indent=2) + "\n")
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        fit.strategy.barrier("student saved")
        return student, outcome


def _take_kept(
    student: Student, selection: Selection, best_weights: Mapping[str, Tensor], folder: Path | None
) -> None:
    """Put the weights into a student that are kept of the last and the best ones; save the other student.

    Args:
        student: the last one; changed in place.
        selection: what was decided.
        best_weights: of the best one.
        folder: the phase's; None in all processes but the first.
    """
    if selection.best == selection.last:
        return
    last_weights = {key: weight.clone() for key, weight in student.model.state_dict().items()}
    weights = {"best": best_weights, "last": last_weights}
    kept, other = ("best", "last") if selection.keep_best else ("last", "best")
    if folder is not None:
        student.model.load_state_dict(weights[other])
        save_student(replace(student, model=plain(student.model)), folder / f"student_{other}")
    student.model.load_state_dict(weights[kept])


def process_seed(seed: int, rank: int) -> int:
    """The seed of a process: each draws other dropout masks, also than those of runs with other seeds.

    Args:
        seed: the run's; the first process has it as it is.
        rank: number of the process.
    """
    return seed if rank == 0 else int(fingerprint([str(seed), str(rank)]), 16) % 2**32


def _over_processes(fit: pl.Trainer, counted: list[float]) -> list[float]:
    """Sums over all processes."""
    if fit.world_size == 1:
        return counted
    counts = torch.tensor(counted, dtype=torch.float64, device=fit.strategy.root_device)
    summed: list[float] = fit.strategy.reduce(counts, reduce_op="sum").tolist()
    return summed


def needs_gradcache(
    phase: PreparedPhase,
    batches: MicroBatches,
    model: ColBERT,
    precision: str,
    device: torch.device,
    beside: int = 1,
) -> bool:
    """``phases.<name>.recompute``; ``auto`` estimates the activations of the first micro-batch.

    Args:
        phase: how to train.
        batches: one process' share of the micro-batches.
        model: what to train.
        precision: Lightning's name.
        device: where it will be trained.
        beside: processes on this machine.
    """
    if phase.settings.recompute != "auto":
        return bool(phase.settings.recompute)
    batch = batches[0]
    longest = max(chunk.input_ids_NL.shape[1] for chunk in (batch.queries, *batch.documents))
    n_tokens = batch.n_packed if packs(model.backbone) else batch.n_padded
    needed = activation_bytes(model.backbone.config, n_tokens, longest, precision != "32-true")
    return needs_recompute(phase.name, needed, device, beside)
