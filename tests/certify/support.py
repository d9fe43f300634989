"""A phase of every objective, cut for the checks."""

from __future__ import annotations

from typing import Any

import torch

from colbert_lab.certify.as_trained import cut_phase
from colbert_lab.certify.checks import Difference
from colbert_lab.certify.micro_batch import MicroBatch
from colbert_lab.certify.reference import Reference
from colbert_lab.model.student import Student
from colbert_lab.training.prepare import PreparedPhase, prepare_phase
from tests.toy import new_student
from tests.training.support import make_lists, phase_settings

LIMITS = {"embeddings": 1e-5, "scores": 1e-5, "loss": 1e-5, "gradient": 1e-5, "cosine": 1e-8}


def student_of(settings: dict[str, Any]) -> Student:
    torch.manual_seed(0)
    return new_student(**settings)


def phase_of(
    student: Student, distillation: float = 0.3, contrastive: float = 0.7, **changes: Any
) -> PreparedPhase:
    objective = phase_settings().objective
    objective["distillation"]["weight"], objective["contrastive"]["weight"] = distillation, contrastive
    objective["contrastive"]["temperature"] = 0.2
    for key, value in changes.pop("contrastive_settings", {}).items():
        objective["contrastive"][key] = value
    for key, value in changes.pop("distillation_settings", {}).items():
        objective["distillation"][key] = value
    settings = phase_settings(objective=objective, batch_size=4, token_budget=1000, **changes)
    # Few documents, so that queries have some in common.
    return prepare_phase(
        "distill", settings, [make_lists(documents=12)], student.tokenizer, seed=0, allow_flat_teacher=True,
        allow_prompt_mismatch=False,
    )  # fmt: skip


def micro_of(student: Student, phase: PreparedPhase, **changes: Any) -> MicroBatch:
    settings: dict[str, Any] = {"precision": "32-true", "recompute": False} | changes
    return MicroBatch(cut_phase(phase, 4, 4), 0, student.model, Reference(student.model), **settings)


def beyond(found: list[Difference]) -> set[tuple[str, str]]:
    """What is further apart than float32 explains."""
    limits = LIMITS | {"same bits": 0.0}
    return {
        (each.check, each.what)
        for each in found
        if not each.value <= limits[(each.tolerance or "same bits").rpartition(".")[2]]
    }
