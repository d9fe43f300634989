"""Two students' matches in one table."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from colbert_lab.base.errors import InputError
from colbert_lab.explain.matches import Explanation, explain
from colbert_lab.explain.tables import print_explanation, see, side_by_side
from colbert_lab.model.student import Student
from tests.explain.support import student_of
from tests.toy import new_student

QUERY, DOCUMENT = "swims, red", "a red fish swims in the river, İstanbul \x1b[31m red"


@pytest.fixture
def explanation(tmp_path: Path) -> Explanation:
    student = student_of(
        "byte_bpe", tmp_path, expansion="attended", query_marker="[Q]", query_prompt="q: ", document_length=24
    )
    return explain(student, QUERY, DOCUMENT)


def printed(explanation: Explanation, top: int = 2, width: int = 120, terminal: bool = False) -> str:
    file = io.StringIO()
    colours = "truecolor" if terminal else None
    print_explanation(
        explanation,
        top,
        Console(file=file, width=width, force_terminal=terminal, color_system=colours, highlight=False),  # type: ignore[arg-type]
    )
    return file.getvalue()


def test_the_numbers_are_those_of_the_explanation(explanation: Explanation) -> None:
    lines = printed(explanation).splitlines()
    for match in explanation.matches:
        label = explanation.query.tokens[match.token].label
        (line,) = [line for line in lines if line.startswith(f"{label} ") and "%" in line]
        values = [float(value) for value in re.findall(r"-?\d+\.\d{4}", line)]
        assert values == pytest.approx([match.best, *match.similarities[:2]], abs=5e-5)
        assert f"{match.share:.1%}" in line
    text = " ".join(" ".join(lines).split())
    assert f"score {explanation.score:.4f}: the sum over 16 tokens" in text
    assert f"{explanation.document.cut} tokens of the document are cut" in text
    for n, weight in explanation.weights().items():
        about = explanation.document.tokens[n].about
        shown = explanation.document.tokens[n].label + (f" ({about})" if about else "")
        assert f"{shown} {weight:.4f}" in text
    assert "[Q] (marker)" in text
    assert "(expansion)" in text
    assert "(prompt)" in text


def test_colours_are_for_terminals(explanation: Explanation) -> None:
    assert "\x1b" not in printed(explanation)
    coloured = printed(explanation, terminal=True)
    assert "\x1b[" in coloured
    assert "\x1b[31m red" not in coloured  # the document's own escape code is shown, not obeyed


@pytest.mark.parametrize(("no_color", "found"), [("1", False), ("", True)])
def test_no_color_is_honoured(
    explanation: Explanation,
    no_color: str,
    found: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any output for a terminal
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    print_explanation(explanation, 1)
    assert ("\x1b" in capsys.readouterr().out) is found


def test_a_pipe_has_no_escape_codes(explanation: Explanation, capsys: pytest.CaptureFixture[str]) -> None:
    print_explanation(explanation, 3)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "red" in out


def test_nothing_is_lost_on_a_narrow_terminal(explanation: Explanation) -> None:
    wide, narrow = (re.findall(r"\d\.\d{4}", printed(explanation, 3, width)) for width in (200, 60))
    assert sorted(wide) == sorted(narrow)


ASKED, RELEVANT, RIVAL = "red fish", "the red fish swims", "a bird in the sky"


@pytest.fixture
def students(student_settings: dict[str, Any]) -> list[Student]:
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made.append(new_student(**student_settings))
    return made


def test_the_margins_of_the_tokens_add_up_to_that_of_the_scores(students: list[Student]) -> None:
    seen = [see(letter, s, ASKED, RELEVANT, RIVAL) for letter, s in zip("AB", students, strict=True)]
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
        "", [see("A", plain, ASKED, RELEVANT, RIVAL), see("B", prompted, QUERY, RELEVANT, RIVAL)]
    )
    rows = [row for row in table.rows if "(prompt" in row[0]]
    assert rows
    for row in rows:
        assert row[1:4] == ("-", "-", "-")
        assert row[4] != "-"


def test_an_empty_text_is_refused(students: list[Student]) -> None:
    with pytest.raises(InputError, match="document"):
        see("A", students[0], ASKED, RELEVANT, "")
