"""What makes a student's embeddings the same ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.model.formats.own import load_student, save_student
from colbert_lab.model.student import Student
from colbert_lab.search.corpus import student_fingerprint
from tests.toy import new_student

HEAD = {"depth": 2, "width": 1.0, "activation": "ReLU", "residual": False, "gated": False}
BERT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
BERT |= {"intermediate_size": 64}
HASH = BERT | {"model_type": "bert_hash", "projections": 4}
MODERN = BERT | {"model_type": "modernbert", "local_attention": 8}


def made(settings: dict[str, Any], **changes: Any) -> Student:
    torch.manual_seed(1)
    return new_student(**settings | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"head": HEAD | {"activation": "Tanh"}},
        {"head": HEAD, "architecture": BERT | {"num_attention_heads": 4}},
        {"head": HEAD, "architecture": BERT | {"hidden_act": "relu"}},
        {"head": HEAD, "architecture": BERT | {"layer_norm_eps": 1e-3}},
    ],
)
def test_the_same_weights_in_another_network_are_another_student(
    student_settings: dict[str, Any], changes: dict[str, Any]
) -> None:
    one = made(student_settings, head=HEAD, architecture=BERT if "architecture" in changes else None)
    other = made(student_settings, **changes)
    weights, others = one.model.state_dict(), other.model.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())
    assert student_fingerprint(one) != student_fingerprint(other)


@pytest.mark.parametrize("architecture", [None, BERT, MODERN, HASH])
def test_a_saved_student_is_the_same_one_wherever_it_lies(
    student_settings: dict[str, Any], architecture: dict[str, Any] | None, tmp_path: Path
) -> None:
    student = made(student_settings, head=HEAD, architecture=architecture, dropout=0.1)
    save_student(student, tmp_path / "a")
    once = load_student(tmp_path / "a", "eager")
    save_student(once, tmp_path / "b")
    again = load_student(tmp_path / "b", "sdpa" if architecture is None else "eager")
    assert student_fingerprint(student) == student_fingerprint(once) == student_fingerprint(again)
