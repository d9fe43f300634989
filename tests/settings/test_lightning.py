"""``trainer.lightning``: flags of Lightning's Trainer, which it refuses and which identify what they change."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

from colbert_lab.records.identity import config_hash
from colbert_lab.records.records import read_records
from colbert_lab.settings import Command, checked
from colbert_lab.settings.lightning import DECIDED, REFUSED, hints, problem_of
from tests.command import command, the_run
from tests.run.test_scheduling import identity
from tests.test_configs import composed
from tests.toy import toy_overrides, write_toy

KEY = "trainer.lightning"
GIVEN = {
    "max_time": "00:01:00:00", "limit_train_batches": 10, "overfit_batches": 0.5, "gradient_clip_algorithm": "value",
    "benchmark": True, "profiler": "simple", "detect_anomaly": True, "sync_batchnorm": True,
}  # fmt: skip


def test_every_flag_of_the_trainer_is_taken_or_answered() -> None:
    known = set(inspect.signature(Trainer).parameters)
    assert {*DECIDED, *REFUSED} <= known
    assert set(hints()) == known - {*DECIDED, *REFUSED} == set(GIVEN)
    assert [flag for flag, value in GIVEN.items() if problem_of(flag, value)] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("+@.max_steps=5", "@.max_steps=5: is decided by another setting; set phases.NAME.steps"),
        ("+@.precision=16-mixed", "is decided by another setting; set trainer.precision"),
        ("+@.limit_val_batches=5", "has no effect: Lightning's validation loop is not used; phases.NAME"),
        ("+@.check_val_every_n_epoch=5", "has no effect: Lightning's validation loop is not used"),
        ("+@.limit_trian_batches=5", "Lightning's Trainer has no such flag; did you mean limit_train_batches?"),
        ("+@.acumulate_grad_batches=5", "has no such flag; did you mean accumulate_grad_batches?"),
        ("+@.xyz=1", "Lightning's Trainer has no such flag; there are max_time, limit_train_batches"),
        ("+@.detect_anomaly=maybe", "@.detect_anomaly=maybe: must be true or false"),
        ("+@.limit_train_batches=ten", "@.limit_train_batches=ten: must be a number"),
        ("+@.limit_train_batches=1.5", "must be a whole number of micro-batches, or a share of them up to 1.0"),
        ("+@.overfit_batches=-1", "must be a whole number of micro-batches, or a share of them up to 1.0"),
        ("+@.max_time=1h", "@.max_time=1h: must be DD:HH:MM:SS, such as 00:02:30:00, or a mapping"),
        ("+@.max_time={hour: 1}", "must be DD:HH:MM:SS, such as 00:02:30:00, or a mapping such as {hours: 2}"),
        ("+@.gradient_clip_algorithm=least", "must be one of norm, value"),
        ("+@.profiler=quick", "@.profiler=quick: must be one of simple, advanced, pytorch"),
        ("@.benchmark=true", "@.benchmark: is not there yet; add it with + before it: +@.benchmark=..."),
        ("@=5", "@=5: holds things by name; take one out with @.NAME=null, add one with +@.FLAG=VALUE"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_before_anything_is_loaded(given: str, said: str, tmp_path: Path) -> None:
    outcome = command(
        "+experiment=colbert_zero_kd", f"output_dir={tmp_path}", f"cache_dir={tmp_path}", "student.backbone=./nothing",
        given.replace("@", KEY),
    )  # fmt: skip
    assert outcome.status == 2
    (line,) = outcome.err.splitlines()
    assert said.replace("@", KEY) in line
    assert not list(tmp_path.iterdir())


def test_a_clipping_that_nothing_is_clipped_by_is_refused() -> None:
    outcome = command(
        "+experiment=colbert_zero_kd",
        f"+{KEY}.gradient_clip_algorithm=value",
        "phases.distill.gradient_clip=null",
    )
    assert outcome.status == 2
    assert "has no effect without phases.distill.gradient_clip; set that" in outcome.err


def test_tasks_that_train_nothing_take_no_flag(tmp_path: Path) -> None:
    outcome = command("task=evaluate", f"+{KEY}.benchmark=true", f"output_dir={tmp_path}")
    assert (outcome.status, outcome.err) == (
        2, f"error: {KEY}.benchmark: has no effect on task=evaluate, which trains nothing; leave it out\n",
    )  # fmt: skip


def test_flags_identify_runs_and_phases_where_they_change_something() -> None:
    def ids(**flags: Any) -> tuple[str, str]:
        cfg = composed("+experiment=colbert_zero_kd", "evaluation=none")
        OmegaConf.update(cfg, KEY, flags, force_add=True)
        found = Command.of(checked(cfg))
        return config_hash(found.config), identity(found).hash

    plain = ids()
    cfg = checked(composed("+experiment=colbert_zero_kd", "evaluation=none"))
    before: Any = OmegaConf.to_container(cfg)
    del before["trainer"]["lightning"]  # as a run of an earlier version wrote it
    assert (
        config_hash({key: value for key, value in before.items() if key not in ("from_", "to")}) == plain[0]
    )
    assert ids(max_time="00:01:00:00") == ids(benchmark=None) == plain
    for flag in set(GIVEN) - {"max_time"}:
        assert all(one != other for one, other in zip(ids(**{flag: GIVEN[flag]}), plain, strict=True)), flag


@pytest.fixture
def arguments(tiny_bert: Path, tmp_path: Path) -> list[str]:
    toy = write_toy(tmp_path / "toy")
    return [*toy_overrides(tiny_bert, toy, tmp_path / "outputs"), "phases.distill.evaluate_every=null"]


@pytest.mark.slow
def test_a_limited_run_a_plan_and_a_certificate(arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    flags = [f"+{KEY}.limit_train_batches=0.5", f"+{KEY}.max_time=00:01:00:00", f"+{KEY}.profiler=simple"]
    planned = command(*arguments, *flags, "task=plan", "plan.steps=2", "plan.encode=2", f"out={out}")
    assert planned.status == 0, planned.err
    found = json.loads(out.read_text())
    assert [phase["steps"] for phase in found["phases"]] == [3]
    assert any(f"{KEY}.max_time=00:01:00:00 ends a command" in note for note in found["notes"])
    assert any(f"{KEY}.profiler=simple takes time of its own" in note for note in found["notes"])

    out = tmp_path / "certificate.json"
    checks = ["certify.micro_batches=1", "certify.checks=[chunking]", f"out={out}"]
    certified = command(*arguments, *flags, "task=certify", *checks)
    assert certified.status == 0, certified.err
    notes = json.loads(out.read_text())["notes"]
    assert any(f"{KEY} (limit_train_batches, max_time, profiler) is not checked" in note for note in notes)

    outcome = command(*arguments, *flags)
    assert outcome.status == 0, outcome.err
    run = the_run(tmp_path / "outputs", "toy")
    assert json.loads((run / "distill" / "phase.json").read_text())["steps"] == 3
    assert f"{KEY}.limit_train_batches=0.5 leaves 3 of 6 optimizer steps" in (run / "run.log").read_text()
    assert "FIT Profiler Report" in (run / "distill" / "fit-profile.txt").read_text()
    last = read_records(run / "results.jsonl")[-1]
    assert last.factors[f"{KEY}.limit_train_batches"] == "0.5"
    assert last.step == 3


@pytest.mark.slow
def test_a_run_whose_time_is_over_goes_on_with_the_next_command(arguments: list[str], tmp_path: Path) -> None:
    outcome = command(*arguments, f"+{KEY}.max_time=00:00:00:00")
    assert outcome.status == 143
    assert outcome.err.splitlines()[-1] == (
        f"stopped: {KEY}.max_time=00:00:00:00 is over at step 1 of 6 of distill; the same command goes on from the "
        "last checkpoint or finished part"
    )
    run = the_run(tmp_path / "outputs", "toy")
    assert json.loads((run / "status.json").read_text())["status"] == "interrupted"
    again = command(*arguments, f"+{KEY}.max_time=00:00:00:00")
    assert "is over at step 2 of 6 of distill" in again.err
    last = command(*arguments)
    assert last.status == 0, last.err
    assert the_run(tmp_path / "outputs", "toy") == run
    assert "going on from step 2 of 6" in (run / "run.log").read_text()
    assert json.loads((run / "distill" / "phase.json").read_text())["steps"] == 6
