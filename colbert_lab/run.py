"""One run: seed, student, walk the schedule, evaluate, record."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra.utils
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger

from colbert_lab.atomic import write_text
from colbert_lab.errors import InputError, some_ids
from colbert_lab.measuring import Measuring, check_measures, headline
from colbert_lab.results.environment import describe
from colbert_lab.results.identity import config_hash, phase_hash
from colbert_lab.results.layout import print_tables
from colbert_lab.results.run_directory import RunDirectory, find_run
from colbert_lab.results.tables import run_tables
from colbert_lab.results.tracking import log_results, open_wandb, resolve_mode
from colbert_lab.settings import checked
from colbert_lab.student.formats.own import load_student
from colbert_lab.student.student import Student, build_student, count_parameters, pick_device
from colbert_lab.text.contamination import overlapping_queries
from colbert_lab.text.scored_lists import without_queries
from colbert_lab.text.splits import SplitRequest, load_splits
from colbert_lab.training.phase import (
    CODE_VERSION,
    PhaseOutcome,
    PreparedPhase,
    finished_phase,
    prepare_phase,
    train_phase,
)
from colbert_lab.training.precision import pick_precision, prepare_torch
from colbert_lab.types import ScoredLists, Split

log = logging.getLogger("colbert_lab")
TASKS = ("train", "evaluate")


def run(cfg: DictConfig) -> float | None:
    """Execute one composed config.

    Args:
        cfg: what Hydra composed.

    Returns:
        The headline value (for sweepers), or None when there is none.

    Raises:
        InputError: anything the user can mend; nothing is then left that looks finished.
    """
    buffer = _start_logging()
    cfg.trainer.precision = pick_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    cfg = checked(cfg)
    resolve_mode(cfg.tracking.mode)
    if cfg.task not in TASKS:
        raise InputError(f"task={cfg.task}: must be one of {', '.join(TASKS)}")
    overrides = _overrides()
    _check_schedule(cfg)
    if not cfg.progress:
        os.environ["TQDM_DISABLE"] = "1"
    prepare_torch(cfg.trainer.threads)
    config: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    directory = find_run(Path(cfg.output_dir), cfg.name, config_hash(config), cfg.seed, cfg.reuse)
    if directory.finished:
        log.info("this run is finished (reuse=false trains it anew): %s", directory.path)
        print_tables(run_tables(directory.path))
        return _headline(cfg, directory)
    prepared = _prepare(cfg, overrides)
    directory.start()
    _log_to(directory.path / "run.log", buffer)
    try:
        _execute(cfg, config, overrides, prepared, directory)
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt):
            directory.end("failed", f"{type(error).__name__}: {error}")
        raise
    directory.end("finished")
    print_tables(run_tables(directory.path))
    log.info("everything about this run: %s", directory.path)
    return _headline(cfg, directory)


@dataclass(frozen=True)
class Prepared:
    """Inputs that were loaded and checked before anything was written.

    Attributes:
        student: the student before training.
        splits: evaluation splits by name.
        phases: what to train, by phase.
        data: the configured sources by phase.
    """

    student: Student
    splits: dict[str, Split]
    phases: dict[str, PreparedPhase]
    data: dict[str, Any]


def _prepare(cfg: DictConfig, overrides: list[str]) -> Prepared:
    cache_dir = Path(cfg.cache_dir).expanduser()
    pl.seed_everything(cfg.seed, verbose=False)
    student = _student(cfg, overrides)
    requests = {
        key: SplitRequest(entry.type, entry.split, entry.path, None if cfg.evaluation.full else entry.queries)
        for key, entry in cfg.evaluation.splits.items()
    }
    documents = None if cfg.evaluation.full else cfg.evaluation.documents
    splits = load_splits(requests, documents=documents, cache_dir=cache_dir)
    check_measures(cfg.evaluation, splits)
    data, lists, phases = {}, {}, {}
    for name in cfg.schedule if cfg.task == "train" else ():
        data[name] = hydra.utils.instantiate(cfg.phases[name].data, _convert_="all")
        lists[name] = _clean(cfg, data[name].load(cache_dir), splits, requests)
    tokenizer = student.tokenizer
    for name in lists:
        phases[name] = prepare_phase(
            name,
            cfg.phases[name],
            lists[name],
            tokenizer,
            seed=cfg.seed,
            allow_flat_teacher=cfg.allow_flat_teacher,
        )
        tokenizer = phases[name].tokenizer
    return Prepared(student, splits, phases, data)


def _student(cfg: DictConfig, overrides: list[str]) -> Student:
    settings = dict(cfg.student)
    checkpoint = settings.pop("checkpoint")
    if checkpoint is None:
        return build_student(
            **settings,
            query_prompt=cfg.prompts.query,
            document_prompt=cfg.prompts.document,
            extend_length=cfg.prompts.extend_length,
        )
    idle = [o for o in overrides if o.startswith(("student.", "prompts", "student="))]
    idle = [o for o in idle if not o.startswith(("student.checkpoint=", "student.attention="))]
    if idle:
        raise InputError(
            f"{idle[0]} has no effect with student.checkpoint, which brings its own; leave it out"
        )
    return load_student(Path(checkpoint).expanduser(), settings["attention"])


def _clean(
    cfg: DictConfig, lists: ScoredLists, splits: dict[str, Split], requests: Mapping[str, SplitRequest]
) -> ScoredLists:
    """Keep training queries and evaluation queries apart."""
    training = dict(zip(lists.query_ids, lists.queries, strict=True))
    for key, split in list(splits.items()):
        found = overlapping_queries(training, split)
        if not found:
            continue
        if split.name == "heldout":
            lists = without_queries(lists, set(found))
            log.info("evaluation.splits.%s: %d held-out queries left out of training", key, len(found))
        elif requests[key].split == "auto":
            del splits[key]
            log.warning(
                "evaluation.splits.%s: its queries are trained on (%s), so selection is off",
                key,
                some_ids(found),
            )
        elif cfg.allow_contamination:
            log.warning("evaluation.splits.%s: %s training queries are in it", key, some_ids(found))
        else:
            raise InputError(
                f"evaluation.splits.{key}: {some_ids(found)} training queries of {lists.name} are in it; choose "
                "another split or data, or set allow_contamination=true"
            )
    return lists


def _execute(
    cfg: DictConfig, config: dict[str, Any], overrides: list[str], prepared: Prepared, directory: RunDirectory
) -> None:
    path = directory.path
    environment = describe()
    write_text(path / "config.yaml", OmegaConf.to_yaml(cfg))
    write_text(path / "environment.json", json.dumps(environment, indent=2) + "\n")
    measuring = Measuring(cfg, config, overrides, prepared.splits, directory, environment)
    log.info(
        "run %s: %s, %d parameters, %s on %s",
        directory.run_id,
        " -> ".join(cfg.schedule) or cfg.task,
        count_parameters(prepared.student.model),
        cfg.trainer.precision,
        pick_device(cfg.trainer.accelerator),
    )
    device = pick_device(cfg.trainer.accelerator)
    student = replace(prepared.student, model=prepared.student.model.to(device))
    measuring.baselines(next(iter(prepared.data.values()), None))
    untrained = "before" if cfg.task == "train" else "evaluate"
    measuring.student(student, untrained, step=0, seconds_train=0.0, phase_identity=None)
    if cfg.task == "evaluate":
        _track(cfg, config, directory, "evaluate", measuring)
        return
    parent, seconds = _parent_identity(cfg), 0.0
    for name in cfg.schedule:
        folder = path / name
        plain: dict[str, Any] = config["phases"][name]
        phase = prepared.phases[name]
        identity = phase_hash(plain, cfg.seed, phase.lists.fingerprint, parent, CODE_VERSION)
        done = finished_phase(folder)
        wandb_run = None
        if done is None:
            wandb_run = _open_wandb(cfg, config, directory, name)
            _, done = _train(cfg, phase, student, folder, identity, measuring, wandb_run)
        student = load_student(folder / "student", cfg.student.attention)
        student = replace(student, model=student.model.to(device))
        seconds += done.seconds
        measuring.student(student, name, step=done.steps, seconds_train=seconds, phase_identity=identity)
        parent = identity
        if wandb_run is not None:
            log_results(wandb_run, measuring.records, measuring.write_tables())
            wandb_run.finish()
    measuring.write_tables()


def _train(
    cfg: DictConfig,
    phase: PreparedPhase,
    student: Student,
    folder: Path,
    identity: str,
    measuring: Measuring,
    wandb_run: Any,
) -> tuple[Student, PhaseOutcome]:
    log.info(
        "%s: %d steps of %d x %d queries",
        phase.name,
        phase.max_steps,
        phase.settings.batch_size,
        phase.settings.accumulation,
    )
    return train_phase(
        phase,
        student.model,
        folder,
        trainer={
            key: cfg.trainer[key]
            for key in ("accelerator", "devices", "strategy", "precision", "deterministic")
        },
        num_workers=cfg.trainer.num_workers,
        phase_hash=identity,
        seed=cfg.seed,
        loggers=[WandbLogger(experiment=wandb_run)] if wandb_run is not None else [],
        evaluate=measuring.while_training(),
        progress=cfg.progress,
    )


def _open_wandb(cfg: DictConfig, config: dict[str, Any], directory: RunDirectory, phase: str) -> Any:
    return open_wandb(
        cfg.tracking.mode,
        project=cfg.tracking.project,
        entity=cfg.tracking.entity,
        tags=cfg.tracking.tags,
        directory=directory.path,
        run_id=directory.run_id,
        phase=phase,
        name=cfg.name,
        config=config,
    )


def _track(
    cfg: DictConfig, config: dict[str, Any], directory: RunDirectory, phase: str, measuring: Measuring
) -> None:
    wandb_run = _open_wandb(cfg, config, directory, phase)
    tables = measuring.write_tables()
    if wandb_run is not None:
        log_results(wandb_run, measuring.records, tables)
        wandb_run.finish()


def _parent_identity(cfg: DictConfig) -> str:
    """Identity of the student before the first phase: its settings."""
    plain = OmegaConf.to_container(cfg.student) | OmegaConf.to_container(cfg.prompts)  # type: ignore[operator]
    return json.dumps(plain, sort_keys=True)


def _check_schedule(cfg: DictConfig) -> None:
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


def _start_logging() -> logging.handlers.MemoryHandler:
    """Log to the terminal, and keep everything for run.log, whose folder is made once the inputs are good."""
    root = logging.getLogger()
    root.handlers.clear()
    root.setLevel(logging.INFO)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter("%(message)s"))
    terminal.addFilter(_for_the_user)
    buffer = logging.handlers.MemoryHandler(capacity=100_000, flushLevel=logging.CRITICAL + 1)
    root.addHandler(terminal)
    root.addHandler(buffer)
    for noisy in ("httpx", "bm25s", "datasets", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return buffer


def _for_the_user(record: logging.LogRecord) -> bool:
    """The terminal shows our own lines and other libraries' warnings; Python warnings go to run.log alone."""
    ours = record.name.startswith("colbert_lab")
    return ours or (record.levelno >= logging.WARNING and record.name != "py.warnings")


def _log_to(path: Path, buffer: logging.handlers.MemoryHandler) -> None:
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    buffer.setTarget(file)
    buffer.flush()
    root = logging.getLogger()
    root.removeHandler(buffer)
    root.addHandler(file)
