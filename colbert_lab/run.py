"""One run: check the inputs, walk the schedule, evaluate, record."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from colbert_lab.atomic import write_text
from colbert_lab.encoding import count_processes, encode_together
from colbert_lab.errors import InputError
from colbert_lab.evaluating import build_evaluator
from colbert_lab.inputs import Inputs, load_inputs
from colbert_lab.logs import logged_to, process_rank, start_logging
from colbert_lab.measuring import Measuring, factors
from colbert_lab.metrics.evaluator import Evaluator
from colbert_lab.mirroring import curve_loggers, end, track, tracking_of
from colbert_lab.results.environment import describe
from colbert_lab.results.headline import headline
from colbert_lab.results.identity import asked_hash, config_hash, phase_hash
from colbert_lab.results.layout import print_tables
from colbert_lab.results.lineage import adopt_phase, find_phase
from colbert_lab.results.run_directory import RunDirectory, find_run
from colbert_lab.results.tables import run_tables
from colbert_lab.results.tracking import Tracking, resolve_mode
from colbert_lab.results.wandb_phase import TrackedPhase
from colbert_lab.settings import checked
from colbert_lab.student.formats.known import folder_digest, folder_of
from colbert_lab.student.formats.own import load_student
from colbert_lab.student.student import Student, count_parameters, pick_device
from colbert_lab.sweeping import current_cell, note_run
from colbert_lab.training.phase import CODE_VERSION, PhaseOutcome, finished_phase, train_phase
from colbert_lab.training.precision import pick_precision, prepare_torch
from colbert_lab.training.prepare import PreparedPhase

log = logging.getLogger("colbert_lab")
# Settings of a phase that do not change the student at its end; its data counts by content.
NOT_PHASE = ("data", "evaluate_every", "checkpoint_every", "log_every", "recompute")


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
            environment = describe()
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
            " -> ".join(cfg.schedule) or cfg.task,
            count_parameters(student.model),
            cfg.trainer.precision,
            device,
        )
        measuring.baselines(list(inputs.data.values()))
    _encode(cfg, student, evaluator, measuring, untrained)
    if measuring is not None:
        student.model.to(device)
        measuring.student(student, untrained, step=0, seconds_train=0.0, phase_identity=None)
        if cfg.task == "evaluate":
            end(track(tracking, config, directory, "evaluate"), measuring)
    parent, seconds, previous = parent_identity(cfg), 0.0, None
    for name, phase in inputs.phases.items():
        identity = phase_identity(cfg, config, phase, parent)
        tracked = track(tracking, config, directory, name, previous)
        try:
            folder, done = _phase(cfg, phase, student, directory, identity, measuring, tracked)
            tracked.student(folder / "student", done.reused_from)
            tracked.facts(asdict(done), previous)
            student = load_student(folder / "student", cfg.student.attention)
            seconds += done.seconds
            _encode(cfg, student, evaluator, measuring, name)
            if measuring is not None:
                student.model.to(device)
                measuring.student(
                    student, name, step=done.steps, seconds_train=seconds, phase_identity=identity
                )
                end(tracked, measuring)
        except BaseException:
            tracked.finish(failed=True)
            raise
        parent, previous = identity, name


def _evaluator(cfg: DictConfig, inputs: Inputs, directory: RunDirectory) -> Evaluator:
    processes = count_processes(cfg.trainer)
    return build_evaluator(cfg, inputs.splits, inputs.search, inputs.first_stage, processes, directory.path)


def _encode(
    cfg: DictConfig, student: Student, evaluator: Evaluator, measuring: Measuring | None, phase: str
) -> None:
    """With several processes, all of them encode what the first one will search after a phase."""
    if evaluator.keeping.processes > 1 and evaluator.splits:
        wanted = {} if measuring is None else measuring.missing(phase)
        encode_together(cfg.trainer, student, evaluator, wanted, cfg.progress)


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
    done = finished_phase(folder)
    if done is not None:
        if done.phase_hash != identity:
            raise InputError(
                f"{folder}: was trained on other data or by other code than this command would use; reuse=false trains "
                "anew"
            )
        log.info("%s: finished before, not trained again", phase.name)
        tracked.curves(folder / "metrics.csv")
        return folder, done
    known = find_phase(Path(cfg.output_dir), identity) if cfg.reuse and not folder.exists() else None
    if known is not None:
        if measuring is not None:
            adopt_phase(known, folder)
            log.info("%s: reused from %s (reuse=false trains it anew)", phase.name, known)
            known = folder
            tracked.curves(folder / "metrics.csv")
        # The other processes do not wait for the adoption: they read where it comes from.
        done = finished_phase(known)
        assert done is not None
        return known, done
    if measuring is not None:
        log.info(
            "%s: %d steps of %d x %d queries",
            phase.name,
            phase.max_steps,
            phase.settings.batch_size,
            phase.settings.accumulation,
        )
    keys = ("accelerator", "devices", "num_nodes", "strategy", "precision", "deterministic")
    _, done = train_phase(
        phase,
        student.model,
        folder,
        trainer={key: cfg.trainer[key] for key in keys},
        num_workers=cfg.trainer.num_workers,
        phase_hash=identity,
        seed=cfg.seed,
        loggers=lambda step: curve_loggers(tracked, folder / "metrics.csv", step),
        evaluate=measuring.while_training() if measuring is not None else None,
        progress=cfg.progress,
    )
    return folder, done


def phase_identity(cfg: DictConfig, config: dict[str, Any], phase: PreparedPhase, parent: str) -> str:
    """Hash of everything that decides the student at the end of a phase.

    Args:
        cfg: the config.
        config: the same as plain values.
        phase: the prepared phase.
        parent: identity of the student it starts from.
    """
    plain = {key: value for key, value in config["phases"][phase.name].items() if key not in NOT_PHASE}
    plain |= {
        "name": phase.name,  # decides the order of the data
        "rules": phase.tokenizer.rules.to_dict(),
        "weights": phase.batches.sampler.weights,
        "precision": cfg.trainer.precision,
        "dropout": cfg.student.dropout,
    }
    return phase_hash(plain, cfg.seed, phase.data_fingerprint, parent, CODE_VERSION)


def parent_identity(cfg: DictConfig) -> str:
    """Identity of the student before the first phase: its settings, or the weights of its checkpoint."""
    if cfg.student.checkpoint is not None:
        digest = folder_digest(folder_of(cfg.student.checkpoint))
        changed = {key: cfg.student[key] for key in ("output", "pooling", "dim", "bias", "widen")}
        changed["head"] = OmegaConf.to_container(cfg.student.head)
        # Without another output the checkpoint's head stays, and these settings are not read.
        read = changed if cfg.student.output is not None else {"widen": cfg.student.widen}
        return json.dumps([digest, read])
    plain = OmegaConf.to_container(cfg.student) | OmegaConf.to_container(cfg.prompts)  # type: ignore[operator]
    return json.dumps(plain, sort_keys=True)


def check_schedule(cfg: DictConfig) -> None:
    """Whether the schedule names phases that are there.

    Raises:
        InputError: it does not.
    """
    if cfg.task != "train":
        return
    if not cfg.schedule:
        raise InputError(
            "schedule: nothing to train; choose +experiment=NAME (see --help), or set schedule=[phase]"
        )
    unknown = [name for name in cfg.schedule if name not in cfg.phases]
    if unknown:
        raise InputError(
            f"schedule: no phase slot named {unknown[0]}; there are {', '.join(cfg.phases) or 'none'}"
        )
    if len(set(cfg.schedule)) != len(cfg.schedule):
        raise InputError("schedule: a phase is listed twice; give the second run of it a slot of its own")


def _headline(cfg: DictConfig, directory: RunDirectory) -> float | None:
    if cfg.evaluation.headline is None:
        return None
    return headline(directory.path, cfg.evaluation.headline, cfg.schedule[-1] if cfg.schedule else "evaluate")


def _overrides() -> list[str]:
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
