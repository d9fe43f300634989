"""``experiments/study.py``: runs, rows and pages of a study that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.studies.lineage import chain
from colbert_lab.studies.reading import read_study
from colbert_lab.studies.rows import read_rows
from colbert_lab.studies.study_runs import PER_QUERY, RESULTS, RUNS
from tests import forked
from tests.conftest import ROOT
from tests.studies.made_up import write_study
from tests.toy import student_overrides, toy_overrides, write_toy

LR = "phases.distill.optimizer.lr"


def run(*arguments: object) -> CompletedProcess[str]:
    return forked.run(["experiments/study.py", *map(str, arguments)], cwd=ROOT)


def toy_study(folder: Path, tiny_bert: Path, toy: Path) -> Path:
    """Two confirmed cells, the second from the first's student, and two screened ones: a mistake, and one after it."""
    left_out = ("name=", "output_dir=", "tracking=", "progress=", "student.")
    student = [each for each in student_overrides(tiny_bert) if each.startswith("student.")]
    fixed = [each for each in toy_overrides(tiny_bert, toy, folder) if not each.startswith(left_out)]
    fixed = [each.replace(str(toy), "{collections}") for each in fixed]
    cells: dict[str, Any] = {
        "first": {"title": "once", "overrides": student},
        "second": {
            "title": "twice",
            "student_of": "first",
            "overrides": ["student.checkpoint={student}", f"{LR}=2e-3"],
        },
        "wrong": {"title": "a mistake", "overrides": [*student, "phases.distill.n_weigh=2"]},
        "after": {
            "title": "after it",
            "student_of": "wrong",
            "overrides": ["student.checkpoint={student}"],
        },
    }
    claim = {"claim": "x", "weights": {"second": 1, "first": -1}, "expect": "higher", "margin": 0.01}
    return write_study(
        folder,
        fixed=fixed,
        cells=cells,
        seeds=[1],
        confirmed=["first", "second"],
        screened=["wrong", "after"],
        claims=[claim],
    )


@pytest.mark.slow
def test_a_study_is_run_once_and_survives_a_cell_that_fails(tiny_bert: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    folder = toy_study(tmp_path / "001_toy", tiny_bert, toy)
    given = (
        "run",
        folder,
        "--collections",
        toy,
        "--outputs",
        tmp_path / "outputs",
        "--set",
        "progress=false",
    )
    assert "001_toy needs collections: give --collections DIR" in run("run", folder).stderr
    done = run(*given)
    assert done.returncode == 1, done.stderr
    problems = [line for line in done.stderr.splitlines() if line.startswith("error: [")]
    assert len(problems) == 2, done.stderr
    assert problems[0].startswith("error: [2/4] wrong, seed 1: exit status ")
    assert problems[1].startswith("error: [4/4] after, seed 1: ")
    assert "n_weigh" in problems[1]
    assert "001_toy: 2 of 4 runs. The claim: " in done.stdout
    study = read_study(folder)
    runs = read_rows(study)
    assert [run.cell for run in runs] == ["first", "second"]
    assert len(chain(study, runs, runs[1])) == 2
    assert runs[0].facts["packages"]["torch"]
    assert runs[0].facts["seconds"] > runs[0].facts["phases"]["distill"]["seconds"]
    text = "".join((folder / name).read_text() for name in (RESULTS, RUNS, PER_QUERY, "README.md"))
    assert str(toy) not in text
    ids = [json.loads(line)["run_id"] for line in (folder / RUNS).read_text().splitlines()]
    assert f"student.checkpoint=outputs/001_toy/{ids[0]}/distill/student" in text
    rows = {name: (folder / name).read_bytes() for name in (RESULTS, RUNS, PER_QUERY, "README.md")}
    again = run(*given, "--cells", "first", "second")
    assert again.returncode == 0, again.stderr
    assert {name: (folder / name).read_bytes() for name in rows} == rows
    checked = run("check", *given[1:], "--cells", "first")
    assert checked.returncode == 0, checked.stderr
    assert f"first, seed 1: all {len(runs[0].records)} numbers came out again" in checked.stdout
    assert [each.name for each in (tmp_path / "outputs_again" / "001_toy").glob("*-s1")] == ids[:1]
    assert "reused from" not in checked.stdout
    assert {name: (folder / name).read_bytes() for name in rows} == rows
    for name in (RESULTS, RUNS, PER_QUERY):
        (folder / name).unlink()
    collected = run("collect", *given[1:6])
    assert collected.returncode == 1
    assert [line.split(":")[1] for line in collected.stderr.splitlines()] == [
        " wrong, seed 1",
        " after, seed 1",
    ]
    assert "001_toy: 2 of 4 runs are below" in collected.stdout, collected.stderr
    assert {name: (folder / name).read_bytes() for name in rows} == rows


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "001_x")
    for arguments, said in (
        (("run",), "run: give the folder of a study"),
        (("run", folder, "--cells", "other"), "--cells other: no such cell; there are one, two"),
        (("run", folder, "--seeds", "9"), "--seeds 9: no run has them"),
        (("run", folder, "--set", "seed=3"), "--set seed=3: would make other runs than the study's"),
        (("table", tmp_path / "nowhere"), "no such folder; there are 001_x"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert said in done.stderr.splitlines()[-1]
    assert not list(folder.glob("*.jsonl"))
    listed = run("commands", folder).stdout.splitlines()
    assert len(listed) == 10
    assert (
        listed[0] == "python -m colbert_lab +experiment=colbert_zero 'schedule=[distill]' name=001_x seed=1"
    )
