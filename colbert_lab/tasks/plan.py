"""``task=plan``: what a run will take, before it is paid for."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.model.formats.own import load_student
from colbert_lab.model.student import Student, pick_device
from colbert_lab.plan.planner import Planner, Training
from colbert_lab.plan.table import Plan, PlannedPhase, plan_json, plan_table
from colbert_lab.publish.recipe import objective
from colbert_lab.records.environment import hardware_label
from colbert_lab.records.records import RECORDS_FILE, read_records
from colbert_lab.records.run_directory import RunDirectory, known_run, output_file
from colbert_lab.run.callbacks import KEY as CALLBACKS
from colbert_lab.run.dev import split_while_training
from colbert_lab.run.evaluating import build_evaluator, is_measured, systems_beside
from colbert_lab.run.inputs import Inputs, load_inputs
from colbert_lab.run.resuming import done_phase, own_directory
from colbert_lab.run.scheduling import PhaseIdentity, check_schedule, phase_identities, run_identity
from colbert_lab.search.mode import SearchSettings
from colbert_lab.settings import Command, Settings
from colbert_lab.settings.lightning import KEY
from colbert_lab.tasks.registry import show
from colbert_lab.training.phase_files import resume_point
from colbert_lab.training.precision import prepare_torch
from colbert_lab.training.prepare import PreparedPhase
from colbert_lab.training.sharding import STRATEGY
from colbert_lab.training.strategy import count_processes

log = logging.getLogger("colbert_lab")
ENDINGS = (".md", ".json")


def execute(command: Command) -> None:
    """Predict time and memory of the run that the same config would be with ``task=train``.

    Args:
        command: what is asked for.

    Raises:
        InputError: anything the user can mend, such as a run that does not fit into memory.
    """
    begun, before, busy = time.perf_counter(), _uptime(), _busy()
    settings, trainer = command.settings, command.settings.trainer
    check_schedule(settings)
    if trainer.strategy == STRATEGY:
        raise InputError(
            f"trainer.strategy={STRATEGY}: task=plan measures a whole student on one device; plan with trainer=ddp, "
            "and take off what the other processes hold of weights, gradients and optimizer state"
        )
    out = output_file(settings.out, ENDINGS)
    beside = count_processes(trainer.arguments) // trainer.num_nodes
    prepare_torch(trainer.threads, beside, trainer.float32_matmul)
    identity = run_identity(command)
    directory = known_run(settings.outputs, settings.name, identity.hash, settings.seed, settings.reuse)
    if directory.finished:
        phases = tuple(PlannedPhase(name, "finished here") for name in settings.schedule)
        plan = Plan(str(directory.path), True, 1, hardware_label(), 0.0, (), phases, 0.0)
    else:
        inputs, notes = _loaded(command)
        set_up = before + time.perf_counter() - begun
        plan = _plan(command, inputs, directory, set_up, begun, [*busy, *notes])
    show(plan_table(plan), out, {".json": lambda: plan_json(plan)})


def _loaded(command: Command) -> tuple[Inputs, list[str]]:
    """What the run works on; teacher scores that are not there yet are made and kept, as the run would do it."""
    lists = command.settings.cache / "lists"
    known, begun = _names(lists), time.perf_counter()
    inputs = load_inputs(command)
    if _names(lists) == known:
        return inputs, []
    took = time.perf_counter() - begun
    note = f"Teacher scores were made for this plan (part of {took:.0f} s) and are kept: the run reads them."
    return inputs, [note]


def _plan(
    command: Command, inputs: Inputs, directory: RunDirectory, set_up: float, begun: float, notes: list[str]
) -> Plan:
    settings, trainer = command.settings, command.settings.trainer
    processes = count_processes(trainer.arguments)
    identities = phase_identities(command, inputs)
    directory = own_directory(settings.reuse, directory, inputs, identities)
    evaluator = build_evaluator(settings, inputs.splits, inputs.search, inputs.first_stage, processes)
    beside = systems_beside(settings.evaluation, list(inputs.data.values()))
    results = directory.path / RECORDS_FILE
    records = read_records(results) if results.is_file() else []
    planner = Planner(
        settings.plan,
        evaluator,
        {(record.system, record.phase, record.split, record.variant) for record in records},
        device=pick_device(trainer.accelerator),
        processes=processes,
        nodes=trainer.num_nodes,
        disk=_existing(directory.path),
    )
    states = {
        name: _state(settings, phase, directory, identities[name]) for name, phase in inputs.phases.items()
    }
    to_train = [name for name, state in states.items() if state.student is None]
    small = split_while_training(settings.evaluation.during_training, inputs.splits)
    cut = None if small is None else build_evaluator(settings, dict([small]), SearchSettings())
    planner.start(beside, len(to_train))
    evaluations = [planner.baselines(beside)]
    if is_measured(settings.evaluation, "before"):
        evaluations.append(planner.evaluation("before", inputs.student, inputs.student))
    phases = []
    for name, phase in inputs.phases.items():
        state = states[name]
        asked = Student(inputs.student.model, phase.tokenizer)
        phases.append(planner.phase(phase, asked, state, trainer.arguments, cut))
        kept = (
            load_student(state.student, settings.student.attention, settings.student.trust_remote_code)
            if state.student is not None and settings.evaluation.keep_embeddings
            else None
        )
        if is_measured(settings.evaluation, name):
            evaluations.append(planner.evaluation(name, asked, kept))
    told = {name: objective(command.config["phases"][name]) for name in to_train}
    notes = [*(f"{name} minimises {what}." for name, what in told.items()), *notes]
    notes += _left_out(trainer.lightning)
    if trainer.callbacks:
        notes.append(
            f"{CALLBACKS} ({', '.join(trainer.callbacks)}) was left out of what was measured, and comes on top."
        )
    if trainer.num_workers:
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


def _left_out(flags: Mapping[str, Any]) -> list[str]:
    """Notes on flags of Lightning's Trainer that the plan does not do as the run does."""
    notes = []
    if (most := flags.get("max_time")) is not None:
        notes.append(
            f"{KEY}.max_time={most} ends a command after so much training of a phase; the same one goes on until all "
            "of it is done, each time with its own start."
        )
    if (profiler := flags.get("profiler")) is not None:
        notes.append(
            f"{KEY}.profiler={profiler} takes time of its own in the run, and none of what was measured here."
        )
    return notes


def _state(
    settings: Settings, phase: PreparedPhase, directory: RunDirectory, identity: PhaseIdentity
) -> Training:
    """How much of a phase is left to train."""
    folder = directory.path / phase.name
    done = done_phase(settings, folder, identity)
    if done is not None:
        origin = done.outcome.reused_from or done.folder.parent.name
        state = "finished here" if done.here else f"reused from {origin}"
        return Training(state, phase.max_steps, done.folder / "student")
    resume = resume_point(folder / "checkpoints")
    if resume is None or resume.step == 0:
        return Training("to train", 0, None)
    return Training(f"goes on from step {resume.step}", resume.step, None)


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
