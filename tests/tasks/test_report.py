"""``task=report`` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.studies.rows import read_rows, with_run, write_rows
from tests.command import command
from tests.studies.made_up import GAINS, made_run, made_study


def report(study: Path, outputs: Path, *more: str) -> tuple[int, str, str]:
    done = command("task=report", f"study={study}", f"output_dir={outputs}", *more)
    return done.status, done.out, done.err


def test_it_writes_one_file(tmp_path: Path) -> None:
    study = made_study(tmp_path / "001_made_up")
    status, out, err = report(study.folder, tmp_path / "outputs")
    assert (status, out) == (0, "Of 2 claims, 2 hold (1, 2).\n"), err
    page = tmp_path / "outputs" / "reports" / "001_made_up.html"
    assert [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()] == [page]
    assert str(page) in err
    again = tmp_path / "elsewhere" / "page.html"
    assert report(study.folder, tmp_path / "outputs", f"out={again}")[0] == 0
    assert again.read_bytes() == page.read_bytes()
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("study=nowhere",), "study=nowhere: no such folder"),
        (("study=null",), "study: which one? give its folder"),
        (("out=page.pdf",), "out=page.pdf: must be a file that ends in .html"),
        (("seed=3",), "seed: has no effect on task=report; leave it out"),
        (("student=modernbert",), "student: has no effect on task=report; leave it out"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    study = made_study(tmp_path / "001_made_up")
    status, _, err = report(study.folder, tmp_path / "outputs", *more)
    assert status == 2
    assert err.splitlines()[-1].startswith(f"error: {said}")
    assert not (tmp_path / "outputs" / "reports").exists()


def test_rows_that_are_missing_or_of_another_protocol_are_one_line(tmp_path: Path) -> None:
    empty = made_study(tmp_path / "002_empty", seeds=())
    status, _, err = report(empty.folder, tmp_path / "outputs")
    assert (status, "has no runs yet; make them with: python experiments/study.py run" in err) == (2, True)
    study = made_study(tmp_path / "003_other")
    write_rows(study, with_run(read_rows(study), made_run(study, "two", 3, GAINS["two"], depth=10)))
    status, _, err = report(study.folder, tmp_path / "outputs")
    assert (status, "was measured on another protocol of the split" in err) == (2, True)
    assert not list(tmp_path.rglob("*.html"))


def test_study_is_for_this_task_alone() -> None:
    done = command("task=runs", "study=experiments/001_schedules")
    assert done.status == 2
    assert "study: has no effect on task=runs; it is for task=report" in done.err
