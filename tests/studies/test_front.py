"""What the front page says of a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.base.errors import InputError
from colbert_lab.studies.answer import answer
from colbert_lab.studies.front import TITLE, front
from colbert_lab.studies.pages import BEGIN, END, write_front
from colbert_lab.studies.rows import read_rows, write_rows
from tests.studies.made_up import made_study


def test_claims_that_a_study_names_stand_with_their_numbers_and_cost(tmp_path: Path) -> None:
    answers = [
        answer(made_study(tmp_path / "experiments" / "001_other")),
        answer(made_study(tmp_path / "experiments" / "002_named", front=[2])),
    ]
    text = front(answers, tmp_path)
    assert text.startswith(
        f"## {TITLE}\n\n| claim | difference, nDCG@10 | seeds | training, s | verdict |\n|---|"
    )
    (row,) = [line for line in text.splitlines() if line.startswith("| ") and "claim |" not in line]
    found = answers[1].found[1]
    assert found.interval is not None
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert cells[0] == found.claim.claim
    assert cells[1] == f"{found.interval.mean:+.4f} {found.interval.bounds('+')}"
    assert cells[2:] == ["3", "180, 180", "holds (within 0.01)"]
    assert "](experiments/002_named/README.md)" in text
    assert text.rstrip().endswith("- It is made up.")
    page = tmp_path / "README.md"
    page.write_text(f"# Front\n\n{BEGIN}\n{END}\n\nAfter.\n")
    write_front(answers, page)
    assert page.read_text() == f"# Front\n\n{BEGIN}\n\n{text}\n{END}\n\nAfter.\n"


def test_without_claims_or_rows_there_is_nothing(tmp_path: Path) -> None:
    assert front([answer(made_study(tmp_path / "x"))], tmp_path) == ""
    assert front([answer(made_study(tmp_path / "y", seeds=(), front=[1]))], tmp_path) == ""


def test_two_studies_cannot_both_be_there(tmp_path: Path) -> None:
    both = [answer(made_study(tmp_path / name, front=[1])) for name in ("one", "two")]
    with pytest.raises(InputError, match=r"two: front: one has claims on the front page already$"):
        front(both, tmp_path)


@pytest.mark.parametrize("number", [0, 3, "first"])
def test_a_claim_that_is_not_there_is_refused(number: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"front: {number!r} is no number of a claim; there are 1 to 2$"):
        made_study(tmp_path / "x", front=[number])


def test_the_whole_cost_counts_a_phase_once_and_says_what_runs_took(tmp_path: Path) -> None:
    study = made_study(tmp_path / "x")
    runs = read_rows(study)
    phases = {
        (run.seed, phase["phase_hash"]): phase["seconds"]
        for run in runs
        for phase in run.facts["phases"].values()
        if phase.get("reused_from") is None
    }
    told = f"took {sum(phases.values()) / 3600:.1f} hours of training."
    assert sum(told in note for note in answer(study).tables[-1].notes) == 1
    write_rows(study, [replace(run, facts={**run.facts, "seconds": 3600.0}) for run in runs])
    said = f"With loading, baselines and evaluations they took {len(runs):.1f} hours, run by run."
    assert sum(said in note for note in answer(study).tables[-1].notes) == 1
