"""Sweeps: failing cells, reruns, launchers."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from colbert_lab.analysis.ledger.ledger import read_ledger
from colbert_lab.base.errors import InputError
from colbert_lab.records.rankings import ranking_path, read_ranking
from colbert_lab.records.records import read_records
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.records.run_files import read_protocols
from colbert_lab.run.cells import Cell, cell_command, check_launcher, read_cells, sweep_table, write_cell
from colbert_lab.run.measuring import Measuring
from colbert_lab.run.sweeping import reset_sweep
from colbert_lab.teachers.scorer import rank_split
from tests import forked
from tests.command import command
from tests.conftest import ROOT
from tests.toy import toy_overrides, write_toy

JOBLIB, SUBMITIT = "hydra_joblib_launcher", "hydra_submitit_launcher"


def needs(package: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec("hydra_plugins") and importlib.util.find_spec(f"hydra_plugins.{package}")
    return pytest.mark.skipif(not there, reason=f"{package.replace('_', '-')} is not installed")


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    reset_sweep()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


def arguments(tiny_bert: Path, toy: Path, outputs: Path, steps: int = 2) -> list[str]:
    given = [a for a in toy_overrides(tiny_bert, toy, outputs) if "evaluate_every" not in a]
    changed = [a.replace("steps=6", f"steps={steps}").replace("every=2", "every=1") for a in given]
    # Threads left open are those of each process' environment, and others make another run.
    return [*changed, "evaluation.measures=[ndcg@10]", "trainer.threads=1"]


def statuses(outputs: Path) -> list[str]:
    return sorted(entry.status for entry in read_ledger(outputs / "toy"))


def changed_at(folder: Path) -> dict[Path, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and "sweeps" not in path.parts]
    return {path: path.stat().st_mtime_ns for path in files if path.name != "run.log"}


def test_cells_that_fail_stop_no_other_cell_and_a_rerun_takes_up_what_is_left(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    given = arguments(tiny_bert, toy, tmp_path)
    sweep = ["-m", *given, "phases.distill.n_way=40,4,3", "seed=1,2"]  # the lists hold 6 documents

    def breaks(path: Path, *_: Any, **__: Any) -> None:
        raise RuntimeError("a bolt\nfell out")

    calls = []

    def measuring(*args: Any) -> Any:
        calls.append(args)
        return Measuring(*args) if len(calls) != 2 else breaks(*args)

    with patch("colbert_lab.run.run.Measuring", measuring):
        outcome = command(*sweep)
    assert outcome.status == 1, outcome.err
    assert statuses(tmp_path) == ["failed", "finished", "finished", "finished"]
    table = (tmp_path / "toy" / "sweeps" / "table.md").read_text()
    assert "3 of 6 cells finished" in table
    rows = [re.sub(r" +", " ", line) for line in table.splitlines() if re.match(r"\| \d", line)]
    assert [row.split(" | ")[1:4] for row in rows] == [
        ["40", "1", "bad input"], ["40", "2", "bad input"], ["4", "1", "finished"],
        ["4", "2", "failed"], ["3", "1", "finished"], ["3", "2", "finished"],
    ]  # fmt: skip
    assert "n_way=4,seed=2: RuntimeError: a bolt fell out" in table
    assert "2 cells with n_way=40 (0, 1): phases.distill.n_way=40" in table
    assert "3 of 6 cells finished" in outcome.out
    last = outcome.err.splitlines()[-1]
    assert last.startswith(
        "error: 1 failed, 2 bad input of 6 cells; once the input is mended, the same command"
    )
    assert "python -m colbert_lab -m +experiment=colbert_zero_kd" in last
    assert {path.name for path in (tmp_path / "toy" / "sweeps").iterdir()} == {
        "multirun.yaml", "table.md", *(f"n_way={n},seed={s}" for n in (3, 4) for s in (1, 2)),
    }  # fmt: skip
    finished = {entry.path for entry in read_ledger(tmp_path / "toy") if entry.status == "finished"}
    before = {path: changed_at(path) for path in finished}
    again = command(*sweep)
    assert again.status == 2, again.err  # only the cells that the user must mend are left
    assert statuses(tmp_path) == ["finished"] * 4
    assert {path: changed_at(path) for path in finished} == before
    table = (tmp_path / "toy" / "sweeps" / "table.md").read_text()
    assert table.count("| finished before |") == 3
    assert table.count("| finished |") == 1


@pytest.mark.parametrize(("state", "searches"), [(("abc", False), 2), (("abc", True), 4), ((None, None), 4)])
def test_baselines_are_measured_once_where_the_code_is_the_same(
    state: tuple[str | None, bool | None], searches: int, tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    given = arguments(tiny_bert, toy, tmp_path)
    with (
        patch("colbert_lab.records.environment.git_state", return_value=state),
        patch("colbert_lab.run.measuring.rank_split", side_effect=rank_split) as searched,
    ):
        outcome = command("-m", *given, "seed=1,2")
        assert outcome.status == 0, outcome.err
        assert searched.call_count == searches  # BM25 on test and dev, in one or in both runs
        again = command(*given, "seed=3", "reuse=false")
        assert again.status == 0, again.err
        assert searched.call_count == searches + 2
    first, second = (run.path for run in read_ledger(tmp_path / "toy") if run.seed in (1, 2))
    if searches == 2:
        assert outcome.err.count("reused from") == 2
    rows = [
        [(r.split, r.measure, r.value, r.n_queries, r.protocol_hash) for r in read_records(run / "results.jsonl")
         if r.system == "bm25"] for run in (first, second)
    ]  # fmt: skip
    assert rows[0] == rows[1]
    assert {r.run_id for r in read_records(second / "results.jsonl")} == {second.name}
    assert {r.protocol_hash for r in read_records(second / "results.jsonl")} == set(read_protocols(second))
    for split in ("test", "dev"):
        one, other = (read_ranking(ranking_path(run, "bm25", "", split))[0] for run in (first, second))
        assert one == other


def test_a_sweep_of_bad_input_alone_ends_with_status_2(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    outcome = command("-m", *arguments(tiny_bert, toy, tmp_path), "phases.distill.n_way=40,41")
    assert outcome.status == 2, outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: 2 bad input of 2 cells")
    assert not list(tmp_path.rglob("status.json"))


def test_a_sweep_that_the_user_stops_says_how_far_it_came(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    given = ["-m", *arguments(tiny_bert, toy, tmp_path), "seed=1,2,3"]
    seen: list[Any] = []

    def stopped(*args: Any) -> Measuring:
        seen.append(args)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return Measuring(*args)

    with patch("colbert_lab.run.run.Measuring", stopped):
        outcome = command(*given)
    assert outcome.status == 130
    assert "1 of 2 cells finished" in outcome.out  # the third did not begin
    assert "goes on from its last checkpoint" in outcome.out
    assert outcome.err.splitlines()[-2].startswith("error: 1 stopped of 2 cells")
    assert outcome.err.splitlines()[-1].startswith(
        "stopped by SIGINT; the same command goes on from the last"
    )
    assert not (tmp_path / "toy" / "sweeps" / ".cells").exists()


def test_what_cannot_be_composed_is_said_before_any_cell_begins(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    outcome = command("-m", *arguments(tiny_bert, toy, tmp_path), "prompts=none,nomick")
    assert outcome.status == 2
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert "prompts/nomick: no such config" in line
    assert not list(tmp_path.rglob("status.json"))
    assert not list(tmp_path.rglob(".cells"))


@pytest.mark.slow
def test_finished_cells_are_skipped_without_torch(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    given = ["-m", *arguments(tiny_bert, toy, tmp_path), "seed=1,2"]
    assert command(*given).status == 0
    code = "import sys; from colbert_lab.__main__ import main; main(); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *given], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished before") == 2
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.slow
def test_a_killed_sweep_goes_on(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    given = ["-m", *arguments(tiny_bert, toy, tmp_path, steps=30), "seed=1,2"]
    process = forked.Python(
        ["-m", "colbert_lab", *given], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "steps of" in line:
            break
    process.kill()
    process.communicate()
    assert statuses(tmp_path) == ["killed"]
    assert list((tmp_path / "toy" / "sweeps" / ".cells").iterdir())
    outcome = command(*given)
    assert outcome.status == 0, outcome.err
    assert statuses(tmp_path) == ["finished"] * 2
    assert not (tmp_path / "toy" / "sweeps" / ".cells").exists()


def launched(launcher: str, given: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    words = ["-m", "colbert_lab", "-m", f"hydra/launcher={launcher}", *given]
    return forked.run(words, cwd=ROOT, env=environment, timeout=500)


@needs(JOBLIB)
@pytest.mark.slow
def test_joblib_runs_cells_at_the_same_time(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    given = [*arguments(tiny_bert, toy, tmp_path), "phases.distill.n_way=40,4", "seed=1,2"]
    outcome = launched("joblib", given)
    assert outcome.returncode == 2, outcome.stderr
    assert statuses(tmp_path) == ["finished"] * 2
    assert "2 of 4 cells finished" in outcome.stdout
    assert "[n_way=4,seed=1] before on " in outcome.stderr
    assert "Warning" not in outcome.stderr  # of Python: they are in run.log
    runs = read_ledger(tmp_path / "toy")
    assert len({json.loads((run.path / "status.json").read_text())["pid"] for run in runs}) == 2
    assert (tmp_path / "toy" / "latest" / "results.jsonl").is_file()
    serial = command("-m", *given[:-2], "phases.distill.n_way=4", "seed=1,2")
    assert serial.status == 0, serial.err
    assert serial.out.count("finished before") == 2  # a launcher is no part of a run's identity


@pytest.mark.slow
def test_cells_with_several_processes_are_commands_of_their_own(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    given = [
        *arguments(tiny_bert, toy, tmp_path),
        "trainer=ddp",
        "trainer.devices=2",
        "phases.distill.n_way=40,4",
    ]
    outcome = launched("basic", given)
    assert outcome.returncode == 2, outcome.stderr
    assert statuses(tmp_path) == ["finished"]
    (run,) = read_ledger(tmp_path / "toy")
    assert run.processes == 2
    assert (tmp_path / "toy" / "sweeps" / "n_way=4").resolve() == run.path
    assert json.loads((run.path / "status.json").read_text())["run"]["tags"] == ["sweep:toy", "n_way=4"]
    table = (tmp_path / "toy" / "sweeps" / "table.md").read_text()
    assert f"{run.values['dev/ndcg@10'].after:.4f}" in table
    assert "n_way=40: phases.distill.n_way=40" in table


def test_the_command_of_one_cell() -> None:
    given = ["-m", "--config-dir", "DIR", "+experiment=x", "seed=1,2", "hydra/launcher=joblib", "-cd=D"]
    overrides = [
        "+experiment=x",
        "seed=1",
        "hydra.mode=MULTIRUN",
        "hydra/launcher=joblib",
        "hydra.verbose=true",
    ]
    assert cell_command(given, overrides)[1:] == [
        "-m", "colbert_lab", "--config-dir", "DIR", "-cd=D", "+experiment=x", "seed=1", "hydra.verbose=true",
        "hydra.mode=RUN",
    ]  # fmt: skip


@needs(SUBMITIT)
@pytest.mark.slow
def test_submitit_runs_cells_in_processes_of_its_own(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    outcome = launched("submitit_local", [*arguments(tiny_bert, toy, tmp_path), "phases.distill.n_way=40,4"])
    assert outcome.returncode == 2, outcome.stderr
    assert statuses(tmp_path) == ["finished"]
    assert "1 of 2 cells finished" in outcome.stdout


@pytest.mark.parametrize(("launcher", "package"), [("joblib", JOBLIB), ("submitit_slurm", SUBMITIT)])
def test_a_launcher_that_is_not_installed_is_one_line(
    launcher: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if package in name else real(name))
    outcome = command(
        "-m",
        f"hydra/launcher={launcher}",
        "+experiment=colbert_zero_kd",
        "seed=1,2",
        f"output_dir={tmp_path}",
    )
    assert outcome.status == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith(
        f"error: hydra/launcher: {package.replace('_', '-')} is not installed; pip install "
    )
    with pytest.raises(InputError, match=r"pip install 'colbert-lab\["):
        check_launcher(f"hydra_plugins.{package}.x.Launcher")


def test_the_table_of_cells(tmp_path: Path) -> None:
    cells = [
        Cell(0, {"a.lr": "1", "seed": "1"}, "finished", "dev/ndcg@10", 0.51234, 61.4, "o/n/abc-s1"),
        Cell(1, {"a.lr": "1", "seed": "2"}, "failed", "dev/ndcg@10", None, 1.0, "o/n/abc-s2", "OSError: x"),
        Cell(10, {"a.lr": "2"}),
    ]
    for cell in reversed(cells):
        write_cell(tmp_path, cell)
    (tmp_path / "00002.json").write_text("{")
    assert read_cells(tmp_path) == cells
    table = sweep_table(cells, "o/n")
    assert table.title == "Sweep: 1 of 3 cells finished, runs in o/n"
    assert table.columns == ("cell", "lr", "seed", "status", "dev/ndcg@10", "took", "run")
    assert table.rows[0] == ("0", "1", "1", "finished", "0.5123", "0:01:01", "abc-s1")
    assert table.rows[2] == ("10", "2", "-", "stopped", "-", "-", "-")
    assert table.notes[0] == "lr=1,seed=2: OSError: x"
    assert "goes on from its last checkpoint" in table.notes[1]


def test_cells_with_one_error_are_one_line() -> None:
    factors = [{"a.lr": lr, "a.n": n, "seed": seed} for lr in "12" for n in "34" for seed in "56"]
    cells = [Cell(k, each, "bad input", error=f"n is {each['a.n']}") for k, each in enumerate(factors)]
    cells[-1] = Cell(7, factors[7], "failed", error="another")
    assert sweep_table(cells, "o").notes == (
        "4 cells with n=3 (0, 1, 4, 5): n is 3",
        "3 cells with n=4 (2, 3, 6): n is 4",
        "lr=2,n=4,seed=6: another",
    )
    same = [Cell(k, each, "bad input", error="all") for k, each in enumerate(factors)]
    assert sweep_table(same, "o").notes == ("8 cells (0, 1, 2, 3, 4, 5, 6, 7): all",)


def test_a_run_is_started_once(tmp_path: Path) -> None:
    """Two processes that start one run at the same moment: one of them gets it."""
    code = (
        "import sys, time; from pathlib import Path; from colbert_lab.records.run_directory import RunDirectory\n"
        f"run = RunDirectory(Path({str(tmp_path)!r}) / 'n' / 'r-s1', 'r-s1')\n"
        "sys.stdin.readline()\n"
        "try:\n    run.start()\n    print('mine', flush=True)\nexcept ValueError:\n    print('taken', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = sorted(process.stdout.readline().strip() for process in processes if process.stdout is not None)
    for process in processes:
        process.communicate("end\n")
    assert said == ["mine", "taken", "taken", "taken"]
    assert RunDirectory(tmp_path / "n" / "r-s1", "r-s1").status()["status"] == "running"
