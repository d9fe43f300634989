"""Schedules of several phases: order, reuse, prompts, and kills at any moment."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL

import pytest
import torch
from safetensors.torch import load_file

from colbert_lab.records.records import read_records
from tests import forked
from tests.command import command, the_run
from tests.toy import student_overrides, write_toy

PHASES = ("unsupervised", "supervised", "distill")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def three_phases(tiny_bert: Path, toy: Path, outputs: Path) -> list[str]:
    """ColBERT-Zero's schedule on the toy collection."""
    arguments = [
        "+experiment=colbert_zero",
        "name=toy",
        *student_overrides(tiny_bert),
        "data=scored_lists",
        f"data.path={toy}",
        "data.scores=lists.jsonl",
        "data@phases.unsupervised.data=pairs",
        f"phases.unsupervised.data.path={toy}",
        "data@phases.supervised.data=triples",
        f"phases.supervised.data.path={toy}",
        "phases.supervised.data.negatives=3",
        "evaluation=beir",
        f"evaluation.path={toy}",
        "prompts.query='red '",
        "prompts.document='blue '",
        "phases.distill.n_way=4",
        "phases.distill.objective.distillation.teacher.temperature=1",
        "trainer.threads=1",
        "tracking=off",
        "progress=false",
        f"output_dir={outputs}",
        f"cache_dir={outputs / 'cache'}",
    ]
    for phase in PHASES:
        arguments += [
            f"phases.{phase}.epochs=null",
            f"phases.{phase}.steps=4",
            f"phases.{phase}.batch_size=4",
            f"phases.{phase}.optimizer.lr=1e-3",
            f"phases.{phase}.checkpoint_every=1",
            f"phases.{phase}.log_every=1",
        ]
    return arguments


@pytest.fixture(scope="module")
def finished(
    tiny_bert: Path, toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, list[str]]:
    outputs = tmp_path_factory.mktemp("outputs")
    arguments = three_phases(tiny_bert, toy, outputs)
    outcome = command(*arguments)
    assert outcome.status == 0, outcome.err
    return the_run(outputs, "toy"), outcome.out, arguments


def outcome_of(run: Path, phase: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / phase / "phase.json").read_text())
    return found


