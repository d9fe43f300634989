"""``task=plan`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from colbert_lab.plan import peaks, planner
from tests.command import command, the_run
from tests.toy import toy_overrides, write_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy collection."""
    return write_toy(tmp_path_factory.mktemp("toy"))


def training_alone(arguments: list[str]) -> list[str]:
    """The same without evaluation."""
    return [each for each in arguments if not each.startswith("evaluation")] + ["evaluation=none"]


def plan_of(path: Path, *arguments: str) -> dict:  # type: ignore[type-arg]
    """The plan of a command, as JSON."""
    outcome = command("task=plan", *arguments, f"out={path}", "plan.steps=2", "plan.encode=2")
    assert outcome.status == 0, outcome.err
    assert "device-hours" in outcome.out
    found: dict = json.loads(path.read_text())  # type: ignore[type-arg]
    return found


def test_counts_are_those_of_the_run(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    arguments = toy_overrides(tiny_bert, toy, tmp_path / "outputs")
    plan = plan_of(tmp_path / "plan.json", *arguments)
    assert not list((tmp_path / "outputs").glob("toy*")), "no run directory is made"
    (phase,) = plan["phases"]
    assert phase["state"] == "to train"
    assert phase["measured_steps"] == 2
    assert (phase["evaluations"], phase["checkpoints"]) == (4, 3)
    assert phase["peak_memory_bytes"] > 2**26
    assert [e["name"] for e in plan["evaluations"]] == ["baselines", "before", "distill"]
    assert set(plan["evaluations"][1]["seconds"]) == {"test/exact", "dev/exact"}
    assert plan["seconds"] > phase["seconds"] > phase["seconds_training"] > 0
    assert plan["device_hours"] == pytest.approx(plan["seconds"] / 3600)

    outcome = command(*arguments)
    assert outcome.status == 0, outcome.err
    done = json.loads((the_run(tmp_path / "outputs", "toy") / "distill" / "phase.json").read_text())
    for ours, theirs in (
        ("steps", "steps"),
        ("queries", "queries"),
        ("tokens", "tokens"),
        ("padded_tokens", "padded_tokens"),
    ):
        assert phase[ours] == done[theirs]
    assert plan["run"] == str(the_run(tmp_path / "outputs", "toy"))

    finished = plan_of(tmp_path / "finished.json", *arguments)
    assert finished["finished"]
    assert finished["seconds"] == 0

    # Another way to evaluate is another run, whose phase is there.
    reused = plan_of(
        tmp_path / "reused.json", *arguments, "evaluation.depth=50", "evaluation.measures=[ndcg@10]"
    )
    assert reused["phases"][0]["state"] == f"reused from {the_run(tmp_path / 'outputs', 'toy').name}"
    assert reused["phases"][0]["seconds"] == 0
    assert reused["evaluations"][2]["total"] > 0


def test_large_batches_are_measured_in_part(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    arguments = [
        *training_alone(toy_overrides(tiny_bert, toy, tmp_path / "outputs")),
        "phases.distill.objective.distillation.weight=0",
        "phases.distill.objective.contrastive.weight=1",
        "phases.distill.batch_size=32",
        "phases.distill.recompute=true",
    ]
    plan = plan_of(tmp_path / "plan.json", *arguments, "plan.tokens=400", "plan.batches=3")
    (phase,) = plan["phases"]
    assert phase["queries"] == 6 * 32
    assert 0 < phase["measured_queries"] < 32
    assert phase["recompute"]
    assert any("queries were measured" in note for note in plan["notes"])
    assert any(note.startswith("distill minimises 1 x InfoNCE (temperature ") for note in plan["notes"])
    assert plan["evaluations"][1]["seconds"] == {}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["evaluation=none"], "phases.distill.recompute=true"),
        (["evaluation=none", "phases.distill.recompute=true"], "lower phases.distill.token_budget"),
        ([], "lower evaluation.memory"),
    ],
)
def test_what_does_not_fit_is_refused(
    tiny_bert: Path,
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    named: str,
) -> None:
    monkeypatch.setattr(planner, "room", lambda *_: peaks.resident() + 1000)
    out = tmp_path / "plan.json"
    arguments = toy_overrides(tiny_bert, toy, tmp_path / "outputs")
    if "evaluation=none" in overrides:
        arguments = training_alone(arguments)
    arguments += [*overrides[1:], f"out={out}"]
    outcome = command("task=plan", *arguments)
    assert outcome.status == 2
    assert named in outcome.err.splitlines()[-1]
    assert "GiB are there" in outcome.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["plan.steps=1"], "plan.steps=1: must be at least 2"),
        (["plan.memory=0"], "plan.memory=0"),
        (["plan.memory=0.01"], "before anything is computed"),
        (["plan.stesp=3"], "stesp"),
        (["out=plan.txt"], "out=plan.txt: must be a file that ends in"),
        (["task=train", "plan.steps=3"], "plan.steps: has no effect on task=train"),
        (["schedule=[]"], "schedule: nothing to train"),
    ],
)
def test_bad_settings(tiny_bert: Path, toy: Path, tmp_path: Path, overrides: list[str], named: str) -> None:
    arguments = training_alone(toy_overrides(tiny_bert, toy, tmp_path / "outputs"))
    outcome = command("task=plan", *arguments, *overrides)
    assert outcome.status == 2
    assert named in outcome.err
