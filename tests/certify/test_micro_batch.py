"""Two processes that share a micro-batch, as they are and broken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

from colbert_lab.base.errors import InputError
from colbert_lab.certify import checks, micro_batch
from colbert_lab.certify.as_trained import FULL, cut_phase, train_step
from colbert_lab.certify.micro_batch import shared, two_processes
from colbert_lab.model import batches
from tests.certify.support import beyond, phase_of, student_of

WORK = micro_batch.work


def without_the_others(*given: Any) -> None:
    """What other processes' losses say about a document is left out."""

    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient[dist.get_rank()]

    batches._AllGather.backward = staticmethod(backward)  # type: ignore[method-assign]
    WORK(*given)


def dying(*_: Any) -> None:
    raise RuntimeError("no network")


def found(settings: dict[str, Any], tasks: int = 2) -> set[tuple[str, str]]:
    student = student_of(settings)
    phase = cut_phase(phase_of(student, contrastive_settings={"learnable": True}), 4, 4)
    made = [shared(phase, k, recompute=True) for k in range(tasks)]
    alone = [train_step(phase, student.model, phase.batches[k], FULL, recompute=True) for k in range(tasks)]
    with two_processes(student, "eager", [task for task in made if task is not None]) as read:
        return beyond([d for k, one in enumerate(alone) for d in checks.gathering(one, read(k))])


@pytest.mark.slow
def test_two_processes_are_one(student_settings: dict[str, Any]) -> None:
    assert not found(student_settings)


@pytest.mark.slow
def test_a_gradient_that_stays_in_its_process_is_found(
    student_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_batch, "work", without_the_others)
    assert ("gathering", "gradient") in found(student_settings, tasks=1)


@pytest.mark.slow
def test_processes_that_cannot_work_are_no_certificate(
    student_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_batch, "work", dying)
    with pytest.raises(
        InputError, match=r"gathering: two processes cannot work together here \(.*no network"
    ):
        found(student_settings, tasks=1)


def test_what_cannot_be_shared_equally_is_not(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    assert shared(cut_phase(phase_of(student), 3, 4), 0, recompute=False) is None
