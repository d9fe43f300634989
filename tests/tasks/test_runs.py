"""``task=runs`` on the command line."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import command
from tests.conftest import ROOT
from tests.records.run_folders import write_run

LR = "phases.distill.optimizer.lr"


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Three finished runs, of which two differ in the seed alone, and a failed one."""
    gains = {"distill": {"test": 0.1, "dev": 0.1}}
    for config, seed, factors, status in (
        ("aa", 1, {LR: "1e-4"}, "finished"),
        ("aa", 2, {LR: "1e-4"}, "finished"),
        ("bb", 1, {LR: "3e-5", "n_way": "8"}, "finished"),
        ("cc", 1, {LR: "1e-3"}, "failed"),
    ):
        run = write_run(tmp_path / "outputs", config, seed, factors, gains, rankings=False, status=status)
        (run / "config.yaml").write_text("evaluation: {headline: dev/ndcg@10}\n")
    return tmp_path / "outputs"


def test_runs_are_listed(outputs: Path) -> None:
    outcome = command("task=runs", f"output_dir={outputs}", "ledger.sort=[status,run]")
    assert outcome.status == 0, outcome.err
    assert f"4 of 4 runs below {outputs}" in outcome.out
    first = [line.split()[0] for line in outcome.out.splitlines() if line.startswith(("aa", "bb", "cc"))]
    assert first[:4] == ["cc00000000-s1", "aa00000000-s1", "aa00000000-s2", "bb00000000-s1"]
    assert "lr=3e-5, n_way=8" in outcome.out
    assert "2 seeds" in outcome.out
    assert "cc00000000-s1 failed: no error is recorded" in outcome.out
    assert not list(outputs.glob("*.*")), "nothing is written unless out= asks for it"


@pytest.mark.parametrize(
    "where",
    [
        f'ledger.where=["seed=1","{LR}=1e-4"]',
        f"ledger.where=[seed=1,{LR}=1e-4]",  # what bash leaves of the first
        "ledger.where=seed=1 and lr=0.0001",
        "ledger.where=run=aa*-s1",
    ],
)
def test_conditions_of_the_command_line(outputs: Path, where: str) -> None:
    outcome = command("task=runs", f"output_dir={outputs}", where, "ledger.columns=[run]")
    assert outcome.status == 0, outcome.err
    assert "1 of 4 runs" in outcome.out
    assert "aa00000000-s1" in outcome.out


@pytest.mark.parametrize("ending", [".csv", ".json", ".md"])
def test_the_list_goes_to_a_file(outputs: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / "tables" / f"runs{ending}"
    outcome = command("task=runs", f"output_dir={outputs}", f"out={out}", "ledger.status=finished")
    assert outcome.status == 0, outcome.err
    assert f"saved: {out}" in outcome.err
    text = out.read_text()
    if ending == ".csv":
        assert sorted({row["run"] for row in csv.DictReader(text.splitlines())}) == [
            "aa00000000-s1", "aa00000000-s2", "bb00000000-s1",
        ]  # fmt: skip
    elif ending == ".json":
        assert len(json.loads(text)) == 3
    else:
        assert "| aa00000000-s2 | study | finished | 2 | 0.4500 | +0.1000 |" in text


def test_nothing_that_fits_is_said_and_is_no_error(outputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "none.json"
    outcome = command("task=runs", f"output_dir={outputs}", "ledger.status=[killed]", f"out={out}")
    assert outcome.status == 0, outcome.err
    assert f"None of the 4 runs below {outputs} fits." in outcome.out
    assert json.loads(out.read_text()) == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["output_dir=nowhere/at/all"], "error: output_dir: no such folder: "),
        (["ledger.where=[seed]"], "error: ledger.where: 'seed' is no condition"),
        (["ledger.where=sped=1"], "error: ledger.where: nothing is called sped"),
        (["ledger.sort=[-speed]"], "error: ledger.sort: nothing is called speed"),
        (["ledger.columns=[run,speed]"], "error: ledger.columns: nothing is called speed"),
        (["ledger.columns=[]"], "error: ledger.columns=[]: nothing to show"),
        (["ledger.headline=dev/mrr"], "error: ledger.headline=dev/mrr: no run measured it"),
        (["ledger.status=[done]"], "error: ledger.status=done: must be one of"),
        (["ledger.name=kd"], "error: ledger.name=kd: no run has such a name; there are study"),
        (["ledger.name=[[a]]"], "error: ledger.name"),
        (["ledger.limit=0"], "error: ledger.limit=0: must be at least 1"),
        (["ledger.limits=1"], "limits"),
        (["out=x.txt"], "error: out=x.txt: must be a file that ends in .csv, .md, .json"),
        (["out=/dev/null/x.csv"], "error: out: cannot write to /dev/null"),
        (["name=study"], "error: name: has no effect on task=runs; choose runs with ledger.name="),
        (["seed=1"], "error: seed: has no effect on task=runs; choose runs with ledger.where=seed="),
        (["student=bert"], "error: student: has no effect on task=runs"),
        (["compare.output=x"], "error: compare.output: has no effect on task=runs"),
        (["runs=[x]"], "error: runs: has no effect on task=runs"),
    ],
)
def test_bad_input_is_one_line(outputs: Path, tmp_path: Path, arguments: list[str], part: str) -> None:
    out = tmp_path / "kept.csv"
    outcome = command("task=runs", f"output_dir={outputs}", f"out={out}", *arguments)
    assert outcome.status == 2, outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line]
    assert part in line
    assert not out.exists()


def test_a_damaged_file_is_one_warning(outputs: Path) -> None:
    results = outputs / "study" / "bb00000000-s1" / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-30])
    outcome = command("task=runs", f"output_dir={outputs}", "ledger.columns=[run]")
    assert outcome.status == 0, outcome.err
    (warning,) = outcome.err.splitlines()
    assert warning.startswith(f"{results}, line 6 is skipped")
    assert "4 of 4 runs" in outcome.out


@pytest.mark.slow
def test_no_torch_is_imported(outputs: Path) -> None:
    code = (
        "import sys; from colbert_lab.__main__ import main; main(); "
        "print([name for name in ('torch', 'transformers', 'pandas', 'pyarrow', 'scipy') if name in sys.modules])"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "task=runs", f"output_dir={outputs}"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.perf_counter() - start < 20  # about 1 s on an idle machine; torch and Lightning alone take 5


@pytest.mark.slow
def test_the_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/ledger.py", "--runs", "8", "--compared", "2", "--megabytes", "0.1"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("machine: ")
    assert len(lines) == 7
    assert all(re.search(r": \d+\.\d s, \d+ MiB$", line) for line in lines[1:])


def test_text_in_brackets_is_no_interval(outputs: Path) -> None:
    status = outputs / "study" / "cc00000000-s1" / "status.json"
    status.write_text(json.dumps({"status": "failed", "error": "KeyError: ['a'] is missing"}))
    outcome = command(
        "task=runs", f"output_dir={outputs}", "ledger.status=failed", "ledger.columns=[run,status,error]"
    )
    (row,) = [line for line in outcome.out.splitlines() if line.startswith("cc00000000-s1  ")]
    assert "KeyError: ['a'] is missing" in row
