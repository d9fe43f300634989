"""``task=report`` from the command line."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.records.owner import LOCK_FILE
from colbert_lab.records.records import append_records, read_records, rewrite_records
from colbert_lab.studies.rows import read_rows, with_run, write_rows
from tests.command import command
from tests.records.run_folders import write_run
from tests.report.support import a_sweep, one_run
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
        (("runs=[x]",), "runs: has no effect on a study; leave it out, or leave out study"),
        (("report.live=true",), "report.live: has no effect on a study; leave it out, or leave out study"),
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


def of_runs(outputs: Path, *given: str) -> tuple[int, str, str]:
    done = command("task=report", f"output_dir={outputs}", *given)
    return done.status, done.out, done.err


def begun(run: Path) -> int:
    """Have a run executed, as far as others see it; returns the handle whose end is its end."""
    about = {"status": "running", "started": time.time(), "pid": os.getppid(), "host": socket.gethostname()}
    (run / "status.json").write_text(json.dumps(about))
    handle = os.open(run / LOCK_FILE, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def ended(run: Path, started: float) -> None:
    """When a run was begun, and that it ended well."""
    (run / "status.json").write_text(json.dumps({"status": "finished", "started": started}))


def test_the_newest_run_is_taken_where_none_is_named(tmp_path: Path) -> None:
    old = write_run(tmp_path, "bb", 1, {}, {"distill": {"test": 0.2}})
    run = one_run(tmp_path)
    ended(old, 5.0)
    ended(run, 7.0)
    status, out, err = of_runs(tmp_path)
    assert status == 0, err
    assert out.startswith("Training shows no clear change of nDCG@10 on test: from 0.3500 to 0.4500")
    page = tmp_path / "reports" / f"study-{run.name}.html"
    assert f"the newest run: {run}" in err
    assert f"saved: {page}" in err
    assert "refresh" not in page.read_text()


def test_runs_and_a_folder_of_runs_have_one_page(tmp_path: Path) -> None:
    runs = a_sweep(tmp_path)
    status, out, err = of_runs(
        tmp_path, f"runs=[{tmp_path}/study]", f"out={tmp_path}/a.html", "report.queries=1"
    )
    assert status == 0, err
    assert out.startswith("f0=1, f1=0 has a higher nDCG@10 on test than f0=0, f1=0")
    assert (tmp_path / "a.html").read_text().count('class="query"') == 1
    status, out, _ = of_runs(tmp_path, f"runs=[{runs[6]},{runs[0]}]")
    assert status == 0
    assert out.startswith("f0=0, f1=0 has a lower nDCG@10 on test than f0=1, f1=1")
    assert (tmp_path / "reports" / "study.html").is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("runs=[nowhere]",), "runs: nowhere is no run and holds none; give outputs/NAME/latest"),
        ((), "runs: no finished run in {outputs}; give runs=[DIR], or output_dir=DIR"),
        (
            ("runs=[{running}]",),
            "runs: {running} has no finished run ({name}: running); task=report shows it with",
        ),
        (("runs=[{one},{other}]",), "runs: test: other text of n=2 and n=1: documents, queries or judgments"),
        (("report.every=0",), "report.every=0: must be at least 1"),
        (("runs=[{one}]", "out=x.pdf"), "out=x.pdf: must be a file that ends in .html"),
    ],
)
def test_a_mistake_about_runs_is_one_line(tmp_path: Path, given: tuple[str, ...], said: str) -> None:
    one = write_run(tmp_path / "a", "aa", 1, {"n": "1"}, {"distill": {"test": 0.1}})
    other = write_run(tmp_path / "a", "bb", 1, {"n": "2"}, {"distill": {"test": 0.1}}, fingerprint="newer")
    running = write_run(tmp_path / "b", "cc", 1, {}, {"distill": {"test": 0.1}})
    handle = begun(running)
    places: dict[str, Any] = {"one": one, "other": other, "running": running, "name": running.name}
    places["outputs"] = tmp_path / "out"
    status, _, err = of_runs(tmp_path / "out", *(word.format(**places) for word in given))
    os.close(handle)
    assert status == 2, err
    assert err.splitlines()[-1].startswith(f"error: {said.format(**places)}"), err
    assert not (tmp_path / "out" / "reports").exists()


def test_a_live_page_is_written_again_until_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = one_run(tmp_path)
    records = read_records(run / "results.jsonl")
    handle = begun(run)
    rewrite_records(run / "results.jsonl", [])
    out, pages = tmp_path / "page.html", []

    def sleep(seconds: float) -> None:
        assert seconds == 3
        pages.append(out.read_text())
        if len(pages) == 1:
            append_records(run / "results.jsonl", [each for each in records if each.phase != "distill"])
        elif len(pages) == 2:
            append_records(run / "results.jsonl", [each for each in records if each.phase == "distill"])
            ended(run, time.time())
            os.close(handle)

    monkeypatch.setattr("colbert_lab.tasks.report.time.sleep", sleep)
    status, said, err = of_runs(tmp_path, "report.live=true", "report.every=3", f"out={out}")
    assert status == 0, err
    assert len(pages) == 3  # also after the first look at which nothing ran
    assert all('http-equiv="refresh" content="3"' in page for page in pages)
    assert "Nothing is measured yet." in pages[0]
    assert "no phase is measured yet" in pages[1]
    assert "from 0.3500 to 0.4500" in pages[2]
    assert said.startswith("Training shows no clear change")
    assert "refresh" not in out.read_text()
