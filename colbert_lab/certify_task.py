"""``task=certify``: whether what makes training fast changes what is trained, before it is paid for."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from colbert_lab.atomic import write_text
from colbert_lab.certifying.certificate import (
    Certificate,
    certificate_json,
    certificate_table,
    refusal,
)
from colbert_lab.certifying.certifier import Certifier, Limits
from colbert_lab.certifying.checks import CHECKS
from colbert_lab.errors import CheckFailed, InputError
from colbert_lab.inputs import load_inputs
from colbert_lab.logs import start_logging
from colbert_lab.results.environment import hardware_label
from colbert_lab.results.layout import print_tables, to_markdown
from colbert_lab.results.run_directory import output_file
from colbert_lab.scheduling import check_schedule
from colbert_lab.settings import checked
from colbert_lab.student.student import pick_device
from colbert_lab.training.precision import pick_precision, prepare_torch

log = logging.getLogger("colbert_lab")
ENDINGS = (".md", ".json")
LEAST = {"micro_batches": 1, "queries": 2, "documents": 2}


def execute(cfg: DictConfig) -> None:
    """Compare the ways in which the same config with ``task=train`` would compute with plain ones.

    Args:
        cfg: what Hydra composed.

    Raises:
        InputError: anything the user can mend.
        CheckFailed: a difference is beyond its tolerance.
    """
    begun = time.perf_counter()
    start_logging()
    cfg.task = "train"
    cfg.trainer.precision = pick_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    cfg = checked(cfg)
    check_schedule(cfg)
    limits = _limits(cfg.certify)
    out = output_file(cfg.out, ENDINGS)
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    if not cfg.progress:
        os.environ["TQDM_DISABLE"] = "1"
    prepare_torch(cfg.trainer.threads)
    inputs = load_inputs(cfg, overrides)
    certifier = Certifier(limits, inputs.student, cfg.trainer.precision, pick_device(cfg.trainer.accelerator))
    with _deterministic(cfg.trainer.deterministic):
        findings = certifier.certify(list(inputs.phases.values()))
    certificate = Certificate(
        cfg.name,
        tuple(findings),
        certifier.made,
        hardware_label(),
        time.perf_counter() - begun,
        tuple(certifier.notes),
    )
    table = certificate_table(certificate)
    if out is not None:
        write_text(out, certificate_json(certificate) if out.suffix == ".json" else to_markdown([table]))
    print_tables([table])
    if out is not None:
        log.info("saved: %s", out)
    if certificate.failed:
        raise CheckFailed(refusal(certificate))


def _limits(settings: DictConfig) -> Limits:
    """The settings, checked.

    Raises:
        InputError: a value that cannot be worked with.
    """
    unknown = [name for name in settings.checks if name not in CHECKS]
    if unknown or not settings.checks:
        given = f"no check named {unknown[0]}" if unknown else "nothing to check"
        raise InputError(f"certify.checks: {given}; there are {', '.join(CHECKS)}")
    for key, least in LEAST.items():
        if settings[key] < least:
            raise InputError(f"certify.{key}={settings[key]}: must be at least {least}")
    tolerances = {
        f"{group}.{key}": float(value)
        for group, values in settings.tolerance.items()
        for key, value in values.items()
    }
    for key, value in tolerances.items():
        if not value > 0:
            raise InputError(f"certify.tolerance.{key}={value:g}: must be above 0")
    return Limits(
        tuple(settings.checks), settings.micro_batches, settings.queries, settings.documents, tolerances
    )


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
