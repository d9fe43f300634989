"""One run: check the inputs, walk the schedule, evaluate, record."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from colbert_lab.atomic import write_text
from colbert_lab.encoding import count_processes, encode_together
from colbert_lab.evaluating import build_evaluator
from colbert_lab.inputs import Inputs, load_inputs
from colbert_lab.logs import logged_to, process_rank, start_logging
from colbert_lab.measuring import Measuring
from colbert_lab.metrics.evaluator import Evaluator
from colbert_lab.mirroring import curve_loggers, end, track, tracking_of
from colbert_lab.results.cost import cost_of
from colbert_lab.results.environment import describe
from colbert_lab.results.headline import headline
from colbert_lab.results.identity import asked_hash, config_hash, factors
from colbert_lab.results.layout import print_tables
from colbert_lab.results.lineage import adopt_phase
from colbert_lab.results.run_directory import RunDirectory, find_run
from colbert_lab.results.tables import run_tables
from colbert_lab.results.tracking import Tracking, resolve_mode
from colbert_lab.results.wandb_phase import TrackedPhase
from colbert_lab.scheduling import (
    check_schedule,
    done_phase,
    parent_identity,
    phase_identity,
    trainer_arguments,
)
from colbert_lab.settings import checked
from colbert_lab.student.formats.own import load_student
from colbert_lab.student.student import Student, count_parameters, pick_device
from colbert_lab.sweeping import current_cell, note_run
from colbert_lab.training.phase import PhaseOutcome, finished_phase, train_phase
from colbert_lab.training.precision import pick_precision, prepare_torch
from colbert_lab.training.prepare import PreparedPhase

log = logging.getLogger("colbert_lab")


def run(cfg: DictConfig) -> float | None:
    """Execute one composed config.

    With several processes, each runs this function: the first one does everything, the others encode and train.

    Args:
        cfg: what Hydra composed.

    Returns:
        The headline value (for sweepers), or None when there is none.

    Raises:
        InputError: anything the user can mend; nothing is then left that looks finished.
    """
    buffer = start_logging()
    asked = asked_hash(OmegaConf.to_container(checked(cfg)))  # type: ignore[arg-type]
    cfg.trainer.precision = pick_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    cfg = checked(cfg)
    resolve_mode(cfg.tracking.mode)
    overrides = _overrides()
    check_schedule(cfg)
    if not cfg.progress:
        os.environ["TQDM_DISABLE"] = "1"
    prepare_torch(cfg.trainer.threads)
    config: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    directory = find_run(Path(cfg.output_dir), cfg.name, config_hash(config), cfg.seed, cfg.reuse)
    note_run(directory.path)
    if process_rank() > 0:
        if not directory.finished:
            inputs = load_inputs(cfg, overrides)
            _walk(cfg, config, inputs, directory, _evaluator(cfg, inputs, directory), None, None)
        return None
    if directory.finished:
        log.info("this run is finished (reuse=false trains it anew): %s", directory.path)
        print_tables(run_tables(directory.path))
        return _headline(cfg, directory)
    cell = current_cell()
    tracking = tracking_of(config, cell.named if cell is not None else [])
    inputs = load_inputs(cfg, overrides)
    directory.start(
        task=cfg.task,
        config_hash=config_hash(config),
        seed=cfg.seed,
        factors=factors(overrides),
        schedule=config["schedule"],
        headline=cfg.evaluation.headline,
        processes=count_processes(cfg.trainer),
        asked=asked,
        tags=list(tracking.tags),
    )
    if cell is not None:
        directory.name_in_sweep(cell.label)
    with logged_to(directory.path / "run.log", buffer):
        try:
            environment = describe() | {"threads": torch.get_num_threads()}
            write_text(directory.path / "config.yaml", OmegaConf.to_yaml(cfg))
            write_text(directory.path / "environment.json", json.dumps(environment, indent=2) + "\n")
            evaluator = _evaluator(cfg, inputs, directory)
            measuring = Measuring(cfg, config, overrides, inputs.splits, directory, environment, evaluator)
            _walk(cfg, config, inputs, directory, evaluator, measuring, tracking)
            measuring.write_tables()
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):
                directory.end("failed", f"{type(error).__name__}: {error}")
            raise
        directory.end("finished")
        print_tables(run_tables(directory.path))
        log.info("everything about this run: %s", directory.path)
    return _headline(cfg, directory)


def _walk(
    cfg: DictConfig,
    config: dict[str, Any],
    inputs: Inputs,
    directory: RunDirectory,
    evaluator: Evaluator,
    measuring: Measuring | None,
    tracking: Tracking | None,
) -> None:
    """Measure, and go through the phases; ``measuring`` and ``tracking`` are None in all processes but the first."""
    device = pick_device(cfg.trainer.accelerator)
    student = inputs.student
    untrained = "before" if cfg.task == "train" else "evaluate"
    if measuring is not None:
        log.info(
            "run %s: %s, %d parameters, %s on %s",
            directory.run_id,
            " -> ".join(cfg.schedule) if cfg.task == "train" else cfg.task,
            count_parameters(student.model),
            cfg.trainer.precision,
            device,
        )
        measuring.baselines(list(inputs.data.values()))
    parent, seconds, previous = parent_identity(cfg), 0.0, None
    _measure(cfg, student, evaluator, measuring, untrained, None, 0, seconds)
    if cfg.task == "evaluate" and measuring is not None:
        end(track(tracking, config, directory, "evaluate"), measuring)
    for name, phase in inputs.phases.items():
        identity = phase_identity(cfg, config, phase, parent)
        tracked = track(tracking, config, directory, name, previous)
        try:
            folder, done = _phase(cfg, phase, student, directory, identity, measuring, tracked)
            tracked.student(folder / "student", done.reused_from)
            tracked.facts(asdict(done), previous)
            student = load_student(folder / "student", cfg.student.attention)
            seconds += done.seconds
            _measure(cfg, student, evaluator, measuring, name, identity, done.steps, seconds)
            if measuring is not None:
                end(tracked, measuring)
        except BaseException:
            tracked.finish(failed=True)
            raise
        parent, previous = identity, name


def _evaluator(cfg: DictConfig, inputs: Inputs, directory: RunDirectory) -> Evaluator:
    processes = count_processes(cfg.trainer)
    return build_evaluator(cfg, inputs.splits, inputs.search, inputs.first_stage, processes, directory.path)


def _measure(
    cfg: DictConfig,
    student: Student,
    evaluator: Evaluator,
    measuring: Measuring | None,
    phase: str,
    identity: str | None,
    step: int,
    seconds: float,
) -> None:
    """Measure a student after a phase; with several processes, all of them encode what the first one will search."""
    if measuring is not None:
        measuring.adopt_student(student, phase, seconds_train=seconds)
    if evaluator.keeping.processes > 1 and evaluator.splits:
        wanted = {} if measuring is None else measuring.missing(phase)
        encode_together(cfg.trainer, student, evaluator, wanted, cfg.progress)
    if measuring is not None:
        student.model.to(pick_device(cfg.trainer.accelerator))
        measuring.student(student, phase, step=step, seconds_train=seconds, phase_identity=identity)


def _phase(
    cfg: DictConfig,
    phase: PreparedPhase,
    student: Student,
    directory: RunDirectory,
    identity: str,
    measuring: Measuring | None,
    tracked: TrackedPhase,
) -> tuple[Path, PhaseOutcome]:
    """Train one phase, unless it is done here or in another run.

    Returns:
        The folder to load its student from, and what it did.
    """
    folder = directory.path / phase.name
    done = done_phase(cfg, folder, identity)
    if done is not None:
        if done.here:
            log.info("%s: finished before, not trained again", phase.name)
        elif measuring is not None:
            # The other processes do not wait for the adoption: they read where it comes from.
            adopt_phase(done.folder, folder)
            log.info("%s: reused from %s (reuse=false trains it anew)", phase.name, done.folder)
        tracked.curves(done.folder / "metrics.csv")
        found = done.folder if measuring is None else folder
        outcome = finished_phase(found)
        assert outcome is not None
        return found, outcome
    if measuring is not None:
        log.info(
            "%s: %d steps of %d x %d queries",
            phase.name,
            phase.max_steps,
            phase.settings.batch_size,
            phase.settings.accumulation,
        )
    _, outcome = train_phase(
        phase,
        student.model,
        folder,
        trainer=trainer_arguments(cfg),
        num_workers=cfg.trainer.num_workers,
        phase_hash=identity,
        seed=cfg.seed,
        loggers=lambda step: curve_loggers(tracked, folder / "metrics.csv", step),
        evaluate=measuring.while_training() if measuring is not None else None,
        progress=cfg.progress,
    )
    if measuring is not None:
        log.info("%s: %s", phase.name, cost_of(asdict(outcome)).told())
    return folder, outcome


def _headline(cfg: DictConfig, directory: RunDirectory) -> float | None:
    if cfg.evaluation.headline is None:
        return None
    return headline(directory.path, cfg.evaluation.headline, cfg.schedule[-1] if cfg.schedule else "evaluate")


def _overrides() -> list[str]:
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
