"""Runs and the phases of a schedule: what identifies each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.parts import versions
from colbert_lab.model.attention import pick_attention
from colbert_lab.model.student import Student, pick_device
from colbert_lab.records.contents import beside_data, contents_of, of_callbacks
from colbert_lab.records.identity import config_hash, phase_hash, saying
from colbert_lab.run.callbacks import check_callbacks
from colbert_lab.run.dev import check_selection, selected_by
from colbert_lab.run.inputs import Inputs
from colbert_lab.settings import Command, Settings, lightning
from colbert_lab.settings.groups import LoraSettings, PhaseSettings, StudentSettings, TrainerSettings
from colbert_lab.settings.roles import Role, defaults, keys
from colbert_lab.text.contents import code_id, model_id
from colbert_lab.training.checks import objective_from
from colbert_lab.training.phase import CODE_VERSION
from colbert_lab.training.prepare import PreparedPhase
from colbert_lab.training.sharding import STRATEGY
from colbert_lab.training.strategy import check_shares, count_processes

NOT_PHASE = keys(PhaseSettings, lacks=Role.PHASE)
"""Settings of a phase that do not change the student at its end; its data counts by content."""
IF_ANY = defaults(PhaseSettings, has=Role.IF_ANY)
"""Settings of a phase that count where they say something, see :func:`colbert_lab.records.identity.saying`."""
STUDENT_IF_ANY = defaults(StudentSettings, has=Role.IF_ANY)
"""The same of a student."""
TRAINER_IF_ANY = defaults(TrainerSettings, has=Role.IF_ANY)
LORA_IF_ANY = defaults(LoraSettings, has=Role.IF_ANY)
"""The same of its adapters."""


@dataclass(frozen=True)
class RunIdentity:
    """What makes a run the same one.

    Attributes:
        hash: see :func:`colbert_lab.records.identity.config_hash`.
        named: the same of the config with paths and names as they are written, whatever they hold, and with
            ``trainer.threads`` as it is written.
        contents: see :func:`colbert_lab.records.contents.contents_of`.
    """

    hash: str
    named: str
    contents: Mapping[str, str | None]


@dataclass(frozen=True)
class PhaseIdentity:
    """What makes a phase the same one: everything that decides the student at its end.

    Attributes:
        parts: it, as plain values.
        hash: of that.
    """

    parts: Mapping[str, Any]
    hash: str


def run_identity(command: Command) -> RunIdentity:
    """Identity of a run: its config, with contents in place of paths and with what ``auto`` is on this machine.

    Args:
        command: what is to be run; its precision is resolved.
    """
    config, trainer = command.config, command.settings.trainer
    contents = contents_of(config)
    here = {
        "trainer.accelerator": pick_device(trainer.accelerator).type,
        "trainer.devices": count_processes(trainer.arguments),
        "student.attention": pick_attention(command.settings.student.attention),
    }
    found = config_hash(config, {**here, **contents, "trainer.threads": threads_in_force(trainer)})
    return RunIdentity(found, config_hash(config, here), contents)


def threads_in_force(trainer: TrainerSettings) -> int | None:
    """How many threads share a sum: on a CPU another number rounds otherwise, so the student is another one.

    Args:
        trainer: its settings, once :func:`colbert_lab.training.precision.prepare_torch` was called; on other devices
            ``trainer.threads`` counts as it is written.
    """
    on_cpu = pick_device(trainer.accelerator).type == "cpu"
    return torch.get_num_threads() if on_cpu else trainer.threads


def phase_identities(command: Command, inputs: Inputs) -> dict[str, PhaseIdentity]:
    """Identity of every phase of the schedule, by name.

    Args:
        command: what is to be run.
        inputs: what the run works on.
    """
    found: dict[str, PhaseIdentity] = {}
    parent = parent_identity(command.settings)
    for name, phase in inputs.phases.items():
        selected = selected_by(command.settings, inputs.splits, phase, inputs.student)
        found[name] = phase_identity(command, phase, parent, inputs.student, selected)
        parent = found[name].hash
    return found


def phase_identity(
    command: Command,
    phase: PreparedPhase,
    parent: str,
    student: Student,
    selected: Mapping[str, Any] | None = None,
) -> PhaseIdentity:
    """Identity of a phase.

    It holds what decides every bit of the student. ``auto`` counts as what it is here: the device and the attention
    implementation draw other dropout masks and round in another way. The number of processes counts, although their
    losses and gradients are those of one process: each draws dropout masks of its own, encodes chunks of its own share
    of the rows (other padding, so other rounding), and gradients are summed in another order. So do the threads of a
    CPU, and the libraries that decide numbers. Where and how it was computed does not count: nodes, workers, the
    hardware, what GradCache recomputes, what is logged and saved.

    Args:
        command: what is to be run.
        phase: the prepared phase.
        parent: identity of the student it starts from.
        student: the one that the run starts from; its attention is that of all phases.
        selected: by what values on dev decide the student, see :func:`colbert_lab.run.dev.selected_by`.
    """
    trainer, seed = command.settings.trainer, command.settings.seed
    given = command.config["phases"][phase.name]
    settings = saying({key: value for key, value in given.items() if key not in NOT_PHASE}, IF_ANY)
    settings |= {
        "name": phase.name,  # decides the order of the data
        "rules": phase.tokenizer.rules.to_dict(),
        "weights": phase.batches.sampler.weights,
        "precision": trainer.precision,
        "dropout": command.settings.student.dropout,
        "maxsim": trainer.maxsim,
        "attention": student.model.backbone.config._attn_implementation,
        "accelerator": pick_device(trainer.accelerator).type,
        "deterministic": trainer.deterministic,
        "threads": threads_in_force(trainer),
        "processes": count_processes(trainer.arguments),
        "libraries": versions(),
    }
    if trainer.strategy == STRATEGY:
        settings["strategy"] = STRATEGY  # adds up in another order than ddp
    trained = {key: getattr(trainer, key) for key in TRAINER_IF_ANY}
    trained["lightning"] = {
        flag: value for flag, value in trainer.lightning.items() if flag not in lightning.NOT_IDENTITY
    }
    settings |= saying(trained, TRAINER_IF_ANY)
    if (lora := command.settings.student.lora) is not None:
        settings["lora"] = saying(asdict(lora), LORA_IF_ANY) | versions(["peft"])
    if found := beside_data(phase.name, given) | of_callbacks(command.config):
        settings["contents"] = found
    if selected is not None:
        settings["selected"] = selected
    data = phase.data_fingerprint
    parts = {"settings": settings, "seed": seed, "data": data, "parent": parent, "code": CODE_VERSION}
    return PhaseIdentity(parts, phase_hash(settings, seed, data, parent, CODE_VERSION))


def parent_identity(settings: Settings) -> str:
    """Identity of the student before the first phase: its settings and the content of its backbone or checkpoint."""
    student = settings.student
    plain = saying(asdict(replace(student, lora=None)), STUDENT_IF_ANY)  # adapters are the phases'
    code = code_id(student.head.get("_target_", ""))
    if student.checkpoint is not None:
        # Without another output the checkpoint's head stays, and its settings are not read; its code is in model_id.
        head = ("output", "pooling", "dim", "bias", "widen", "head") if student.output else ("widen",)
        read = {key: plain[key] for key in (*head, "matryoshka") if key in plain}
        if student.output and code is not None:
            read["code"] = code
        return json.dumps([model_id(student.checkpoint) or student.checkpoint, read])
    plain |= asdict(settings.prompts)
    del plain["attention"]  # a phase's identity has what it is here
    plain["backbone"] = model_id(student.backbone) or student.backbone
    if code is not None:
        plain["code"] = code
    return json.dumps(plain, sort_keys=True)


def check_schedule(settings: Settings) -> None:
    """Whether the schedule names phases that are there and trainable, as far as their settings alone say.

    So a wrong one ends the command before a student, text or data is loaded.

    Raises:
        InputError: it does not.
    """
    world, schedule = count_processes(settings.trainer.arguments), settings.schedule
    if settings.task != "train":
        return
    unknown = [name for name in schedule if name not in settings.phases]
    if unknown:
        raise InputError(
            f"schedule: no phase slot named {unknown[0]}; there are {', '.join(settings.phases) or 'none'}"
        )
    if len(set(schedule)) != len(schedule):
        raise InputError("schedule: a phase is listed twice; give the second run of it a slot of its own")
    for name in schedule:
        phase = settings.phases[name]
        check_shares(name, phase.batch_size, world)
        if phase.data is None:
            raise InputError(f"phases.{name}.data: no data; set data=..., or data@phases.{name}.data=...")
        try:
            objective_from(phase.objective)
        except InputError as error:
            raise InputError(f"phases.{name}.{error}") from error
    check_callbacks(settings.trainer.callbacks)
    algorithm = settings.trainer.lightning.get("gradient_clip_algorithm")
    if algorithm is not None and all(settings.phases[name].gradient_clip is None for name in schedule):
        raise InputError(
            f"{lightning.KEY}.gradient_clip_algorithm={algorithm}: has no effect without "
            f"phases.{schedule[0]}.gradient_clip; set that"
        )
    check_selection(settings)
