"""Terms over the whole batch are the same on two processes (gloo) as on one, with chunks computed again."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from colbert_lab.certify import checks
from colbert_lab.certify.as_trained import FULL, train_step
from colbert_lab.certify.micro_batch import shared, two_processes
from colbert_lab.training.objectives.contrastive import Contrastive
from colbert_lab.training.objectives.document_to_query import DocumentToQuery
from colbert_lab.training.objectives.margins import PairwiseSoftmax
from colbert_lab.training.objectives.multi_positive import MultiPositive
from colbert_lab.training.objectives.xtr import XTR
from tests.certify.support import beyond
from tests.toy import new_student
from tests.training.objectives.support import phase_with

SETTINGS: dict[type, dict[str, Any]] = {
    Contrastive: {"temperature": 0.5, "own_negatives": False},
    DocumentToQuery: {"temperature": 0.5, "learnable": True},
    MultiPositive: {"temperature": 0.5},
    PairwiseSoftmax: {},
    XTR: {"temperature": 0.2, "k": 20},
}


@pytest.mark.slow
def test_two_processes_train_what_one_trains(student_settings: dict[str, Any]) -> None:
    terms = {
        kind.__name__: {"_target_": f"{kind.__module__}.{kind.__name__}", **settings}
        for kind, settings in SETTINGS.items()
    }
    torch.manual_seed(0)
    student = new_student(**(student_settings | {"dropout": 0.0}))
    for parameter in student.model.parameters():
        parameter.data.mul_(1.5)  # scores apart from each other, and so gradients that can differ
    alone, tasks = [], []
    mean = student_settings | {"score": "mean_maxsim"}
    ways = (({"alone": terms["DocumentToQuery"]}, student_settings), (terms, mean), (terms, student_settings))
    for objective, settings in ways:
        phase = phase_with(objective, settings, n_way=4)
        task = shared(phase, 0, recompute=True)
        assert task is not None
        tasks.append(task)
        alone.append(train_step(phase, student.model, phase.batches[0], FULL, recompute=False))
    with two_processes(student, "eager", tasks) as read:
        for number, one in enumerate(alone):
            assert not beyond(list(checks.gathering(one, read(number)))), number
    assert alone[1].loss != alone[2].loss
    assert "learned.DocumentToQuery_temperature" in alone[-1].gradients
