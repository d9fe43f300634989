"""``task=certify``: whether what makes training fast changes what is trained, before it is paid for."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import torch

from colbert_lab.base.errors import CheckFailed, InputError
from colbert_lab.certify.certificate import Certificate, certificate_json, certificate_table, refusal
from colbert_lab.certify.certifier import Certifier, Limits
from colbert_lab.certify.checks import CHECKS
from colbert_lab.model.student import pick_device
from colbert_lab.records.environment import hardware_label
from colbert_lab.records.run_directory import output_file
from colbert_lab.run.inputs import Inputs, load_inputs
from colbert_lab.run.scheduling import check_schedule
from colbert_lab.settings import Command, Settings
from colbert_lab.settings.lightning import KEY
from colbert_lab.settings.tasks import CertifySettings
from colbert_lab.tasks.registry import show
from colbert_lab.training.precision import prepare_torch
from colbert_lab.training.sharding import STRATEGY

log = logging.getLogger("colbert_lab")
ENDINGS = (".md", ".json")


def execute(command: Command) -> None:
    """Compare the ways in which the same config with ``task=train`` would compute with plain ones.

    Args:
        command: what is asked for.

    Raises:
        InputError: anything the user can mend.
        CheckFailed: a difference is beyond its tolerance.
    """
    begun = time.perf_counter()
    settings, trainer = command.settings, command.settings.trainer
    check_schedule(settings)
    limits = _limits(settings.certify)
    out = output_file(settings.out, ENDINGS)
    prepare_torch(trainer.threads, float32_matmul=trainer.float32_matmul)
    inputs = load_inputs(command)
    certifier = Certifier(limits, inputs.student, trainer.precision, pick_device(trainer.accelerator))
    with _deterministic(trainer.deterministic):
        findings = certifier.certify(list(inputs.phases.values()))
    certificate = Certificate(
        settings.name,
        tuple(findings),
        certifier.made,
        hardware_label(),
        time.perf_counter() - begun,
        (*certifier.notes, *beside(settings, inputs)),
    )
    show(certificate_table(certificate), out, {".json": lambda: certificate_json(certificate)})
    if certificate.failed:
        raise CheckFailed(refusal(certificate))


def beside(settings: Settings, inputs: Inputs) -> list[str]:
    """Notes on what the config names and no check says anything of."""
    flags = ", ".join(flag for flag, value in settings.trainer.lightning.items() if value is not None)
    notes = (
        [
            f"{KEY} ({flags}) is not checked: gradients are compared without Lightning's Trainer, before they are "
            "clipped."
        ]
        if flags
        else []
    )
    notes += [
        f"The callback {name} ({chosen['_target_']}) may change training and brings no reference: what it does is not "
        "checked."
        for name, chosen in settings.trainer.callbacks.items()
    ]
    notes += [
        f"The measure {name} ({chosen['_target_']}) is no part of training and brings no reference: its values are "
        "not checked."
        for name, chosen in settings.evaluation.own_measures.items()
    ]
    if settings.trainer.strategy == STRATEGY:
        notes.append(
            f"trainer.strategy={STRATEGY}: how weights are spread and put together is not checked; here one process "
            "computes with whole ones, and two share a micro-batch as with ddp."
        )
    return notes + [
        f"The search mode {name} ({type(mode).__module__}.{type(mode).__qualname__}) is no part of training and brings "
        f"no reference: an evaluation with evaluation.mode=[exact,{name}] measures it beside exact search."
        for name, mode in inputs.search.own.items()
    ]


def _limits(settings: CertifySettings) -> Limits:
    """The settings, checked.

    Raises:
        InputError: a value that cannot be worked with.
    """
    unknown = [name for name in settings.checks if name not in CHECKS]
    if unknown or not settings.checks:
        given = f"no check named {unknown[0]}" if unknown else "nothing to check"
        raise InputError(f"certify.checks: {given}; there are {', '.join(CHECKS)}")
    tolerances = {
        f"{group}.{key}": float(value)
        for group, values in asdict(settings.tolerance).items()
        for key, value in values.items()
    }
    most = (settings.micro_batches, settings.queries, settings.documents)
    return Limits(tuple(settings.checks), *most, tolerances)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Deterministic algorithms, as Lightning asks torch for them with ``trainer.deterministic``."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
