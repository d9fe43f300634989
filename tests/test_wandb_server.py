"""Runs beside a W&B server on loopback: it answers, is not there, or is gone while a run trains."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from colbert_lab import records
from colbert_lab.tracking.tracker import read_points
from colbert_lab.tracking.tracking import STEP, wandb_id
from tests import forked
from tests.command import command, the_run
from tests.conftest import ROOT
from tests.toy import toy_overrides, write_toy
from tests.tracking.offline import finished_run
from tests.tracking.wandb_server import ServedRun, WandbServer, environment, serving

CLOSED = "http://127.0.0.1:9"
"""Nothing listens there (the discard port)."""
HASTY = (
    "from colbert_lab.tracking import tracking\ntracking.RETRY_SECONDS = 1.0\n"
    "from colbert_lab.__main__ import main\nmain()\n"
)
"""The command line, which asks again after a second at most."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def offline(tiny_bert: Path, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was tracked offline."""
    outputs = tmp_path_factory.mktemp("outputs")
    done = command(*arguments(tiny_bert, toy, outputs), "tracking=offline")
    assert done.status == 0, done.err
    run = the_run(outputs, "toy")
    for file in run.rglob("run-*.wandb"):
        finished_run(file)
    return run


def arguments(tiny_bert: Path, toy: Path, outputs: Path) -> list[str]:
    return [*toy_overrides(tiny_bert, toy, outputs), "tracking=wandb", "evaluation.measures=[ndcg@10]"]


def lab(url: str, home: Path, *given: str, seconds: float = 100) -> tuple[CompletedProcess[str], float]:
    """The command line in a process that is logged in to a server, and how long it took."""
    home.mkdir(exist_ok=True)
    start = time.monotonic()
    there = environment(url, home) | {"HF_HUB_OFFLINE": "1"}
    done = forked.run(["-c", HASTY, *given], env=there, cwd=ROOT, timeout=seconds)
    return done, time.monotonic() - start


def sync(server: WandbServer, home: Path, *given: str) -> CompletedProcess[str]:
    """``wandb sync`` to a server."""
    home.mkdir(exist_ok=True)
    return forked.run(["-m", "wandb", "sync", *given], env=environment(server.url, home), cwd=home)


def served(server: WandbServer, run: Path) -> ServedRun:
    return server.runs[wandb_id("toy", run.name, "distill")]


def assert_whole(found: ServedRun, run: Path) -> None:
    """The server has the curve once, point by point, the records as they are on disk, and the measures."""
    rows = [row for _, row in sorted(found.history.items())]
    curve = [row for row in rows if not any(key.startswith(("tables/", "report/")) for key in row)]
    points = list(read_points(run / "distill" / "metrics.csv"))
    assert [row[STEP] for row in curve] == [step for step, _, _ in points]
    for row, (_, _, values) in zip(curve, points, strict=True):
        assert {key: row[key] for key in values} == values
    assert found.files["results.jsonl"] == (run / "results.jsonl").read_bytes()
    for record in records.load(run):
        if record.system == "student":
            assert found.summary[f"{record.phase}/{record.split}/{record.measure}"] == record.value
    assert found.complete
    assert found.fields["groupName"] == f"toy {run.name.split('-')[0]}"
    assert ("student", f"student-{run.name}-distill") in found.outputs
    assert [name.rpartition("-")[0] for name in found.inputs] == ["scores-lists.jsonl"]


