"""Several processes through the command line: Lightning starts them, and they train what one process trains."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from colbert_lab.base.errors import InputError
from colbert_lab.records.records import read_records
from colbert_lab.training.phase_files import read_metrics
from colbert_lab.training.prepare import PreparedPhase
from tests import forked
from tests.command import command, the_run
from tests.test_schedule import three_phases
from tests.toy import toy_overrides, write_toy


def test_workers_that_are_asked_for_are_used(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []

    def train_phase(phase: PreparedPhase, *_: Any, **__: Any) -> Any:
        used.append(phase.num_workers)
        raise InputError("seen")

    monkeypatch.setattr("colbert_lab.run.walk.train_phase", train_phase)
    arguments = toy_overrides(tiny_bert, write_toy(tmp_path / "toy"), tmp_path / "outputs")
    given = [each for each in arguments if not each.startswith("evaluation")]
    assert command(*given, "evaluation=none", "trainer.num_workers=3").status == 2
    assert used == [3]


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["auto", "packed"])
def test_two_processes_train_what_one_trains(attention: str, tiny_bert: Path, tmp_path: Path) -> None:
    """Two that encode without padding, too, what one trains on padded texts."""
    toy = write_toy(tmp_path / "toy")
    found, counted = {}, {}
    two = ["trainer=ddp", "trainer.devices=2", f"student.attention={attention}"]
    for name, extra in (("two", two), ("one", ["reuse=false"])):
        arguments = [
            *three_phases(tiny_bert, toy, tmp_path / "outputs"),
            "schedule=[supervised]",
            f"name={name}",
            "evaluation=none",
            "evaluation.headline=null",
            "student.dropout=0",
            "phases.supervised.accumulation=2",
            "phases.supervised.head_only_steps=1",  # processes look for parameters that have no gradient
            "phases.supervised.ema=0.5",
            "+phases.supervised.optimizer.eps=1e-4",  # AdamW's first step makes of rounding what it makes of gradients
            *extra,
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            "trainer.threads=1",
        ]
        arguments = [a for a in arguments if not a.startswith("evaluation.path")]
        done = forked.run(["-m", "colbert_lab", *arguments])
        assert done.returncode == 0, done.stderr
        run = the_run(tmp_path / "outputs", name)
        phase = json.loads((run / "supervised" / "phase.json").read_text())
        counted[name] = phase["queries"]
        assert (phase["padded_tokens"] == phase["tokens"]) == (name == "two" and attention == "packed")
        found[name] = load_file(
            the_run(tmp_path / "outputs", name) / "supervised" / "student" / "model.safetensors"
        )
    assert counted == {"two": 4 * 2 * 4, "one": 4 * 2 * 4}
    for weight in found["one"]:
        torch.testing.assert_close(found["two"][weight], found["one"][weight], atol=1e-6, rtol=1e-5)


def values(run: Path) -> dict[tuple[str, str, str], float]:
    records = read_records(run / "results.jsonl")
    return {(r.phase, r.split, r.measure): r.value for r in records if r.system == "student"}


@pytest.mark.slow
def test_two_processes_encode_and_search_what_one_process_does(tiny_bert: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    found = {}
    for name, extra in (("two", ["trainer=ddp", "trainer.devices=2"]), ("one", [])):
        arguments = [
            *three_phases(tiny_bert, toy, tmp_path / "outputs"),
            "schedule=[supervised]",
            f"name={name}",
            "student.dropout=0",
            *extra,
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            "trainer.threads=1",
            f"cache_dir={tmp_path / 'cache' / name}",
        ]
        done = forked.run(["-m", "colbert_lab", *arguments])
        assert done.returncode == 0, done.stderr
        run = the_run(tmp_path / "outputs", name)
        found[name] = values(run)
        told = re.findall(
            r"(encoding|searching): 2 processes, (\d+) documents, this one (\d+)",
            (run / "run.log").read_text(),
        )
        documents = len((toy / "corpus.jsonl").read_text().splitlines())
        half = (documents + 1) // 2
        # Before and after the phase, the corpus that dev and test share, which both search.
        work = [("encoding", documents, half), ("searching", 2 * documents, 2 * half)] * 2
        assert told == ([(what, str(whole), str(own)) for what, whole, own in work] if name == "two" else [])
        assert not list((tmp_path / "cache" / name / "embeddings").iterdir())
    assert {phase for phase, _, _ in found["one"]} == {"before", "supervised"}
    assert found["two"] == pytest.approx(found["one"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_two_killed_processes_go_on_with_the_dropout_of_each(
    trainer: str, tiny_bert: Path, tmp_path: Path
) -> None:
    """They keep the same student, and end together at the third value on dev that is no improvement by more than 1."""
    toy = write_toy(tmp_path / "toy")
    found, curves, counts = {}, {}, {}
    for name in ("whole", "killed"):
        outputs = tmp_path / name
        arguments = [
            *three_phases(tiny_bert, toy, outputs),
            "schedule=[supervised]",
            "evaluation.splits.test=null",
            "evaluation.baselines.bm25=null",
            "student.dropout=0.3",
            "phases.supervised.steps=30",
            "phases.supervised.log_every=7",
            "phases.supervised.evaluate_every=6",
            "phases.supervised.keep=best",
            "phases.supervised.early_stopping={patience: 3, min_delta: 1}",
            f"trainer={trainer}",
            "trainer.devices=2",
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            "trainer.threads=1",
        ]
        line = ["-m", "colbert_lab", *arguments]
        if name == "killed":
            process = forked.Python(line, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)
            begun = time.monotonic()
            while process.poll() is None and not list(outputs.glob("toy/*/*/checkpoints/step=[3-9]*.ckpt")):
                time.sleep(0.005)
                assert time.monotonic() - begun < 120
            os.killpg(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            newest = max(
                outputs.glob("toy/*/*/checkpoints/step=*.ckpt"), key=lambda path: path.stat().st_mtime
            )
            first, second = torch.load(newest, weights_only=True)["random_states"]
            assert not torch.equal(first["cpu"], second["cpu"])
        done = forked.run(line)
        assert done.returncode == 0, done.stderr
        run = the_run(outputs, "toy")
        assert ("going on from step" in (run / "run.log").read_text()) == (name == "killed")
        found[name] = load_file(run / "supervised" / "student" / "model.safetensors")
        rows = read_metrics(run / "supervised" / "metrics.csv")
        curves[name] = [
            row for row in rows if row.pop("time") and "_" not in row["name"].replace("list_mrr", "")
        ]
        done_phase = json.loads((run / "supervised" / "phase.json").read_text())
        counts[name] = [done_phase[key] for key in ("steps", "tokens", "selection")]
    assert curves["killed"] == curves["whole"]
    assert counts["killed"] == counts["whole"]  # tokens of both, whose texts differ
    steps, _, selection = counts["whole"]
    assert (steps, selection["last"]["step"], selection["stopped_early"]) == (18, 18, True)
    for weight, value in found["whole"].items():
        assert torch.equal(found["killed"][weight], value), weight
