"""What a run measures of its splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from colbert_lab.records.records import read_records
from tests.command import command, the_run
from tests.toy import toy_overrides, write_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


def arguments(tiny_bert: Path, toy: Path, outputs: Path) -> list[str]:
    given = [a.replace("steps=6", "steps=2") for a in toy_overrides(tiny_bert, toy, outputs)]
    return [*given, "evaluation.measures=[ndcg@10]", "trainer.threads=1"]


def splits_of(run: Path) -> set[str]:
    return {record.split for record in read_records(run / "results.jsonl")}


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


@pytest.mark.parametrize(
    ("given", "message"),
    [
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
