"""What a conversion leaves behind is told."""

from __future__ import annotations

from typing import Any

from colbert_lab.model.changing import trained_at
from colbert_lab.publish.converting import notes
from tests.toy import new_student


def test_other_layouts_cannot_say_which_prefixes_are_trained(student_settings: dict[str, Any]) -> None:
    student = new_student(**student_settings)
    told = "the layout cannot say that prefixes of 4, 16 dimensions are trained (student.matryoshka)"
    assert told in notes(trained_at(student, [4, 16]), "pylate")
    assert told not in notes(trained_at(student, [4, 16]), "colbert_lab")
    assert not any("matryoshka" in note for note in notes(student, "pylate"))
