"""Searches over settings, as commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from colbert_lab.analysis.ledger.ledger import read_ledger
from colbert_lab.base.errors import Diverged
from colbert_lab.base.locks import give_back, take_lock
from colbert_lab.records.records import read_records
from colbert_lab.records.run_files import read_curves
from colbert_lab.run.measuring import Measuring
from colbert_lab.run.searching import lock_file
from colbert_lab.run.sweeping import reset_sweep
from colbert_lab.tuning.search import trials_in
from tests.command import Outcome, command
from tests.run.test_sweeping import changed_at, launched, statuses
from tests.toy import toy_overrides, write_toy

pytest.importorskip("optuna")

LR = "phases.distill.optimizer.lr"
RANDOM = "hydra/sweeper/sampler=random"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    reset_sweep()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


def arguments(tiny_bert: Path, toy: Path, outputs: Path, steps: int = 2, every: int = 1) -> list[str]:
    given = [each for each in toy_overrides(tiny_bert, toy, outputs) if not each.startswith(LR)]
    changed = [
        each.replace("steps=6", f"steps={steps}").replace("evaluate_every=2", f"evaluate_every={every}")
        for each in given
    ]
    return [
        "hydra/sweeper=optuna", RANDOM, *changed, "evaluation.measures=[ndcg@10]", "trainer.threads=1",
        "evaluation.baselines.bm25=null",
    ]  # fmt: skip


def rows(outputs: Path) -> list[list[str]]:
    """Of the sweep's table: number, what was tried, what became of it, value, without time and run."""
    table = (outputs / "toy" / "sweeps" / "table.md").read_text()
    lines = [re.sub(r" +", " ", line).strip("| ") for line in table.splitlines() if re.match(r"\| \d", line)]
    return [line.split(" | ")[:-2] for line in lines]


def journal_of(outputs: Path) -> Path:
    (journal,) = (outputs / "toy" / "sweeps").glob("search-*.journal")
    return journal


