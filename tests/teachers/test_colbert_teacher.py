"""A student as teacher: MaxSim of pairs, each text encoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.own import save_student
from colbert_lab.model.maxsim import maxsim
from colbert_lab.model.student import Student
from colbert_lab.teachers import colbert_teacher as subject
from colbert_lab.teachers.colbert_teacher import ColBERTTeacher
from colbert_lab.text.collections.collection import build_corpus
from tests.tiny import sentences
from tests.toy import new_student


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    torch.manual_seed(0)
    return new_student(**student_settings)


@pytest.fixture
def teacher(student: Student, tmp_path: Path) -> ColBERTTeacher:
    save_student(student, tmp_path / "run" / "distill" / "student")
    return ColBERTTeacher(str(tmp_path / "run" / "distill" / "student"), accelerator="cpu", token_budget=100)


def one_by_one(student: Student, query: str, document: str) -> float:
    """The reference MaxSim of a pair without a batch."""
    sides = []
    student.model.eval()
    with torch.inference_mode():
        for text, role in ((query, "query"), (document, "document")):
            tokens = student.tokenizer.pad(student.tokenizer.ids([text], role), role)  # type: ignore[arg-type]
            sides.append(student.model(tokens))
    return float(maxsim(*sides)[0, 0])


def test_pairs_have_their_maxsim_in_order(teacher: ColBERTTeacher, student: Student) -> None:
    queries, documents = sentences(6, seed=1, high=8), sentences(9, seed=2, high=14)
    pairs = [(queries[n % 6], documents[(5 * n) % 9]) for n in range(40)]
    scores = teacher.score_pairs([q for q, _ in pairs], [d for _, d in pairs])
    expected = torch.tensor([one_by_one(student, q, d) for q, d in pairs])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-3


def test_every_text_is_encoded_once(teacher: ColBERTTeacher, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def counted(student: Any, texts: Any, role: Any, **settings: Any) -> Any:
        asked.append((role, len(texts)))
        return encode(student, texts, role, **settings)

    monkeypatch.setattr(subject, "encode", counted)
    teacher.score_pairs(["red fish"] * 5 + ["blue sky"] * 5, sentences(5) * 2)
    assert asked == [("query", 2), ("document", 5)]


def test_an_index_scores_every_document(teacher: ColBERTTeacher, student: Student) -> None:
    documents, queries = sentences(9, seed=2, high=14), sentences(3, seed=1, high=8)
    scores = teacher.index(build_corpus([str(n) for n in range(9)], documents)).scores(queries)
    expected = torch.tensor([[one_by_one(student, q, d) for d in documents] for q in queries])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


def test_a_folder_that_is_no_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"teacher.checkpoint=.*: not a student folder"):
        ColBERTTeacher(str(tmp_path)).score_pairs(["red"], ["blue"])


def test_the_name_is_the_end_of_the_path() -> None:
    assert ColBERTTeacher("/long/way/RUN/distill/student").name == "colbert (RUN/distill/student)"


def test_it_has_the_score_of_the_student(student_settings: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = new_student(**student_settings, score="mean_maxsim")
    save_student(student, tmp_path / "student")
    teacher = ColBERTTeacher(str(tmp_path / "student"), accelerator="cpu")
    queries, documents = sentences(2, seed=1, high=8), sentences(2, seed=2, high=14)
    n = torch.tensor([int(student.tokenizer([q], "query").score_mask_NL.sum()) for q in queries])
    sums = torch.tensor([one_by_one(student, q, d) for q, d in zip(queries, documents, strict=True)])
    torch.testing.assert_close(teacher.score_pairs(queries, documents), sums / n, atol=1e-6, rtol=0)
    every = teacher.index(build_corpus(["a", "b"], documents)).scores(queries)
    torch.testing.assert_close(every.diagonal(), sums / n, atol=1e-6, rtol=0)
