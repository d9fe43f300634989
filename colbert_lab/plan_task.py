"""``task=plan``: what a run will take, before it is paid for."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from colbert_lab.atomic import write_text
from colbert_lab.encoding import count_processes
from colbert_lab.errors import InputError
from colbert_lab.evaluating import build_evaluator, split_while_training, systems_beside
from colbert_lab.inputs import Inputs, load_inputs
from colbert_lab.logs import start_logging
from colbert_lab.planning.planner import Limits, Planner, Training
from colbert_lab.planning.table import Plan, PlannedPhase, plan_json, plan_table
from colbert_lab.results.environment import hardware_label
from colbert_lab.results.identity import config_hash
from colbert_lab.results.layout import print_tables, to_markdown
from colbert_lab.results.records import RECORDS_FILE, read_records
from colbert_lab.results.run_directory import RunDirectory, known_run, output_file
from colbert_lab.retrieval.variants import SearchSettings
from colbert_lab.scheduling import (
    check_schedule,
    done_phase,
    parent_identity,
    phase_identity,
    trainer_arguments,
)
from colbert_lab.settings import checked
from colbert_lab.student.formats.own import load_student
from colbert_lab.student.student import Student, pick_device
from colbert_lab.training.checkpoints import resume_point
from colbert_lab.training.precision import pick_precision, prepare_torch
from colbert_lab.training.prepare import PreparedPhase

log = logging.getLogger("colbert_lab")
ENDINGS = (".md", ".json")


def execute(cfg: DictConfig) -> None:
    """Predict time and memory of the run that the same config would be with ``task=train``.

    Args:
        cfg: what Hydra composed.

    Raises:
        InputError: anything the user can mend, such as a run that does not fit into memory.
    """
    begun, before, busy = time.perf_counter(), _uptime(), _busy()
    start_logging()
    cfg.task = "train"
    cfg.trainer.precision = pick_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    cfg = checked(cfg)
    check_schedule(cfg)
    _check_values(cfg.plan)
    out = output_file(cfg.out, ENDINGS)
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    if not cfg.progress:
        os.environ["TQDM_DISABLE"] = "1"
    prepare_torch(cfg.trainer.threads)
    config: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    directory = known_run(Path(cfg.output_dir), cfg.name, config_hash(config), cfg.seed, cfg.reuse)
    if directory.finished:
        phases = tuple(PlannedPhase(name, "finished here") for name in cfg.schedule)
        plan = Plan(str(directory.path), True, 1, hardware_label(), 0.0, (), phases, 0.0)
    else:
        inputs, notes = _loaded(cfg, overrides)
        set_up = before + time.perf_counter() - begun
        plan = _plan(cfg, config, inputs, directory, set_up, begun, [*busy, *notes])
    table = plan_table(plan)
    if out is not None:
        write_text(out, plan_json(plan) if out.suffix == ".json" else to_markdown([table]))
    print_tables([table])
    if out is not None:
        log.info("saved: %s", out)


def _loaded(cfg: DictConfig, overrides: list[str]) -> tuple[Inputs, list[str]]:
    """What the run works on; teacher scores that are not there yet are made and kept, as the run would do it."""
    lists = Path(cfg.cache_dir).expanduser() / "lists"
    known, begun = _names(lists), time.perf_counter()
    inputs = load_inputs(cfg, overrides)
    if _names(lists) == known:
        return inputs, []
    took = time.perf_counter() - begun
    note = f"Teacher scores were made for this plan (part of {took:.0f} s) and are kept: the run reads them."
    return inputs, [note]


def _plan(
    cfg: DictConfig,
    config: dict[str, Any],
    inputs: Inputs,
    directory: RunDirectory,
    set_up: float,
    begun: float,
    notes: list[str],
) -> Plan:
    settings, processes = cfg.plan, count_processes(cfg.trainer)
    evaluator = build_evaluator(cfg, inputs.splits, inputs.search, inputs.first_stage, processes)
    beside = systems_beside(cfg, list(inputs.data.values()))
    results = directory.path / RECORDS_FILE
    records = read_records(results) if results.is_file() else []
    planner = Planner(
        Limits(**settings),
        evaluator,
        {(record.system, record.phase, record.split, record.variant) for record in records},
        device=pick_device(cfg.trainer.accelerator),
        processes=processes,
        nodes=cfg.trainer.num_nodes,
        seed=cfg.seed,
        disk=_existing(directory.path),
    )
    states, identity = {}, parent_identity(cfg)
    for name, phase in inputs.phases.items():
        identity = phase_identity(cfg, config, phase, identity)
        states[name] = _state(cfg, phase, directory, identity)
    to_train = [name for name, state in states.items() if state.student is None]
    small = split_while_training(cfg, inputs.splits)
    cut = None if small is None else build_evaluator(cfg, dict([small]), SearchSettings())
    planner.start(beside, len(to_train))
    evaluations = [planner.baselines(beside), planner.evaluation("before", inputs.student, inputs.student)]
    phases = []
    for name, phase in inputs.phases.items():
        state = states[name]
        asked = Student(inputs.student.model, phase.tokenizer)
        phases.append(planner.phase(phase, asked, state, trainer_arguments(cfg), cut))
        kept = (
            load_student(state.student, cfg.student.attention)
            if state.student is not None and cfg.evaluation.keep_embeddings
            else None
        )
        evaluations.append(planner.evaluation(name, asked, kept))
    if cfg.trainer.num_workers:
        notes.append("Reading happens beside training (trainer.num_workers), and is not counted.")
        phases = [replace(phase, seconds_reading=0.0) for phase in phases]
    return Plan(
        run=str(directory.path),
        finished=False,
        processes=processes,
        hardware=hardware_label(),
        set_up=set_up,
        evaluations=tuple(evaluations),
        phases=tuple(phases),
        measured_seconds=time.perf_counter() - begun,
        notes=(*planner.finish(), *notes),
    )


def _state(cfg: DictConfig, phase: PreparedPhase, directory: RunDirectory, identity: str) -> Training:
    """How much of a phase is left to train."""
    folder = directory.path / phase.name
    done = done_phase(cfg, folder, identity)
    if done is not None:
        origin = done.outcome.reused_from or done.folder.parent.name
        state = "finished here" if done.here else f"reused from {origin}"
        return Training(state, phase.max_steps, done.folder / "student")
    resume = resume_point(folder / "checkpoints")
    if resume is None or resume.step == 0:
        return Training("to train", 0, None)
    return Training(f"goes on from step {resume.step}", resume.step, None)


def _check_values(settings: DictConfig) -> None:
    for name, value in settings.items():
        key = str(name)
        least = 2 if key == "steps" else 1
        if key == "memory":
            if value is not None and not value > 0:
                raise InputError(f"plan.memory={value}: must be above 0 (GiB); null is what is free here")
        elif value < least:
            raise InputError(f"plan.{key}={value}: must be at least {least}")


def _existing(path: Path) -> Path:
    """The nearest folder above a path that exists."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def _names(folder: Path) -> Sequence[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _busy() -> list[str]:
    """What to say when others compute on this machine."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = os.cpu_count() or 1
    if load <= cores / 2:
        return []
    return [
        f"This machine was busy before the plan began (load {load:.1f} on {cores} cores): the times hold for a run "
        "under the same load."
    ]


def _uptime() -> float:
    """Seconds since this process was started, where the system tells: imports are a part of every run."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        started = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        now = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        return max(0.0, now - started / os.sysconf("SC_CLK_TCK"))
    return 0.0
