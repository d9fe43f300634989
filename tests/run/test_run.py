"""Whole runs of the command line on a toy collection."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
import pytrec_eval
import torch
from safetensors.torch import load_file

from colbert_lab.analysis.ledger.ledger import read_ledger
from colbert_lab.records.rankings import ranking_path, read_per_query
from colbert_lab.records.records import TIMES, read_records
from colbert_lab.records.run_files import read_protocols
from colbert_lab.training.phase_files import read_metrics
from tests import forked
from tests.command import command, the_run
from tests.toy import student_overrides, toy_overrides, write_toy
from tests.tracking.offline import finished_run


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A run may set torch's threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def finished(
    tiny_bert: Path, toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, list[str]]:
    """A finished run with W&B offline: its folder, what it printed, and its arguments."""
    outputs = tmp_path_factory.mktemp("outputs")
    arguments = [*toy_overrides(tiny_bert, toy, outputs), "tracking=offline"]
    outcome = command(*arguments)
    assert outcome.status == 0, outcome.err
    return the_run(outputs, "toy"), outcome.out, arguments


def values(run: Path) -> list[dict[str, Any]]:
    """Records without what may differ between two executions."""
    rows = [asdict(record) for record in read_records(run / "results.jsonl")]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "distill" / "student" / "model.safetensors")


def test_a_run_measures_everything_before_and_after(finished: tuple[Path, str, list[str]]) -> None:
    run, out, _ = finished
    records = read_records(run / "results.jsonl")
    rows = {(record.system, record.phase, record.split) for record in records}
    assert rows == {
        (system, phase, split)
        for system, phase in (("bm25", "baselines"), ("student", "before"), ("student", "distill"))
        for split in ("test", "dev")
    }
    assert {record.measure for record in records} >= {"ndcg@10", "mrr@10", "recall@10"}
    assert {record.n_queries for record in records if record.split == "test"} == {12}
    for text in (
        "BM25",
        "student before",
        "after distill",
        "distill vs before",
        "nDCG@10",
        "MRR@10",
        "Recall@10",
    ):
        assert text in out
    assert "nDCG@10" in (run / "table.md").read_text(encoding="utf-8")


def test_the_ledger_has_the_run(finished: tuple[Path, str, list[str]]) -> None:
    run, _, _ = finished
    (entry,) = read_ledger(run)
    (record, *_) = read_records(run / "results.jsonl")
    assert (entry.name, entry.run_id, entry.task, entry.status) == ("toy", run.name, "train", "finished")
    assert (entry.config_hash, entry.seed, entry.factors) == (
        record.config_hash, record.seed, dict(record.factors),
    )  # fmt: skip
    assert entry.factors["phases.distill.n_way"] == "4"
    assert (entry.headline, entry.phase, entry.processes) == ("dev/ndcg@10", "distill", 1)
    done = json.loads((run / "distill" / "phase.json").read_text())
    assert entry.seconds_train == done["seconds"]
    assert done["seconds"] < (entry.seconds or 0.0)
    listed = command(
        "task=runs", f"output_dir={run.parent.parent}", "ledger.columns=[run,n_way,test/ndcg@10]"
    )
    assert listed.status == 0, listed.err
    assert f"{entry.values['test/ndcg@10'].after:.4f}" in listed.out


def test_its_rankings_give_the_recorded_values_in_files_of_trec(
    finished: tuple[Path, str, list[str]], tmp_path: Path
) -> None:
    run, _, _ = finished
    outcome = command("task=rankings", f"runs=[{run}]", f"out={tmp_path / 'out'}")
    assert outcome.status == 0, outcome.err
    files = sorted((tmp_path / "out").glob("*.trec"))
    tags = {f"{run.name}.{system}" for system in ("bm25", "student.before", "student.distill")}
    assert {file.stem for file in files} == {f"{split}.{tag}" for split in ("test", "dev") for tag in tags}
    for file in files:
        split, _, system = file.stem.replace(f"{run.name}.", "").partition(".")
        name, _, phase = system.partition(".")
        with (tmp_path / "out" / f"{split}.qrels").open() as qrels, file.open() as ranking:
            evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels), {"ndcg_cut.10"})
            found = evaluator.evaluate(pytrec_eval.parse_run(ranking))
        kept = read_per_query(ranking_path(run, name, phase, split))
        values = [found[query]["ndcg_cut_10"] for query in kept.query_ids]
        assert values == kept.values["ndcg@10"].tolist()
        assert sum(values) > 0


def test_the_run_directory_is_complete(finished: tuple[Path, str, list[str]]) -> None:
    run, _, _ = finished
    assert json.loads((run / "status.json").read_text())["status"] == "finished"
    expected = {
        "config.yaml",
        "environment.json",
        "run.log",
        "results.jsonl",
        "splits.json",
        "protocols.json",
        "contents.json",
        "table.md",
        "distill",
    }
    assert expected <= {path.name for path in run.iterdir()}
    assert {path.name for path in (run / "distill").iterdir()} == {
        "metrics.csv",
        "phase.json",
        "identity.json",
        "student",
        "rankings",
    }
    assert {path.name for path in (run / "distill" / "rankings").iterdir()} == {"test.parquet", "dev.parquet"}
    assert {path.name for path in (run / "texts").iterdir()} == {"test.parquet", "dev.parquet"}


def test_protocols_and_parts_of_splits_are_told(finished: tuple[Path, str, list[str]]) -> None:
    run, _, _ = finished
    told = read_protocols(run)
    records = read_records(run / "results.jsonl")
    assert {record.protocol_hash for record in records} == set(told)
    (student,) = {record.protocol_hash for record in records if record.system == "student"}
    assert told[student]["depth"] == 100
    assert told[student]["query_length"] == 12
    splits = json.loads((run / "splits.json").read_text())
    assert splits["test"]["parts"].keys() == {"documents", "queries", "judgments"}
    same = [key for key, mark in splits["test"]["parts"].items() if splits["dev"]["parts"][key] == mark]
    assert same == ["documents"]


def test_evaluations_while_training_read_dev_only(finished: tuple[Path, str, list[str]]) -> None:
    run, _, _ = finished
    names = {row["name"] for row in read_metrics(run / "distill" / "metrics.csv")}
    evaluated = {name.split("/")[0] for name in names} - {"train"}
    assert evaluated == {"dev_small"}


def test_wandb_holds_config_loss_curve_and_measures(finished: tuple[Path, str, list[str]]) -> None:
    run, _, _ = finished
    (file,) = run.rglob("*.wandb")
    logged = finished_run(file)
    assert logged.finished
    assert logged.group == f"toy {run.name.split('-')[0]}"
    assert logged.job_type == "distill"
    assert logged.config["phases"]["distill"]["steps"] == 6
    curve = [row["train/loss"] for row in logged.history if "train/loss" in row]
    on_disk = [
        float(r["value"]) for r in read_metrics(run / "distill" / "metrics.csv") if r["name"] == "train/loss"
    ]
    assert curve == pytest.approx(on_disk)
    assert len(curve) == 6
    for record in read_records(run / "results.jsonl"):
        who = record.phase if record.system == "student" else record.system
        assert logged.summary[f"{who}/{record.split}/{record.measure}"] == pytest.approx(
            record.value, abs=1e-12
        )


def test_a_finished_run_is_shown_again(finished: tuple[Path, str, list[str]]) -> None:
    run, out, arguments = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    again = command(*arguments)
    assert again.status == 0
    assert "is finished" in again.err
    assert again.out == out
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


def test_trained_anew_the_records_are_equal(finished: tuple[Path, str, list[str]]) -> None:
    run, _, arguments = finished
    assert command(*arguments, "reuse=false").status == 0
    again = the_run(run.parents[1], "toy")
    assert again.name == f"{run.name}-r2"
    # With reuse=false on the command line the factors stay the same: reuse is no factor.
    assert values(again) == values(run)
    ours, theirs = weights(run), weights(again)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_another_seed_gives_other_numbers(finished: tuple[Path, str, list[str]]) -> None:
    run, _, arguments = finished
    assert command(*arguments, "seed=7").status == 0
    other = the_run(run.parents[1], "toy")
    assert other.name == run.name.replace("-s42", "-s7")

    def student(folder: Path) -> list[float]:
        return [row["value"] for row in values(folder) if row["system"] == "student"]

    assert student(other) != student(run)


def test_the_saved_student_measures_the_same_again(
    finished: tuple[Path, str, list[str]], toy: Path, tmp_path: Path
) -> None:
    run, _, _ = finished
    outcome = command(
        "task=evaluate", f"student.checkpoint={run / 'distill' / 'student'}", "evaluation=beir",
        f"evaluation.path={toy}", "trainer.accelerator=cpu", "trainer.precision=32-true", "tracking=off",
        "progress=false", f"output_dir={tmp_path}", f"cache_dir={tmp_path}",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    again = {
        (record.split, record.measure): record.value
        for record in read_records(the_run(tmp_path, "evaluate") / "results.jsonl")
        if record.system == "student"
    }
    for record in read_records(run / "results.jsonl"):
        if record.phase == "distill":
            assert again[record.split, record.measure] == record.value


def test_evaluate_without_checkpoint_measures_the_untrained_student(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    outcome = command(
        "task=evaluate", *student_overrides(tiny_bert), "evaluation=beir", f"evaluation.path={toy}", "tracking=off",
        "progress=false", f"output_dir={tmp_path}", f"cache_dir={tmp_path}",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert {record.system for record in read_records(the_run(tmp_path, "evaluate") / "results.jsonl")} == {
        "student", "bm25",
    }  # fmt: skip


def test_without_evaluation_a_run_trains(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    arguments = [a for a in toy_overrides(tiny_bert, toy, tmp_path) if not a.startswith("evaluation")]
    outcome = command(*arguments, "evaluation=none")
    assert outcome.status == 0, outcome.err
    run = the_run(tmp_path, "toy")
    assert (run / "distill" / "student" / "model.safetensors").is_file()
    assert not (run / "results.jsonl").exists()
    # As a kill leaves it between the phase's last file and the removal of its checkpoints.
    told = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(told | {"status": "running"}))
    (run / "distill" / "checkpoints").mkdir()
    (run / "distill" / "checkpoints" / "step=4.ckpt").touch()
    again = command(*arguments, "evaluation=none")
    assert again.status == 0, again.err
    assert "distill: finished before, not trained again" in again.err
    assert not (run / "distill" / "checkpoints").exists()


def test_a_killed_run_goes_on_and_ends_the_same(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    """It keeps the best student, and ends early: no value is an improvement on that of step 0 by more than 1."""
    arguments = [
        *toy_overrides(tiny_bert, toy, tmp_path / "cut"),
        "phases.distill.steps=200",
        "phases.distill.keep=best",
        "phases.distill.early_stopping={patience: 60, min_delta: 1}",
        "trainer.threads=1",
    ]
    process = forked.Python(["-m", "colbert_lab", *arguments], stdout=DEVNULL, stderr=DEVNULL)
    metrics = tmp_path / "cut" / "toy" / "latest" / "distill" / "metrics.csv"
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        if metrics.is_file() and len(metrics.read_text().splitlines()) > 40:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    cut = the_run(tmp_path / "cut", "toy")
    assert json.loads((cut / "status.json").read_text())["status"] == "running"
    assert not (cut / "distill" / "student").exists()
    resumed = command(*arguments)
    assert resumed.status == 0, resumed.err
    assert "going on from step" in resumed.err
    whole = [a.replace(str(tmp_path / "cut"), str(tmp_path / "whole")) for a in arguments]
    assert command(*whole).status == 0
    run = the_run(tmp_path / "whole", "toy")
    ours, theirs = weights(run), weights(cut)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert values(run) == values(cut)
    done = [json.loads((each / "distill" / "phase.json").read_text()) for each in (run, cut)]
    assert done[0]["selection"] == done[1]["selection"]
    assert done[0]["selection"]["stopped_early"]
    assert [each["steps"] for each in done] == [120, 120]
    assert done[0]["selection"]["step"] < 120
    last = [load_file(each / "distill" / "student_last" / "model.safetensors") for each in (run, cut)]
    assert all(torch.equal(last[0][name], last[1][name]) for name in ours)