def test_what_is_tracked_online_is_on_the_server(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    with serving() as server:
        done, _ = lab(
            server.url, tmp_path / "home", *arguments(tiny_bert, toy, tmp_path), "tracking.mode=online"
        )
        assert done.returncode == 0, done.stderr
        run = the_run(tmp_path, "toy")
        assert_whole(served(server, run), run)
    assert "W&B (online): http://127.0.0.1" in done.stderr
    assert "W&B does not have" not in done.stderr


def test_offline_folders_are_accepted_by_wandb_sync(offline: Path, tmp_path: Path) -> None:
    (folder,) = offline.glob("wandb/offline-run-*")
    shutil.copytree(folder, tmp_path / folder.name)
    with serving() as server:
        done = sync(server, tmp_path / "home", str(tmp_path / folder.name))
        assert done.returncode == 0, done.stderr
        assert_whole(served(server, offline), offline)


def test_older_folders_of_a_phase_are_passed_over(offline: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(offline.parent.parent, outputs, symlinks=True)
    run = the_run(outputs, "toy")
    (older,) = run.glob("wandb/offline-run-*")
    again = command("task=runs", f"output_dir={outputs}", "to=wandb", "tracking=offline", "progress=false")
    assert again.status == 0, again.err
    (newer,) = set(run.glob("wandb/offline-run-*")) - {older}
    for file in newer.glob("run-*.wandb"):
        finished_run(file)
    with serving() as server:
        done = sync(server, tmp_path / "home", str(run / "wandb"))
        assert done.returncode == 0, done.stderr
        assert "Syncing 1 run(s)" in done.stderr
        assert_whole(served(server, run), run)


def test_a_rebuild_goes_on_with_what_is_online(offline: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(offline.parent.parent, outputs, symlinks=True)
    given = ("task=runs", f"output_dir={outputs}", "to=wandb", "tracking.mode=online", "progress=false")
    run = the_run(outputs, "toy")
    with serving() as server:
        first, _ = lab(server.url, tmp_path / "home", *given)
        assert first.returncode == 0, first.stderr
        assert_whole(served(server, run), run)
        served(server, run).inputs.clear()
        second, _ = lab(server.url, tmp_path / "home", *given)
        assert second.returncode == 0, second.stderr
        assert list(server.runs) == [wandb_id("toy", run.name, "distill")]
        assert_whole(served(server, run), run)


def test_no_server_at_the_start_is_a_warning_and_offline(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    done, seconds = lab(CLOSED, tmp_path / "home", *arguments(tiny_bert, toy, tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"W&B: {CLOSED} cannot be reached (ConnectionError); going on offline" in done.stderr
    run = the_run(tmp_path, "toy")
    (folder,) = run.glob("wandb/offline-run-*")
    assert f"wandb sync {folder}\n" in done.stderr
    assert seconds < 200
    rows = [record.to_dict() for record in records.load(run)]
    assert [record.to_dict() for record in records.load(folder)] == rows


def test_no_server_is_an_error_before_training_where_online_is_asked_for(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    given = [*arguments(tiny_bert, toy, tmp_path / "outputs"), "tracking.mode=online"]
    done, _ = lab(CLOSED, tmp_path / "home", *given)
    assert done.returncode == 2, done.stderr
    assert f"error: tracking.mode=online: {CLOSED} cannot be reached" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "outputs").rglob("status.json"))


@pytest.mark.slow
@pytest.mark.parametrize("last", ["RunResumeStatus", "UpsertBucket", "CreateArtifact"])
def test_a_server_that_dies_loses_nothing(last: str, tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    """It answers until W&B's run is being opened, is open, or its first artifact is there, and never again."""
    home = tmp_path / "home"
    with serving(dies_after=last) as server:
        done, seconds = lab(
            server.url, home, *arguments(tiny_bert, toy, tmp_path), "tracking.mode=online", "tracking.wait_seconds=4"
        )  # fmt: skip
        assert server.dead
    assert done.returncode == 0, done.stderr
    assert seconds < 200
    run = the_run(tmp_path, "toy")
    assert json.loads((run / "status.json").read_text())["status"] == "finished"
    rows = [record.to_dict() for record in records.load(run)]
    assert {row["phase"] for row in rows} == {"baselines", "before", "distill"}
    assert [record.to_dict() for record in records.load(run / "wandb")] == rows
    with serving() as server:
        (told,) = [line for line in done.stderr.splitlines() if "W&B" in line and "wandb sync " in line]
        sent = sync(server, home, *told.rpartition("wandb sync ")[2].split())
        assert sent.returncode == 0, sent.stderr
        if last == "CreateArtifact":  # W&B keeps no artifacts in the files of an online run
            given = ("task=runs", f"output_dir={tmp_path}", "to=wandb", "tracking.mode=online")
            again, _ = lab(server.url, home, *given)
            assert again.returncode == 0, again.stderr
        assert_whole(served(server, run), run)
