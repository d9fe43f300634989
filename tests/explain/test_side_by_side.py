"""Two students' matches in one table."""

from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.explain.side_by_side import see, side_by_side
from colbert_lab.model.student import Student
from tests.toy import new_student

QUERY, RELEVANT, RIVAL = "red fish", "the red fish swims", "a bird in the sky"


@pytest.fixture
def students(student_settings: dict[str, Any]) -> list[Student]:
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made.append(new_student(**student_settings))
    return made


def test_the_margins_of_the_tokens_add_up_to_that_of_the_scores(students: list[Student]) -> None:
    seen = [see(letter, s, QUERY, RELEVANT, RIVAL) for letter, s in zip("AB", students, strict=True)]
    table = side_by_side("A win", seen)
    assert table.columns == (
        "query token", "A: relevant", "A: rival", "A: margin", "B: relevant", "B: rival", "B: margin",
    )  # fmt: skip
    assert [row[0] for row in table.rows if "special" not in row[0] and "marker" not in row[0]] == [
        "red", "fish", "**score**",
    ]  # fmt: skip
    for place, each in ((3, seen[0]), (6, seen[1])):
        assert sum(float(row[place]) for row in table.rows[:-1]) == pytest.approx(each.margin, abs=1e-3)
        assert table.rows[-1][place] == f"**{each.margin:+.4f}**"
    best = each.relevant.matches[-1]
    assert table.rows[-2][4].endswith(f"{best.best:.4f}")
    assert any(note.startswith("B, rival: document: ") for note in table.notes)


def test_students_that_read_the_query_otherwise_have_rows_of_their_own(
    student_settings: dict[str, Any],
) -> None:
    plain = new_student(**student_settings)
    prompted = new_student(**{**student_settings, "query_prompt": "what "})
    table = side_by_side(
        "", [see("A", plain, QUERY, RELEVANT, RIVAL), see("B", prompted, QUERY, RELEVANT, RIVAL)]
    )
    rows = [row for row in table.rows if "(prompt" in row[0]]
    assert rows
    for row in rows:
        assert row[1:4] == ("-", "-", "-")
        assert row[4] != "-"


def test_an_empty_text_is_refused(students: list[Student]) -> None:
    with pytest.raises(InputError, match="document"):
        see("A", students[0], QUERY, RELEVANT, "")