def test_a_trial_that_falls_behind_is_pruned_and_the_next_ones_go_on(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    given = [
        *arguments(tiny_bert, toy, tmp_path, steps=12, every=3), f"{LR}=2e-3,3e-1", "hydra.sweeper.n_trials=4",
        "hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.seed=7",
    ]  # fmt: skip
    outcome = command("-m", *given)
    assert outcome.status == 0, outcome.err
    found = trials_in(journal_of(tmp_path)).trials
    states = {trial.tried[LR]: trial.state for trial in found}
    assert states == {"0.002": "finished", "0.3": "pruned"}
    assert found[0].state == "finished"
    pruned = next(trial for trial in found if trial.state == "pruned")
    assert pruned.number < 3  # others came after it
    run = Path(str(pruned.run))
    assert json.loads((run / "status.json").read_text())["status"] == "pruned"
    points = read_curves(run / "distill" / "metrics.csv")
    curve = [(step, value) for step, _, name, value in points if step and "small" in name]
    assert curve == list(pruned.curve.items())
    assert curve[-1][0] < 12
    assert {path.name for path in (run / "distill").iterdir()} == {"identity.json", "metrics.csv"}
    assert {record.split for record in read_records(run / "results.jsonl")} == {"dev"}
    assert "pruned: dev_small/ndcg@10" in outcome.err
    entries = {entry.path: entry for entry in read_ledger(tmp_path / "toy")}
    assert entries[run].status == "pruned"
    best = trials_in(journal_of(tmp_path)).best
    assert best is not None
    after = entries[Path(str(best.run))].values["dev/ndcg@10"].after
    assert after == best.value
    assert {row[2] for row in rows(tmp_path)} == {"finished", "finished before", "pruned"}
    assert f"dev/ndcg@10 {best.value:.4f}" in outcome.out
    picture = tmp_path / "toy" / "sweeps" / "search.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    listed = command("task=runs", f"output_dir={tmp_path}", "ledger.name=toy")
    assert "pruned" in listed.out


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    searched = [f"{LR}=tag(log,interval(1e-5,1e-2))", "hydra.sweeper.n_trials=3", "hydra/sweeper/pruner=none"]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    seen: list[Any] = []

    def breaks(*args: Any) -> Measuring:
        seen.append(args)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return Measuring(*args)

    with patch("colbert_lab.run.run.Measuring", breaks):
        outcome = command("-m", *arguments(tiny_bert, toy, stopped), *searched)
    assert outcome.status == 130
    assert "1 of 2 cells finished" in outcome.out
    assert statuses(stopped) == ["finished", "interrupted"]
    finished = {entry.path for entry in read_ledger(stopped / "toy") if entry.status == "finished"}
    before = {path: changed_at(path) for path in finished}
    outcome = command("-m", *arguments(tiny_bert, toy, stopped), *searched)
    assert outcome.status == 0, outcome.err
    assert statuses(stopped) == ["finished"] * 3
    assert {path: changed_at(path) for path in finished} == before
    assert [row[2] for row in rows(stopped)] == ["finished before", "finished", "finished"]
    again = command("-m", *arguments(tiny_bert, toy, stopped), *searched)
    assert again.status == 0, again.err
    assert [row[2] for row in rows(stopped)] == ["finished before"] * 3
    outcome = command("-m", *arguments(tiny_bert, toy, whole), *searched)
    assert outcome.status == 0, outcome.err
    assert [[*row[:2], *row[3:]] for row in rows(whole)] == [[*row[:2], *row[3:]] for row in rows(stopped)]


def test_training_that_diverges_ends_its_trial_alone(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    seen: list[Any] = []

    def train(*args: Any, **settings: Any) -> Any:
        from colbert_lab.training.phase import train_phase

        seen.append(args)
        if len(seen) == 1:
            raise Diverged("phases.distill: the loss of step 1 is not a finite number")
        return train_phase(*args, **settings)

    with patch("colbert_lab.run.walk.train_phase", train):
        outcome = command(
            "-m",
            *arguments(tiny_bert, toy, tmp_path),
            f"{LR}=interval(1e-5,1e-2)",
            "hydra.sweeper.n_trials=2",
        )
    assert outcome.status == 0, outcome.err
    assert [row[2] for row in rows(tmp_path)] == ["pruned", "finished"]
    assert "pruned: phases.distill: the loss of step 1 is not a finite number" in outcome.err


def refused(*given: str) -> str:
    outcome = command("-m", *given)
    assert outcome.status == 2, outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["phases.distil.optimizer.lr=interval(1,2)"],
            "phases.distil.optimizer.lr: no such key; did you mean phases.distill.optimizer.lr?",
        ),
        ([f"{LR}=interval(2e-3,1e-3)"], f"{LR}=interval(2e-3,1e-3): the range is the wrong way round"),
        (
            [f"{LR}=interval(-1,1e-3)"],
            "phases.distill.optimizer=AdamW: cannot train a student: Invalid learning rate: -1",
        ),
        ([f"{LR}=1e-3"], "hydra.sweeper.params: nothing to search"),
        (
            ["evaluation.headline=test/ndcg@10"],
            "evaluation.headline=test/ndcg@10: nothing searches on test; name a dev split",
        ),
        (["evaluation.headline=null"], "evaluation.headline: a search needs one"),
        (
            ["evaluation.splits.dev=null"],
            "evaluation.headline=dev/ndcg@10: evaluation.splits has no dev; there are test; a search needs a dev split",
        ),
        (
            ["phases.distill.evaluate_every=null"],
            "hydra/sweeper/pruner: nothing is evaluated while training, so no trial can be stopped; set "
            "phases.distill.evaluate_every",
        ),
        (["task=evaluate"], "task=evaluate: a search trains"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be"),
        (
            ["+hydra.sweeper.pruner.patience=3"],
            "hydra.sweeper.pruner.patience=3: optuna.pruners.MedianPruner has no such argument",
        ),
        (
            ["hydra/sweeper/sampler=tpee"],
            "hydra/sweeper/sampler/tpee: no such config; did you mean tpe? there are random, tpe",
        ),
    ],
)
def test_bad_input_is_one_line_before_anything_is_read(
    given: list[str], message: str, tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    usual = [] if any(LR in each or "distil." in each for each in given) else [f"{LR}=interval(1e-4,1e-3)"]
    with patch("colbert_lab.run.run.load_inputs", side_effect=AssertionError):
        line = refused(*arguments(tiny_bert, toy, tmp_path, steps=4), *usual, *given)
    assert line.startswith(message), line
    assert not list(tmp_path.rglob("status.json"))
    assert not list(tmp_path.rglob("*.journal"))


def test_without_optuna_one_line_says_what_to_install(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    with patch("colbert_lab.tuning.storage.importlib.util.find_spec", return_value=None):
        line = refused(*arguments(tiny_bert, toy, tmp_path), f"{LR}=interval(1e-4,1e-3)")
    assert line == "hydra/sweeper=optuna: Optuna is not installed; pip install 'colbert-lab[optuna]'"


def test_a_split_that_is_not_there_ends_each_trial_early(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    with patch("colbert_lab.run.inputs.load_splits", return_value={}):
        outcome = command(
            "-m",
            *arguments(tiny_bert, toy, tmp_path),
            f"{LR}=interval(1e-4,1e-3)",
            "hydra.sweeper.n_trials=1",
        )
    assert outcome.status == 2
    assert "evaluation.headline=dev/ndcg@10: there is no split dev here; a search needs one" in outcome.err
    assert not list(tmp_path.rglob("status.json"))


def test_two_commands_do_not_lead_one_search(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    given = [*arguments(tiny_bert, toy, tmp_path), f"{LR}=interval(1e-4,1e-3)"]

    def held(journal: Path) -> Path:
        lock = lock_file(journal)
        handles.append(take_lock(lock))
        return lock

    handles: list[Any] = []
    with patch("colbert_lab.run.searching.lock_file", held):
        line = refused(*given)
    assert "another process leads this search" in line
    give_back(handles[0])


def together(launcher: str, tiny_bert: Path, toy: Path, outputs: Path, *more: str) -> Outcome:
    given = [*arguments(tiny_bert, toy, outputs), f"{LR}=tag(log,interval(1e-5,1e-2))", *more]
    done = launched(launcher, [*given, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"])
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "package"),
    [("joblib", "hydra_joblib_launcher"), ("submitit_local", "hydra_submitit_launcher")],
)
def test_trials_in_other_processes_report(
    launcher: str, package: str, tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    pytest.importorskip(f"hydra_plugins.{package}")
    outcome = together(launcher, tiny_bert, toy, tmp_path, "hydra/sweeper/pruner=none")
    assert outcome.status == 0, outcome.err
    found = trials_in(journal_of(tmp_path)).trials
    assert [trial.state for trial in found] == ["finished"] * 3
    assert [list(trial.curve) for trial in found] == [[1, 2]] * 3
    assert [row[2] for row in rows(tmp_path)] == ["finished"] * 3
    runs = read_ledger(tmp_path / "toy")
    assert len({json.loads((run.path / "status.json").read_text())["pid"] for run in runs}) >= 2
