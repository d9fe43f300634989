"""Prefixes of embeddings: those of a student whose head is cut, kept with the student, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.model.changing import trained_at, widened, with_output
from colbert_lab.model.colbert import ColBERT, Head, head_shapes
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.own import load_student, save_student
from colbert_lab.model.matryoshka import check_dims, packed_prefix, unit_prefix
from colbert_lab.model.student import Student
from colbert_lab.search.corpus import student_fingerprint
from tests.tiny import sentences
from tests.toy import new_student


def cut_head(student: Student, dim: int) -> Student:
    """The student whose last layer has its first rows alone."""
    model, weights = student.model, student.model.head.state_dict()
    head = Head(head_shapes(model.backbone.config.hidden_size, dim, bias="0.linear.bias" in weights))
    head.load_state_dict({name: value[:dim] for name, value in weights.items()})
    return Student(ColBERT(model.backbone, head, model.pooling), student.tokenizer)


@pytest.mark.parametrize("changes", [{}, {"bias": True}, {"output": "single", "pooling": "mean"}])
def test_a_prefix_is_what_a_cut_head_gives(changes: dict[str, Any], student_settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    student = new_student(**student_settings | changes)
    student.model.eval()
    texts = sentences(9)
    for dim in (1, 5, 16):
        whole = encode(student, texts, "document", token_budget=200)
        cut = encode(cut_head(student, dim), texts, "document", token_budget=200)
        found = packed_prefix(whole, dim)
        assert torch.equal(found.lengths_N, cut.lengths_N)
        assert found.emb_TD.shape == cut.emb_TD.shape
        torch.testing.assert_close(found.emb_TD, cut.emb_TD, rtol=0, atol=2e-6)


def test_the_whole_embedding_keeps_its_bits() -> None:
    emb = torch.nn.functional.normalize(torch.randn(3, 4, 8), dim=-1)
    assert unit_prefix(emb, 8) is emb
    torch.testing.assert_close(unit_prefix(emb, 3).norm(dim=-1), torch.ones(3, 4))


def test_dimensions_are_kept_with_the_student(student_settings: dict[str, Any], tmp_path: Path) -> None:
    plain = new_student(**student_settings)
    student = trained_at(plain, [4, 16])
    assert (plain.model.dims, student.model.dims) == ((16,), (4, 16))
    save_student(plain, tmp_path / "plain")
    save_student(student, tmp_path / "student")
    file = tmp_path / "student" / "colbert_lab.json"
    settings = json.loads(file.read_text())
    assert settings.pop("matryoshka") == [4, 16]
    assert settings == json.loads((tmp_path / "plain" / "colbert_lab.json").read_text())
    again = load_student(tmp_path / "student")
    assert again.model.matryoshka == (4, 16)
    assert student_fingerprint(again) == student_fingerprint(plain)  # its embeddings are the same
    assert widened(again, 32).model.matryoshka == (4, 16)
    dense = new_student(**student_settings | {"output": "single"})
    dense = trained_at(dense, [8, 16])
    assert with_output(dense, "single", "cls", 16, False).model.matryoshka == (8, 16)
    assert with_output(dense, "multi", "mean", 4, False).model.matryoshka is None  # the head is new
    for damage in ("[4, 99]", '["a"]', "7"):
        file.write_text(json.dumps(settings | {"matryoshka": json.loads(damage)}))
        with pytest.raises(InputError, match=r"colbert_lab\.json: ?.*matryoshka"):
            load_student(tmp_path / "student")


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ([], r"student.matryoshka=\[\]: holds nothing"),
        ([0, 4], r"student.matryoshka=\[0, 4\]: must be whole numbers, at least 1"),
        ([4, 4], r"student.matryoshka=\[4, 4\]: must rise"),
        ([8, 4], r"student.matryoshka=\[8, 4\]: must rise"),
        ([4, 32], r"student.matryoshka=\[4, 32\]: the student has 16 dimensions"),
    ],
)
def test_what_cannot_be(dims: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_dims(dims, 16)


def test_dimensions_that_no_loss_sees_are_told(
    student_settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    student = new_student(**student_settings)
    trained_at(student, [4, 16])
    assert not caplog.messages
    trained_at(student, [4, 8])
    assert "student.matryoshka=[4, 8]: no loss sees the student's 16 dimensions as a whole" in caplog.text
