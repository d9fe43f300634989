"""``task=certify`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from colbert_lab.training import module
from tests.command import command
from tests.toy import toy_overrides, write_toy

ALONE = "certify.checks=[chunking,recomputation,maxsim,attention,precision]"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy collection."""
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def arguments(tiny_bert: Path, toy: Path, tmp_path: Path) -> list[str]:
    """A toy run without evaluation."""
    whole = toy_overrides(tiny_bert, toy, tmp_path / "outputs")
    return ["task=certify", *(each for each in whole if not each.startswith("evaluation")), "evaluation=none"]


@pytest.mark.slow
def test_the_toy_is_certified(arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "certificate.json"
    outcome = command(*arguments, f"out={out}", "student.dropout=0.1", "trainer.precision=bf16-mixed")
    assert outcome.status == 0, outcome.err
    assert "within their tolerances" in outcome.out
    read = json.loads(out.read_text())
    assert read["passed"]
    assert {each["check"] for each in read["findings"]} == {
        "chunking", "recomputation", "maxsim", "attention", "precision", "gathering",
    }  # fmt: skip
    assert {each["phase"] for each in read["findings"]} == {"distill"}
    assert any("Dropout is on" in note for note in read["notes"])
    left = [path.name for path in (tmp_path / "outputs").iterdir()]
    assert left == ["cache"], "no run directory is made"


def test_what_fails_is_said_in_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.StudentModule.training_step
    monkeypatch.setattr(module.StudentModule, "training_step", lambda self, *a: 2 * original(self, *a))
    out = tmp_path / "certificate.md"
    outcome = command(*arguments, ALONE, f"out={out}", "certify.micro_batches=1")
    assert outcome.status == 1
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: phases.distill: chunking: loss differs by")
    assert "certify.tolerance.float32.loss" in line
    assert "phases.distill.token_budget=1" in line
    assert "Traceback" not in outcome.err
    assert "NO" in outcome.out
    assert "| NO |" in out.read_text()
    assert "what others are compared with" in outcome.out


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["certify.tolerance.float32.loss=0"], "certify.tolerance.float32.loss=0: must be above 0"),
        (
            ["certify.tolerance.precision.order=-0.1"],
            "certify.tolerance.precision.order=-0.1: must be above 0",
        ),
        (["certify.tolerance.float32.los=1"], "los"),
        (["certify.checks=[chunking,dropout]"], "certify.checks: no check named dropout; there are chunking"),
        (["certify.checks=[]"], "certify.checks: nothing to check"),
        (["certify.checks=[precision]"], "trainer.precision=32-true there is nothing to compare"),
        (["certify.micro_batches=0"], "certify.micro_batches=0: must be at least 1"),
        (["certify.queries=1"], "certify.queries=1: must be at least 2"),
        (["certify.documents=1"], "certify.documents=1: must be at least 2"),
        (["out=certificate.txt"], "out=certificate.txt: must be a file that ends in"),
        (["task=train", "certify.queries=3"], "certify.queries: has no effect on task=train"),
        (["schedule=[]"], "schedule: nothing to train"),
        (["schedule=[nothing]"], "no phase slot named nothing"),
    ],
)
def test_bad_settings(arguments: list[str], tmp_path: Path, overrides: list[str], named: str) -> None:
    outcome = command(*arguments, *overrides)
    assert outcome.status == 2
    assert named in outcome.err.splitlines()[-1]
    assert not list((tmp_path / "outputs").glob("toy*"))