def weights(run: Path, phase: str = "distill") -> dict[str, torch.Tensor]:
    return load_file(run / phase / "student" / "model.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_phase_is_measured_with_cost_and_lineage(finished: tuple[Path, str, list[str]]) -> None:
    run, out, _ = finished
    phases = list(
        dict.fromkeys(r.phase for r in read_records(run / "results.jsonl") if r.system == "student")
    )
    assert phases == ["before", *PHASES]
    assert "Phases: cost and lineage" in out
    for phase in PHASES:
        assert outcome_of(run, phase)["reused_from"] is None
        assert f"after {phase}" in out
    table = (run / "table.md").read_text()
    assert "| supervised | unsupervised | this run | 4 |" in table


def test_the_prompts_are_kept_with_the_student(finished: tuple[Path, str, list[str]]) -> None:
    run, _, _ = finished
    for phase in PHASES:
        rules = json.loads((run / phase / "student" / "colbert_lab.json").read_text())["tokens"]
        assert (rules["query_prompt"], rules["document_prompt"]) == ("red ", "blue ")


def test_a_changed_last_phase_reuses_the_others(finished: tuple[Path, str, list[str]]) -> None:
    run, _, arguments = finished
    outcome = command(*arguments, "phases.distill.optimizer.lr=2e-3")
    assert outcome.status == 0, outcome.err
    other = the_run(run.parents[1], "toy")
    assert other != run
    assert [outcome_of(other, phase)["reused_from"] for phase in PHASES] == [run.name, run.name, None]
    reused = [phase for phase in PHASES if f"{phase}: reused from" in outcome.err]  # baselines say so too
    assert reused == list(PHASES[:2])
    assert equal(weights(run, "supervised"), weights(other, "supervised"))
    assert not equal(weights(run), weights(other))
    assert "reused from" in outcome.out


def test_reuse_gives_what_training_anew_gives(finished: tuple[Path, str, list[str]]) -> None:
    run, _, arguments = finished
    shorter = command(*arguments, "schedule=[unsupervised,supervised]", "name=short")
    assert shorter.status == 0, shorter.err
    reused = the_run(run.parents[1], "short")
    assert outcome_of(reused, "supervised")["reused_from"] == run.name
    anew = command(*arguments, "schedule=[unsupervised,supervised]", "name=short", "reuse=false")
    assert anew.status == 0, anew.err
    trained = the_run(run.parents[1], "short")
    assert outcome_of(trained, "supervised")["reused_from"] is None
    assert equal(weights(reused, "supervised"), weights(trained, "supervised"))


def test_the_order_is_the_schedule(finished: tuple[Path, str, list[str]]) -> None:
    run, _, arguments = finished
    outcome = command(*arguments, "schedule=[distill,unsupervised]", "name=order")
    assert outcome.status == 0, outcome.err
    other = the_run(run.parents[1], "order")
    assert outcome_of(other, "unsupervised")["reused_from"] is None
    assert not equal(weights(other, "unsupervised"), weights(run, "unsupervised"))


def test_other_prompts_than_the_parent_stop_the_run(finished: tuple[Path, str, list[str]]) -> None:
    run, _, arguments = finished
    changed = [*arguments, "prompts@phases.distill.prompts=none", "name=prompts"]
    stopped = command(*changed)
    assert stopped.status == 2
    assert "phases.distill.prompts" in stopped.err.splitlines()[-1]
    assert "allow_prompt_mismatch=true" in stopped.err.splitlines()[-1]
    allowed = command(*changed, "allow_prompt_mismatch=true")
    assert allowed.status == 0, allowed.err
    fact = outcome_of(the_run(run.parents[1], "prompts"), "distill")["prompt_mismatch"]
    assert fact == {"query": "red ", "document": "blue "}
    assert "its prompts differ" in allowed.out


def test_the_truncation_audit_is_logged(finished: tuple[Path, str, list[str]]) -> None:
    run, _, _ = finished
    audit = outcome_of(run, "unsupervised")["truncation"]
    assert isinstance(audit, dict)
    assert audit["query"]["texts"] > 0
    assert 0 <= audit["document"]["cut_without_prompt"] <= audit["document"]["cut"] <= 1
    assert "document texts are cut" in (run / "run.log").read_text()


def test_the_dense_twin_goes_through_the_same_phases(finished: tuple[Path, str, list[str]]) -> None:
    run, _, arguments = finished
    outcome = command(*arguments, "student.output=single", "student.dim=null", "name=dense")
    assert outcome.status == 0, outcome.err
    dense = the_run(run.parents[1], "dense")
    assert {r.phase for r in read_records(dense / "results.jsonl") if r.system == "student"} == {
        "before",
        *PHASES,
    }
    start = command(
        *[a for a in arguments if not a.startswith("student.")], "schedule=[distill]", "name=from_dense",
        f"student.checkpoint={dense / 'supervised' / 'student'}", "student.output=multi", "student.dim=16",
    )  # fmt: skip
    assert start.status == 0, start.err
    assert weights(the_run(run.parents[1], "from_dense"))["head.0.linear.weight"].shape[0] == 16
    wider = command(
        *[a for a in arguments if not a.startswith("student.")], "schedule=[distill]", "name=from_dense",
        f"student.checkpoint={dense / 'supervised' / 'student'}", "student.output=multi", "student.dim=24",
    )  # fmt: skip
    assert wider.status == 0, wider.err
    assert weights(the_run(run.parents[1], "from_dense"))["head.0.linear.weight"].shape[0] == 24


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["schedule=[distill,polish]"], ["schedule", "polish"]),
        (["phases.unsupervised.batch_size=400"], ["phases.unsupervised.batch_size=400", "rows"]),
        (["phases.supervised.n_way=9"], ["phases.supervised.n_way=9"]),
        (["phases.supervised.data.negatives=0"], ["negatives"]),
        (
            ["phases.unsupervised.objective.distillation.weight=1"],
            ["distillation.weight", "no teacher scores"],
        ),
        (
            ["phases.supervised.objective.contrastive.false_negative_ratio=0.9"],
            ["false_negative_ratio", "no effect"],
        ),
        (["trainer.devices=3"], ["batch_size=4", "3 processes"]),
        (["~data"], ["phases.distill.data", "no data"]),
    ],
)
def test_bad_schedules(
    changes: list[str], parts: list[str], finished: tuple[Path, str, list[str]], tmp_path: Path
) -> None:
    _, _, arguments = finished
    given = [a for a in arguments if not (changes == ["~data"] and a.startswith(("data=", "data.")))]
    outcome = command(*given, *changes, f"output_dir={tmp_path}")
    assert outcome.status == 2, outcome.err
    for part in parts:
        assert part in outcome.err.splitlines()[-1]
    assert not list(tmp_path.rglob("status.json"))


@pytest.mark.slow
def test_killed_at_random_points_the_weights_are_the_same(
    finished: tuple[Path, str, list[str]], tmp_path: Path
) -> None:
    run, _, arguments = finished
    given = [a.replace(str(run.parents[1]), str(tmp_path)) for a in arguments]
    dice = random.Random(5)

    def points() -> int:
        return sum(path.stat().st_size for path in tmp_path.glob("toy/*/*/metrics.csv"))

    kills = 0
    for _ in range(4):
        process = forked.Python(["-m", "colbert_lab", *given], stdout=DEVNULL, stderr=DEVNULL)
        begun, before = time.monotonic(), points()
        while process.poll() is None and points() == before:  # until this process has trained a step
            time.sleep(0.005)
            assert time.monotonic() - begun < 120
        time.sleep(dice.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 2
    outcome = command(*given)
    assert outcome.status == 0, outcome.err
    for phase in PHASES:
        assert equal(weights(the_run(tmp_path, "toy"), phase), weights(run, phase))


def test_a_sweep_over_schedules_and_prompts_has_readable_names(
    finished: tuple[Path, str, list[str]], tmp_path: Path
) -> None:
    _, _, arguments = finished
    given = [a for a in arguments if not a.startswith(("prompts.", "output_dir=", "name="))]
    outcome = command(
        "-m", *given, "name=sweep", "prompts=none,nomic", "schedule=[distill],[supervised,distill]",
        f"output_dir={tmp_path}", "student.query_length=20",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    links = sorted(path.name for path in (tmp_path / "sweep" / "sweeps").iterdir() if path.is_symlink())
    assert len(links) == 4
    for prompts in ("none", "nomic"):
        for schedule in ("[distill]", "[supervised,distill]"):
            assert any(f"prompts={prompts}" in name and f"schedule={schedule}" in name for name in links)
    runs = {path.resolve() for path in (tmp_path / "sweep" / "sweeps").iterdir() if path.is_symlink()}
    assert len(runs) == 4
    assert all((run / "results.jsonl").is_file() for run in runs)
