"""What the ledger reads of runs, and of what is left of them."""

from __future__ import annotations

import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.analysis.ledger.entries import Entry
from colbert_lab.analysis.ledger.ledger import read_ledger
from colbert_lab.base.errors import InputError
from colbert_lab.base.locks import give_back, take_lock
from colbert_lab.records.owner import LOCK_FILE
from colbert_lab.records.records import Record, append_records
from colbert_lab.records.run_directory import RunDirectory
from tests.records.run_folders import write_run
from tests.records.test_run_directory import dead_process

GAINS = {"supervised": {"test": 0.1, "dev": 0.05}, "distill": {"test": 0.2, "dev": 0.15}}


def set_status(folder: Path, /, **values: Any) -> None:
    (folder / "status.json").write_text(json.dumps(values))


def only(outputs: Path) -> Entry:
    (entry,) = read_ledger(outputs)
    return entry


def test_a_finished_run(tmp_path: Path) -> None:
    run = write_run(tmp_path, "aa", 3, {"lr": "1"}, GAINS, reused={"supervised": "bb"})
    about = {
        "task": "train",
        "config_hash": "aa".ljust(64, "0"),
        "seed": 3,
        "factors": {"phases.distill.optimizer.lr": "1e-4"},
        "schedule": ["supervised", "distill"],
        "headline": "dev/ndcg@10",
        "processes": 9,
    }
    set_status(run, status="finished", started=1000.0, ended=1090.0, error=None, run=about)
    entry = only(tmp_path)
    assert (entry.name, entry.run_id, entry.path) == ("study", "aa00000000-s3", run)
    assert (entry.status, entry.error, entry.seconds) == ("finished", None, 90.0)
    assert (entry.seed, entry.config_hash, entry.task) == (3, "aa".ljust(64, "0"), "train")
    assert entry.factors == {"phases.distill.optimizer.lr": "1e-4"}
    assert entry.headline == "dev/ndcg@10"
    assert entry.phase == "distill"
    assert entry.values["dev/ndcg@10"].after == pytest.approx(0.5)
    assert entry.values["dev/ndcg@10"].before == pytest.approx(0.35)
    assert entry.values["test/ndcg@10"].change == pytest.approx(0.2)
    assert (entry.seconds_train, entry.seconds_reused) == (40.0, 20.0)
    assert entry.device_hours == pytest.approx(40 * 9 / 3600)
    assert entry.hardware == "2 cores"


def test_a_run_of_an_older_version_says_less(tmp_path: Path) -> None:
    run = write_run(tmp_path, "aa", 3, {"lr": "1"}, GAINS)
    (run / "config.yaml").write_text("evaluation:\n  headline: dev/ndcg@10\n")
    entry = only(tmp_path)
    assert (entry.seed, entry.factors, entry.headline) == (3, {"lr": "1"}, "dev/ndcg@10")
    assert (entry.device_hours, entry.seconds, entry.seconds_train) == (None, None, 60.0)


def test_what_the_run_says_of_itself_is_what_is_read(tmp_path: Path) -> None:
    """``RunDirectory.start`` writes it and ``end`` keeps it: a run that failed before it measured has its factors."""
    directory = RunDirectory(tmp_path / "kd" / "0123456789-s1", "0123456789-s1")
    directory.start(
        factors={"lr": "1"}, seed=1, config_hash="0123456789abc", headline=None, schedule=["distill"]
    )
    directory.end("failed", "OutOfMemoryError: more\nthan there is")
    (directory.path / "environment.json").write_text(
        '{"commit": "abc", "dirty": true, "hardware": "a laptop"}'
    )
    entry = only(tmp_path)
    assert (entry.name, entry.status, entry.error) == (
        "kd",
        "failed",
        "OutOfMemoryError: more\nthan there is",
    )
    assert (entry.factors, entry.config_hash, entry.headline) == ({"lr": "1"}, "0123456789abc", None)
    assert (entry.commit, entry.dirty, entry.hardware) == ("abc", True, "a laptop")
    assert (entry.values, entry.phase, entry.seconds_train) == ({}, None, 0.0)


@pytest.mark.parametrize(
    ("host", "alive", "status", "machine"),
    [
        (socket.gethostname(), True, "running", None),
        (socket.gethostname(), False, "killed", None),
        ("another", False, "running", "another"),
    ],
)
def test_a_running_run_lives_was_killed_or_is_elsewhere(
    tmp_path: Path, host: str, alive: bool, status: str, machine: str | None
) -> None:
    run = write_run(tmp_path, "aa", 1, {}, {})
    handle = take_lock(run / LOCK_FILE, wait=0) if alive else None
    set_status(run, status="running", started=1000.0, pid=dead_process(), host=host)
    os.utime(run / "status.json", (1500.0, 1500.0))
    entry = only(tmp_path)
    if handle is not None:
        give_back(handle)
    assert (entry.status, entry.host) == (status, machine)
    assert entry.seconds == 500.0 if status == "killed" else (entry.seconds or 0.0) > 1e6


