"""The table of all studies in the project's README."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.errors import InputError
from colbert_lab.studies.answer import answer
from colbert_lab.studies.overview import overview, write_overview
from colbert_lab.studies.readme import BEGIN, END
from tests.studies.made_up import made_study


def test_every_tested_claim_is_a_row_below_its_study(tmp_path: Path) -> None:
    answers = [
        answer(made_study(tmp_path / "experiments" / "001_first")),
        answer(made_study(tmp_path / "experiments" / "002_without_runs", seeds=())),
        answer(made_study(tmp_path / "experiments" / "003_last", title="Does it, again?")),
    ]
    rows = [line for line in overview(answers, tmp_path).splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| [Does a second phase pay?](experiments/001_first/README.md)",
        "| ",
        "| [Does it, again?](experiments/003_last/README.md)",
        "| ",
    ]
    first = answers[0].found[0]
    assert first.interval is not None
    difference = f"{first.interval.mean:+.4f} [{first.interval.low:+.4f}, {first.interval.high:+.4f}]"
    assert rows[0].endswith(f"| Two are better than one. | {difference} | 200 x 3 | holds |")


def test_without_rows_nothing_is_shown_and_marks_are_asked_for(tmp_path: Path) -> None:
    nothing = [answer(made_study(tmp_path / "001_x", seeds=()))]
    path = tmp_path / "README.md"
    path.write_text(f"Before.\n{BEGIN}\nold\n{END}\nAfter.\n")
    write_overview(nothing, path)
    assert path.read_text() == f"Before.\n{BEGIN}\n\n\n{END}\nAfter.\n"
    path.write_text("no marks")
    with pytest.raises(InputError, match=r"README\.md: must have these two lines once"):
        write_overview(nothing, path)
