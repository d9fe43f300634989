"""What runs take over of each other's measurements, and what they measure anew."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file

from colbert_lab.base.types import Corpus, Split
from colbert_lab.records.rankings import ranking_path, read_ranking
from colbert_lab.records.records import Record, read_records
from colbert_lab.records.run_files import read_protocols
from colbert_lab.run.dev import while_training
from colbert_lab.settings import Settings
from colbert_lab.settings.groups import PhaseSettings
from tests.command import command, the_run
from tests.test_schedule import three_phases
from tests.toy import write_toy

GIT = "colbert_lab.records.environment.git_state"


@pytest.fixture(scope="module")
def first(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """A run of two phases by committed code, and its command."""
    toy, outputs = write_toy(tmp_path_factory.mktemp("toy")), tmp_path_factory.mktemp("outputs")
    given = [*three_phases(tiny_bert, toy, outputs), "schedule=[unsupervised,supervised]"]
    with patch(GIT, return_value=("abc", False)):
        outcome = command(*given)
        assert outcome.status == 0, outcome.err
        yield the_run(outputs, "toy"), given


def of_student(run: Path) -> list[Record]:
    return [record for record in read_records(run / "results.jsonl") if record.system == "student"]


def taken_over(run: Path) -> set[tuple[str, str]]:
    """Phase and way to search of what was taken over."""
    return {(record.phase, record.variant) for record in of_student(run) if "reused_from" in record.extra}


def another(first: tuple[Path, list[str]], *more: str) -> Path:
    run, given = first
    outcome = command(*given, *more)
    assert outcome.status == 0, outcome.err
    other = the_run(run.parents[1], "toy")
    assert other != run
    return other


def test_an_interval_without_a_dev_split_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    split = Split("toy", "test", Corpus(["d"], ["red"], "f"), {"q": "red"}, {"q": {"d": 1}}, "f")
    phases = {"distill": PhaseSettings(evaluate_every=500), "silent": PhaseSettings(evaluate_every=None)}
    settings, splits = Settings(phases=phases), {"test": split}
    assert while_training(settings, splits, "silent", Path("run")) is None
    assert not caplog.text
    assert while_training(settings, splits, "distill", Path("run")) is None
    assert "distill: no value is read while training (phases.distill.evaluate_every=500)" in caplog.text


def test_what_the_same_student_was_measured_at_is_taken_over(first: tuple[Path, list[str]]) -> None:
    run, _ = first
    assert taken_over(run) == set()
    other = another(first, "phases.supervised.optimizer.lr=2e-3")
    assert taken_over(other) == {("before", "exact"), ("unsupervised", "exact")}
    anew = another(first, "phases.supervised.optimizer.lr=2e-3", "reuse=false")
    assert taken_over(anew) == set()
    rows = [
        [(r.phase, r.split, r.measure, r.value, r.n_queries, r.step, r.phase_hash, r.protocol_hash)
         for r in of_student(each)] for each in (other, anew)
    ]  # fmt: skip
    assert sorted(rows[0]) == sorted(rows[1])
    for record in of_student(other):
        assert (record.run_id, record.config_hash) == (other.name, of_student(other)[-1].config_hash)
        assert record.protocol_hash in read_protocols(other)
        place = ("student", record.phase, record.split)
        one, same = (read_ranking(ranking_path(each, *place))[0] for each in (other, anew))
        assert one == same
    texts = [{path.name: path.read_bytes() for path in (each / "texts").iterdir()} for each in (other, anew)]
    assert texts[0] == texts[1]


def test_a_run_of_another_name_takes_it_over_too(first: tuple[Path, list[str]]) -> None:
    run, given = first
    assert command(*given, "name=nested/other", "phases.supervised.optimizer.lr=4e-3").status == 0
    other = the_run(run.parents[1], "nested/other")
    assert taken_over(other) == {("before", "exact"), ("unsupervised", "exact")}
    assert {
        record.extra["reused_from"] for record in read_records(other / "results.jsonl") if record.extra
    } == {run.name}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("seed=2", set()),
        ("student.dim=8", set()),
        ("evaluation.token_budget=1000", set()),
        ("evaluation.depth=200", set()),
        ("evaluation.keep_embeddings=true phases.supervised.optimizer.lr=3e-3", set()),
        ("evaluation.storage=[float32,float16]", {(p, "exact") for p in ("before", "unsupervised", "supervised")}),
    ],
)  # fmt: skip
def test_what_decides_the_numbers_is_measured_anew(
    first: tuple[Path, list[str]], more: str, expected: set[tuple[str, str]]
) -> None:
    other = another(first, *more.split())
    assert taken_over(other) == expected
    wanted = {(phase, "exact") for phase in ("before", "unsupervised", "supervised")}
    assert {(record.phase, record.variant) for record in of_student(other)} >= wanted


@pytest.mark.parametrize("state", [("abc", True), ("abd", False), (None, None)])
def test_changed_or_unknown_code_measures_anew(
    first: tuple[Path, list[str]], state: tuple[str | None, bool | None]
) -> None:
    with patch(GIT, return_value=state):
        rate = {"abc": 5, "abd": 6, None: 7}[state[0]]
        assert taken_over(another(first, f"phases.supervised.optimizer.lr={rate}e-3")) == set()


def test_another_machine_or_other_threads_measure_anew(first: tuple[Path, list[str]]) -> None:
    with patch("colbert_lab.records.environment.hardware_label", return_value="Another CPU"):
        assert taken_over(another(first, "phases.supervised.optimizer.lr=9e-3")) == set()
    before = torch.get_num_threads()
    try:
        other = another(first, "phases.supervised.optimizer.lr=11e-3", f"trainer.threads={before + 1}")
        assert taken_over(other) == set()
    finally:
        torch.set_num_threads(before)
    assert taken_over(another(first, "phases.supervised.optimizer.lr=12e-3")) != set()


def test_what_was_measured_before_a_run_was_taken_up_again_does_not_count(
    first: tuple[Path, list[str]],
) -> None:
    run, given = first
    outputs = run.parents[1] / "taken_up"
    (outputs / "toy").mkdir(parents=True)
    copied = outputs / "toy" / run.name
    shutil.copytree(run, copied)
    (copied / "environment.json").touch()  # as a start of later, of other code, writes it
    outcome = command(*given, f"output_dir={outputs}", "phases.supervised.optimizer.lr=8e-3")
    assert outcome.status == 0, outcome.err
    (other,) = (each for each in (outputs / "toy").iterdir() if each.name not in (run.name, "latest"))
    assert taken_over(other) == set()


def test_other_weights_in_the_same_folder_are_measured_anew(
    first: tuple[Path, list[str]], tiny_bert: Path, tmp_path: Path
) -> None:
    backbone = tmp_path / "backbone"
    shutil.copytree(tiny_bert, backbone)
    _, given = first
    given = [*given, f"student.backbone={backbone}", f"output_dir={tmp_path}", "name=other"]
    assert command(*given).status == 0
    weights = load_file(backbone / "model.safetensors")
    save_file({name: weight * 1.5 for name, weight in weights.items()}, backbone / "model.safetensors")
    assert command(*given, "phases.supervised.optimizer.lr=2e-3").status == 0
    assert taken_over(the_run(tmp_path, "other")) == set()
