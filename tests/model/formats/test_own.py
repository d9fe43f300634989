"""Saving a student on a disk that is full."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.model.encode import encode
from colbert_lab.model.formats.own import load_student, save_student
from colbert_lab.model.student import Student
from tests.tiny import sentences
from tests.toy import new_student


@contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """Let every write fail that would make a file longer than ``largest`` bytes (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    torch.manual_seed(1)
    return new_student(**student_settings)


def embeddings(student: Student) -> torch.Tensor:
    return encode(student, sentences(4), "document", token_budget=64).emb_TD


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_full_disk_leaves_the_student_that_was_saved_before(
    file: str, student: Student, tmp_path: Path
) -> None:
    folder = tmp_path / "student"
    save_student(student, folder)
    before = embeddings(student)
    with torch.no_grad():
        student.model.head.state_dict()["0.linear.weight"].add_(1.0)
    with full_disk((folder / file).stat().st_size - 1), pytest.raises(OSError, match="File too large"):
        save_student(student, folder)
    assert torch.equal(embeddings(load_student(folder)), before)
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
    save_student(student, folder)
    assert not torch.equal(embeddings(load_student(folder)), before)


def test_a_full_disk_leaves_nothing_where_nothing_was(student: Student, tmp_path: Path) -> None:
    with full_disk(1000), pytest.raises(OSError, match="File too large"):
        save_student(student, tmp_path / "student")
    assert list(tmp_path.iterdir()) == []
