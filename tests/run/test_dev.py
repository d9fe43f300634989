"""What a run measures of its splits.

Whole runs whose phases keep the student that was the best on dev, and what is refused of their settings.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus, Split
from colbert_lab.records.records import Record, read_records
from colbert_lab.run.dev import check_dev
from colbert_lab.run.evaluating import check_kinds
from colbert_lab.run.inputs import load_inputs
from colbert_lab.run.scheduling import phase_identities
from colbert_lab.settings import Settings, command_of
from colbert_lab.settings.groups import PhaseSettings
from colbert_lab.tasks.composing import CONF
from colbert_lab.tracking.tracking import STEP
from tests.command import Outcome, command, the_run
from tests.toy import toy_overrides, write_toy
from tests.tracking.offline import finished_run

PHASE = "phases.distill"
RAMP = (
    f"{PHASE}.lr_schedule.name=constant",
    f"{PHASE}.lr_schedule.warmup=0.999",
    f"{PHASE}.evaluate_every=4",
)
"""The learning rate rises with each step: the student learns at first, and is destroyed then."""
BEST = (f"{PHASE}.keep=best", f"{PHASE}.early_stopping.patience=2")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


def arguments(tiny_bert: Path, toy: Path, outputs: Path) -> list[str]:
    given = [a.replace("steps=6", "steps=2") for a in toy_overrides(tiny_bert, toy, outputs)]
    return [*given, "evaluation.measures=[ndcg@10]", "trainer.threads=1"]


def splits_of(run: Path) -> set[str]:
    return {record.split for record in read_records(run / "results.jsonl")}


def phases_of(run: Path) -> list[str]:
    return [each.phase for each in read_records(run / "results.jsonl") if each.system == "student"]


def test_splits_that_are_not_measured_stay_out_of_training_and_need_no_second_training(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    given = arguments(tiny_bert, toy, tmp_path)
    outcome = command(*given, "evaluation.measured=dev")
    assert outcome.status == 0, outcome.err
    some = the_run(tmp_path, "toy")
    assert splits_of(some) == {"dev"}
    outcome = command(*given)
    assert outcome.status == 0, outcome.err
    every = the_run(tmp_path, "toy")
    assert every != some
    assert splits_of(every) == {"test", "dev"}
    assert f"distill: reused from {some / 'distill'}" in outcome.err


def test_students_are_measured_after_the_phases_that_are_named_alone(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    given = [*arguments(tiny_bert, toy, tmp_path), "evaluation.measured=dev"]
    plan = command(*given, "evaluation.after=[distill]", "task=plan")
    assert plan.status == 0, plan.err
    assert "evaluate before" not in plan.out
    outcome = command(*given, "evaluation.after=[distill]")
    assert outcome.status == 0, outcome.err
    some = the_run(tmp_path, "toy")
    assert phases_of(some) == ["distill"]
    outcome = command(*given, "evaluation.after=[before,distill]")
    assert outcome.status == 0, outcome.err
    both = the_run(tmp_path, "toy")
    assert both != some
    assert phases_of(both) == ["before", "distill"]
    assert f"distill: reused from {some / 'distill'}" in outcome.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["evaluation.after=[distil]"],
            "evaluation.after: schedule has no distil; there are before, distill",
        ),
        (
            ["evaluation.after=[before]"],
            "evaluation.after: the last phase, distill, must be measured; add it to the list",
        ),
        (
            ["evaluation.measured=[dev,devv]"],
            "evaluation.measured: evaluation.splits has no devv; there are test, dev",
        ),
        (
            ["evaluation.measured=[test]"],
            "evaluation.headline=dev/ndcg@10: dev is not among evaluation.measured (test)",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(
    given: list[str], message: str, tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    outcome = command(*arguments(tiny_bert, toy, tmp_path), *given)
    assert outcome.status == 2
    assert f"error: {message}" in outcome.err


def test_nothing_is_measured_after_phases_of_a_task_that_trains_nothing() -> None:
    given = ["+experiment=colbert_zero_kd", "evaluation.after=[distill]"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = command_of(compose("config", given), given).settings
    with pytest.raises(
        InputError, match=r"^evaluation\.after: has no effect without training; leave it out$"
    ):
        check_kinds(settings.evaluation, [], [])


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Best:
    """A run that kept the best student.

    Attributes:
        run: its folder.
        given: its arguments without those that choose.
        outcome: what the command said.
        plan: what was planned before.
    """

    run: Path
    given: list[str]
    outcome: Outcome
    plan: dict[str, int]


@pytest.fixture(scope="module")
def best(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Best:
    folder = tmp_path_factory.mktemp("best")
    changed = (f"{PHASE}.steps", f"{PHASE}.optimizer.lr", f"{PHASE}.evaluate_every")
    given = toy_overrides(tiny_bert, write_toy(folder / "toy"), folder / "outputs")
    given = [a for a in given if not a.startswith(changed)]
    given += ["trainer.threads=1", "evaluation.measures=[ndcg@10,mrr@10]", *RAMP]
    asked = [*given, f"{PHASE}.steps=16", f"{PHASE}.optimizer.lr=0.1", *BEST]
    planned = command("task=plan", *asked, f"out={folder / 'plan.json'}", "plan.steps=2", "plan.encode=2")
    assert planned.status == 0, planned.err
    plan = json.loads((folder / "plan.json").read_text())["phases"][0]
    outcome = command(*asked, "tracking=offline")
    assert outcome.status == 0, outcome.err
    return Best(the_run(folder / "outputs", "toy"), given, outcome, plan)


def curve(run: Path) -> dict[int, float]:
    rows = csv.DictReader((run / "distill" / "metrics.csv").read_text().splitlines())
    return {int(row["step"]): float(row["value"]) for row in rows if row["name"] == "dev_small/ndcg@10"}


def of_phase(run: Path) -> list[Record]:
    return [record for record in read_records(run / "results.jsonl") if record.phase == "distill"]


def saved(run: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(run / "distill" / name / "model.safetensors")


def test_the_best_student_is_kept_measured_and_told(best: Best) -> None:
    values, done = curve(best.run), json.loads((best.run / "distill" / "phase.json").read_text())
    kept, last = max(values, key=lambda step: (values[step], -step)), max(values)
    assert 0 < kept < last, "the learning rate is to destroy what was learned"
    assert values[last] < values[kept]
    assert last == kept + 2 * 4, "two evaluations are no improvement"
    assert list(values) == list(range(0, last + 1, 4))
    assert done["steps"] == last
    assert done["selection"] == {
        "keep": "best", "measure": "ndcg@10", "step": kept, "best": {"step": kept, "value": values[kept]},
        "last": {"step": last, "value": values[last]}, "stopped_early": True,
    }  # fmt: skip
    assert {record.step for record in of_phase(best.run)} == {kept}
    told = f"distill: the student of step {kept} is kept (the best one)"
    assert told in best.outcome.err
    assert told in " ".join((best.run / "table.md").read_text().split())


def test_it_is_the_student_of_a_run_that_ended_there(best: Best) -> None:
    kept = of_phase(best.run)[0].step
    assert kept is not None
    ended = command(
        *best.given, f"{PHASE}.steps={kept}", f"{PHASE}.optimizer.lr={0.1 * kept / 16}", "name=ended"
    )
    assert ended.status == 0, ended.err
    other = the_run(best.run.parents[1], "ended")
    theirs = saved(other, "student")
    assert all(torch.equal(weight, theirs[name]) for name, weight in saved(best.run, "student").items())
    destroyed = saved(best.run, "student_last")
    assert not all(torch.equal(weight, theirs[name]) for name, weight in destroyed.items())
    assert not (other / "distill" / "student_last").exists()
    measured = [{(r.split, r.measure): r.value for r in of_phase(run)} for run in (best.run, other)]
    assert measured[0] == measured[1]
    assert len(measured[0]) == 4


def test_the_plan_counts_evaluations_at_most(best: Best) -> None:
    assert best.plan["evaluations"] == 5  # 0, 4, 8, 12, 16
    assert len(curve(best.run)) < 5


def test_wandb_has_the_curve_from_step_0_and_the_selection(best: Best) -> None:
    (file,) = best.run.rglob("*.wandb")
    logged = finished_run(file)
    name = "dev_small/ndcg@10"
    assert {int(row[STEP]): row[name] for row in logged.history if name in row} == curve(best.run)
    told = logged.summary["phase/selection"]
    assert told["step"] == of_phase(best.run)[0].step


def test_another_run_takes_both_students_over(best: Best) -> None:
    asked = (*best.given, f"{PHASE}.steps=16", f"{PHASE}.optimizer.lr=0.1", *BEST)
    outcome = command(*asked, "evaluation.splits.test=null", "evaluation.baselines.bm25=null")
    assert outcome.status == 0, outcome.err
    other = the_run(best.run.parents[1], "toy")
    assert other != best.run
    assert "distill: reused from" in outcome.err
    for name in ("student", "student_last"):
        theirs = saved(other, name)
        assert all(torch.equal(weight, theirs[key]) for key, weight in saved(best.run, name).items())
    assert {r.step for r in of_phase(other)} == {r.step for r in of_phase(best.run)}


def identified(given: Sequence[str]) -> str:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        asked = command_of(compose("config", list(given)), given)
    return phase_identities(asked, load_inputs(asked))["distill"].hash


def test_how_dev_is_evaluated_identifies_a_phase_that_it_decides(best: Best) -> None:
    given = [*best.given, f"{PHASE}.steps=16"]
    last, kept = identified(given), identified([*given, *BEST])
    assert last != kept
    for change in (
        f"{PHASE}.evaluate_every=5",
        "evaluation.during_training.queries=2",
        "evaluation.token_budget=512",
    ):
        assert identified([*given, *BEST, change]) != kept, change
    assert identified([*given, change]) == last
    assert identified([*given, *BEST, "evaluation.pool_factor=2"]) == kept


def test_a_dev_split_that_is_none_is_refused() -> None:
    split = Split("toy", "test", Corpus(["d"], ["red"], "f"), {"q": "red"}, {"q": {"d": 1}}, "f")
    settings = Settings(task="train", schedule=["distill"], phases={"distill": PhaseSettings(keep="best")})
    with pytest.raises(
        InputError, match=r"^phases\.distill\.keep=best: no dev split is measured, and nothing selects"
    ):
        check_dev(settings, {"dev": split})
