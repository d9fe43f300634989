"""The generated part of a study's README."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.base.errors import InputError
from colbert_lab.studies.answer import answer
from colbert_lab.studies.readme import BEGIN, END, NO_RUNS, generated, overview, write_overview, write_readme
from colbert_lab.studies.rows import read_rows, write_rows
from tests.studies.made_up import made_study


def test_it_replaces_what_is_between_the_marks(tmp_path: Path) -> None:
    study = made_study(tmp_path / "001_made_up")
    path = study.folder / "README.md"
    (study.folder / "figures").mkdir()
    (study.folder / "figures" / "old.svg").write_text("")
    write_readme(answer(study))
    text = path.read_text()
    assert text.startswith(f"# A study\n\nBefore.\n\n{BEGIN}\n\n**Question.** What does a first phase add")
    assert text.endswith(f"{END}\n\nAfter.\n")
    names = {each.name for each in (study.folder / "figures").iterdir()}
    assert names == {"differences.svg", "quality_cost.svg", "lineage.svg"}
    for name in names:
        assert f"](figures/{name})" in text
    for line in (
        "**Verdict.** Of 2 claims, 2 hold (1, 2).",
        "    python experiments/study.py run experiments/001_made_up",
        "    python -m colbert_lab -m +experiment=colbert_zero 'schedule=[distill]' name=001_made_up seed=1,2,3",
        "- Hardware: Some CPU, 2 cores, 23 GiB.",
    ):
        assert line in text.splitlines(), line
    before, after = "0.5018 [0.4776, 0.5262] ± 0.0000", "0.5518 [0.5270, 0.5769] ± 0.0000"
    assert f"| two phases | 1, 2, 3 | {before} | {after} | 180 | 400,000 |" in text
    files = {each: each.read_bytes() for each in study.folder.rglob("*.*")}
    write_readme(answer(study))
    assert {each: each.read_bytes() for each in study.folder.rglob("*.*")} == files
    write_readme(answer(replace(study, cost=None)))  # a study that does not ask what its cells cost
    assert {each.name for each in (study.folder / "figures").iterdir()} == {"differences.svg", "lineage.svg"}


def test_the_conclusion_is_shown(tmp_path: Path) -> None:
    text = generated(answer(made_study(tmp_path / "x", conclusion="So it is.")))
    assert "\n\nSo it is.\n\n" in text


def test_runs_of_several_machines_say_which(tmp_path: Path) -> None:
    study = made_study(tmp_path / "x")
    runs = read_rows(study)
    write_rows(study, [*runs[:-1], replace(runs[-1], facts={**runs[-1].facts, "hardware": "Another CPU"})])
    text = generated(answer(study))
    assert "- Machine 1: Some CPU, 2 cores, 23 GiB.\n- Machine 2: Another CPU.\n" in text
    machines = [line.split("|")[-2].strip() for line in text.splitlines() if "| 0123456 |" in line]
    assert machines == ["1"] * (len(runs) - 1) + ["2"]


def test_without_rows_it_says_so(tmp_path: Path) -> None:
    study = made_study(tmp_path / "x", seeds=())
    write_readme(answer(study))
    text = (study.folder / "README.md").read_text()
    assert NO_RUNS in text
    assert "No verdict yet" in text
    assert not (study.folder / "figures").exists()


def test_marks_that_are_missing_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    study = made_study(tmp_path / "x")
    path = study.folder / "README.md"
    path.write_text(f"{END}\n{BEGIN}\n")
    with pytest.raises(InputError, match=r"README\.md: must have these two lines once"):
        write_readme(answer(study))
    assert path.read_text() == f"{END}\n{BEGIN}\n"
    assert not (study.folder / "figures").exists()
    path.unlink()
    with pytest.raises(InputError, match=r"README\.md: is missing"):
        write_readme(answer(study))


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
