"""The ledger's index: what has not changed is not read again, and nothing old is shown."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from colbert_lab.analysis.ledger import ledger
from colbert_lab.analysis.ledger.entries import Entry, Measured, StudentValues
from colbert_lab.analysis.ledger.ledger import read_ledger
from colbert_lab.base import outside
from tests.records.run_folders import MEASURE, write_run

GAINS = {"distill": {"test": 0.1, "dev": 0.05}}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for config in ("aa", "bb", "cc"):
        settled(write_run(tmp_path / "outputs", config, 1, {"lr": config}, GAINS))
    return tmp_path / "outputs"


def settled(run: Path) -> None:
    """As if its files were a day old."""
    for file in run.rglob("*"):
        if file.is_file():
            os.utime(file, (1e9, 1e9))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs whose files are read."""
    names: list[str] = []
    before = ledger._read

    def watched(path: Path, name: str) -> tuple[Entry, list[str]]:
        names.append(path.name)
        return before(path, name)

    monkeypatch.setattr(ledger, "_read", watched)
    return names


def test_the_second_time_says_the_same_and_reads_nothing(
    outputs: Path, tmp_path: Path, read: list[str]
) -> None:
    first = read_ledger(outputs, tmp_path / "cache")
    assert len(read) == 3
    read.clear()
    second = read_ledger(outputs, tmp_path / "cache")
    assert read == []
    assert [vars(entry) for entry in second] == [vars(entry) for entry in first]
    assert [vars(entry) for entry in second] == [vars(entry) for entry in read_ledger(outputs)]
    assert not any(path.name.startswith(".") for path in outputs.rglob("*"))


@pytest.mark.parametrize(
    "file", ["status.json", "results.jsonl", "distill/phase.json", "config.yaml", "environment.json"]
)
def test_a_run_of_which_a_file_changed_is_read_again(
    outputs: Path, tmp_path: Path, read: list[str], file: str
) -> None:
    read_ledger(outputs, tmp_path / "cache")
    read.clear()
    run = sorted((outputs / "study").iterdir())[1]
    before = (run / file).read_bytes() if (run / file).exists() else b""
    (run / file).write_bytes(before.replace(b"finished", b"failed  ").replace(b"20.0", b"90.0") or b"{}")
    os.utime(run / file, (1e9, 1e9))  # neither its size nor its time tells
    entries = read_ledger(outputs, tmp_path / "cache")
    assert read == [run.name]
    if file == "distill/phase.json":
        assert entries[1].seconds_train == 90.0


def test_runs_come_and_go(outputs: Path, tmp_path: Path, read: list[str]) -> None:
    read_ledger(outputs, tmp_path / "cache")
    first, second, third = sorted((outputs / "study").iterdir())
    for name in ("status.json", "results.jsonl"):
        (first / name).unlink()  # what is left is no run
    second.rename(outputs / "study" / "dddddddddd-s1")
    settled(write_run(outputs, "ee", 1, {}, GAINS))
    read.clear()
    found = [entry.run_id for entry in read_ledger(outputs, tmp_path / "cache")]
    assert found == [third.name, "dddddddddd-s1", "ee00000000-s1"]
    assert read == ["dddddddddd-s1", "ee00000000-s1"]
    read.clear()
    assert len(read_ledger(outputs / "study", tmp_path / "cache")) == 3
    assert len(read) == 3  # another folder has another index


def test_what_may_say_something_else_tomorrow_is_not_kept(
    outputs: Path, tmp_path: Path, read: list[str]
) -> None:
    running, fresh, kept = sorted((outputs / "study").iterdir())
    damaged = write_run(outputs, "dd", 1, {}, GAINS)
    (damaged / "distill" / "phase.json").write_text("[]")
    settled(damaged)
    (running / "status.json").write_text(json.dumps({"status": "running", "host": "elsewhere", "pid": 1}))
    settled(running)
    (fresh / "environment.json").write_text("{}")  # just now: the next change may have the same time
    read_ledger(outputs, tmp_path / "cache")
    read.clear()
    read_ledger(outputs, tmp_path / "cache")
    assert read == [running.name, fresh.name, damaged.name]  # damage is told each time
    assert kept.name not in read


@pytest.mark.parametrize("damage", [b"", b"{}", b"1 x\n{", b"\xff", None])
def test_a_damaged_index_is_made_anew(
    outputs: Path, tmp_path: Path, read: list[str], damage: bytes | None
) -> None:
    read_ledger(outputs, tmp_path / "cache")
    (file,) = (tmp_path / "cache" / "ledger").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"finished", b"failed..") if damage is None else damage)
    read.clear()
    assert {entry.status for entry in read_ledger(outputs, tmp_path / "cache")} == {"finished"}
    assert len(read) == 3
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_alone(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert len(read_ledger(outputs, tmp_path / "cache")) == 3


def test_many_runs_are_read_by_several_processes_to_the_same(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = sorted((outputs / "study").iterdir())[0]
    damaged = run / "distill" / "phase.json"
    damaged.write_text("[")
    alone = read_ledger(outputs)
    told = [each for each in caplog.messages if str(damaged) in each]
    assert len(told) == 1
    monkeypatch.setattr(outside, "_warned", set())
    monkeypatch.setattr(ledger, "FEW", 1)
    monkeypatch.setattr(ledger, "_read", None)  # of this process, which does not read
    together = read_ledger(outputs, tmp_path / "cache", processes=2)
    assert [vars(entry) for entry in together] == [vars(entry) for entry in alone]
    assert [each for each in caplog.messages if str(damaged) in each] == told * 2
    monkeypatch.setattr(ledger, "FEW", 500)
    with pytest.raises(TypeError):  # the damaged one alone is read again, by this process
        read_ledger(outputs, tmp_path / "cache")


def test_a_killed_run_is_not_read_again(outputs: Path, tmp_path: Path, read: list[str]) -> None:
    run = sorted((outputs / "study").iterdir())[0]
    (run / "status.json").write_text(
        json.dumps({"status": "running", "pid": 2**22 + 1, "host": socket.gethostname()})
    )
    settled(run)
    assert read_ledger(outputs, tmp_path / "cache")[0].status == "killed"
    read.clear()
    assert read_ledger(outputs, tmp_path / "cache")[0].status == "killed"
    assert read == []


def test_exact_search_counts_and_else_the_first_way_to_search() -> None:
    def said(*ways: tuple[str, float]) -> dict[str, Measured]:
        values = StudentValues()
        for mode, value in ways:
            values.add(
                {"split": "test", "measure": MEASURE, "phase": "distill", "mode": mode, "value": value}
            )
        return values.values()

    key = f"test/{MEASURE}"
    assert said(("exact", 0.5), ("muvera", 0.2))[key].after == 0.5
    assert said(("muvera", 0.2), ("exact", 0.5), ("exact", 0.6))[key].after == 0.6
    assert said(("muvera", 0.2), ("plaid", 0.3))[key].after == 0.2
    assert said(("muvera", 0.2), ("plaid", 0.3), ("muvera", 0.4))[key].after == 0.4