def test_the_value_is_of_exact_search_and_of_the_last_phase(tmp_path: Path) -> None:
    run = write_run(tmp_path, "aa", 1, {}, {"supervised": {"test": 0.1}})

    def measured(phase: str, mode: str, value: float) -> None:
        record = Record(
            run_id=run.name, system="student", phase=phase, dataset="made", split="test", measure="ndcg@10",
            value=value, mode=mode,
        )  # fmt: skip
        append_records(run / "results.jsonl", [record])

    measured("supervised", "muvera", 0.2)
    assert only(tmp_path).values["test/ndcg@10"].after == pytest.approx(0.45)
    measured("distill", "muvera", 0.3)
    measured("distill", "plaid", 0.4)
    assert only(tmp_path).values["test/ndcg@10"].after == 0.3
    measured("distill", "exact", 0.5)
    assert only(tmp_path).values["test/ndcg@10"].after == 0.5


def test_a_split_that_the_last_phase_did_not_reach_has_no_value(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {}, {"supervised": {"test": 0.1, "dev": 0.1}, "distill": {"dev": 0.1}})
    values = only(tmp_path).values
    assert (values["test/ndcg@10"].after, values["test/ndcg@10"].change) == (None, None)
    assert values["dev/ndcg@10"].after is not None


def test_an_untrained_student_is_no_result(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {}, {"before": {"test": 0.0}}, status="failed")
    entry = only(tmp_path)
    assert entry.phase == "before"
    measured = entry.values["test/ndcg@10"]
    assert (measured.after, measured.change) == (None, None)
    assert measured.before == pytest.approx(0.35)


def test_the_student_of_an_evaluation_has_a_value_and_no_change(tmp_path: Path) -> None:
    run = tmp_path / "evaluate" / "0123456789-s1"
    run.mkdir(parents=True)
    set_status(run, status="finished")
    record = Record(
        run_id=run.name, system="student", phase="evaluate", dataset="d", split="test", measure="m", value=0.5
    )
    append_records(run / "results.jsonl", [record])
    measured = only(tmp_path).values["test/m"]
    assert (measured.after, measured.before, measured.change) == (0.5, None, None)


def test_a_line_cut_by_a_crash_is_skipped_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = write_run(tmp_path, "aa", 1, {}, {"distill": {"test": 0.1, "dev": 0.2}})
    write_run(tmp_path, "bb", 1, {}, {"distill": {"test": 0.1}})
    results = run / "results.jsonl"
    lines = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(b"".join(lines)[:-40])
    with caplog.at_level(logging.WARNING):
        cut, whole = read_ledger(tmp_path)
    (warning,) = caplog.messages
    assert warning.startswith(f"{results}, line {len(lines)} is skipped")
    assert cut.values["test/ndcg@10"].after == pytest.approx(0.45)
    assert cut.values["dev/ndcg@10"].after is None
    assert whole.values["test/ndcg@10"].after == pytest.approx(0.45)


@pytest.mark.parametrize("content", [None, "", '{"status": "fin', "[1]", "\xff"])
def test_a_damaged_status_file_is_skipped_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    run = write_run(tmp_path, "aa", 7, {"lr": "1"}, GAINS)
    status = run / "status.json"
    if content is None:
        status.unlink()
    else:
        status.write_bytes(content.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        entry = only(tmp_path)
    (warning,) = caplog.messages
    assert str(status) in warning
    assert content in (None, "\xff", "[1]") or "line 1: not valid JSON" in warning
    assert (entry.status, entry.seed, entry.factors) == ("unknown", 7, {"lr": "1"})
    assert entry.values["test/ndcg@10"].after == pytest.approx(0.55)


def test_a_damaged_phase_file_and_config_are_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = write_run(tmp_path, "aa", 1, {}, GAINS)
    (run / "distill" / "phase.json").write_text('{\n"steps":')
    (run / "config.yaml").write_text("a: [")
    with caplog.at_level(logging.WARNING):
        entry = only(tmp_path)
    assert (entry.seconds_train, entry.headline) == (20.0, None)
    assert sorted(message.split(": ")[0] for message in caplog.messages) == [
        f"{run / 'config.yaml'}, line 2",
        f"{run / 'distill' / 'phase.json'}, line 2",
    ]


def test_links_hidden_folders_and_what_is_inside_runs_do_not_count(tmp_path: Path) -> None:
    run = write_run(tmp_path, "aa", 1, {}, GAINS)
    (tmp_path / "study" / "latest").symlink_to(run.name)
    (tmp_path / "study" / "sweeps").mkdir()
    (tmp_path / "study" / "sweeps" / "seed=1").symlink_to(run)
    set_status(run / "distill", status="finished")
    (tmp_path / ".old").mkdir()
    set_status(tmp_path / ".old", status="finished")
    (tmp_path / "compare").mkdir()
    (tmp_path / "compare" / "x.md").write_text("")
    assert [entry.path for entry in read_ledger(tmp_path)] == [run]


def test_a_part_of_the_outputs_and_names_with_slashes(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    run = outputs / "group" / "kd" / "0123456789-s5-r2"
    run.mkdir(parents=True)
    set_status(run, status="failed")
    for folder, name in ((outputs, "group/kd"), (outputs / "group", "kd"), (run.parent, "kd"), (run, "kd")):
        entry = only(folder)
        assert (entry.name, entry.run_id, entry.seed) == (name, run.name, 5)


def test_no_runs_is_an_error_that_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^output_dir: no runs below {tmp_path} .*output_dir=DIR$"):
        read_ledger(tmp_path)
    with pytest.raises(InputError, match=rf"^output_dir: no such folder: {tmp_path}/nowhere"):
        read_ledger(tmp_path / "nowhere")
