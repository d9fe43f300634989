"""``task=push`` on the command line: conversion, card and upload together."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from colbert_lab.model.formats.known import format_of, load_checkpoint
from colbert_lab.publish.converting import differences
from colbert_lab.records.records import read_records
from tests.command import command, the_run
from tests.conftest import ROOT
from tests.publish.hub import TOKEN, serving
from tests.tiny import make_tiny_bert
from tests.toy import toy_overrides, write_toy

REPO = "someone/toy"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps, and beside it one that started from its student."""
    base = tmp_path_factory.mktemp("push")
    bert, toy = make_tiny_bert(base / "tiny-bert"), write_toy(base / "toy")
    (bert / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n\n# tiny-bert\n")
    outcome = command(*toy_overrides(bert, toy, base / "outputs"))
    assert outcome.status == 0, outcome.err
    return the_run(base / "outputs", "toy")


def test_a_student_of_a_run_with_its_card(run_dir: Path, tmp_path: Path) -> None:
    source, out = run_dir / "distill" / "student", tmp_path / "out"
    outcome = command(
        "task=push", f"from={source}", "to=pylate", f"repo={REPO}", f"out={out}", "push.dry_run=true",
        "push.license=mit", "push.language=[en,az]", "push.base_model=google-bert/bert-base-uncased",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert format_of(out) == "pylate"
    found = differences(load_checkpoint(str(source)), load_checkpoint(str(out)))
    assert max(found.values()) < 1e-5
    card = ModelCard.load(out / "README.md")
    data = card.data
    assert (data.license, data.language, data.library_name) == ("mit", ["en", "az"], "PyLate")
    assert (data.base_model, data.datasets) == ("google-bert/bert-base-uncased", None)
    assert data.pipeline_tag == "sentence-similarity"
    assert {"ColBERT", "PyLate", "colbert_lab"} <= set(data.tags or ())
    recorded = {
        (r.split, r.measure): r.value
        for r in read_records(run_dir / "results.jsonl")
        if (r.system, r.phase) == ("student", "distill")
    }
    assert data.eval_results is not None
    index = {(result.dataset_split, result.metric_type): result.metric_value for result in data.eval_results}
    assert index == {({"dev": "heldout"}.get(split, split), m): v for (split, m), v in recorded.items()}
    table = (run_dir / "table.md").read_text()
    rows = [
        line for line in table.splitlines() if line.startswith(("| after distill", "| distill vs before"))
    ]
    assert len(rows) == 4
    for row in rows:
        assert row in card.text
    for said in (
        "`pip install pylate`", f'models.ColBERT("{REPO}")', "| learning rate | 0.001 |",
        "| optimizer steps done | 6 |", "the backbone `tiny-bert`",
        "1 x KL(teacher \\|\\| student) (teacher: zscore, temperature 1; student: none, temperature 1)",
        f"phase `distill` of the run `{run_dir.name}` (colbert_zero_kd), trained in this run",
        "ScoredListFiles(path=toy, scores=lists.jsonl", "How much another seed would change: this is seed 42 alone.",
        "The card of tiny-bert, where its weights come from, says `cc-by-4.0`.",
    ):  # fmt: skip
        assert said in card.text, said


def test_nothing_of_this_machine_is_in_what_is_pushed(run_dir: Path, tmp_path: Path) -> None:
    for target in ("pylate", "sentence_transformers", "colbert_lab"):
        out = tmp_path / target
        outcome = command(
            "task=push", f"from={run_dir}/distill/student", f"to={target}", f"out={out}", "push.license=mit"
        )
        assert outcome.status == 0, outcome.err
        for file in out.rglob("*"):
            if file.suffix in (".md", ".json", ".txt"):
                text = file.read_text(encoding="utf-8")
                for place in (run_dir.parents[2], tmp_path, ROOT, Path.home()):
                    assert str(place) not in text, (file, place)


def test_a_student_that_is_in_no_run_says_so(run_dir: Path, tmp_path: Path) -> None:
    alone, out = tmp_path / "alone", tmp_path / "out"
    assert (
        command("task=convert", f"from={run_dir}/distill/student", "to=colbert_lab", f"out={alone}").status
        == 0
    )
    outcome = command(
        "task=push", f"from={alone}", "to=sentence_transformers", f"out={out}", "push.license=mit"
    )
    assert outcome.status == 0, outcome.err
    card = ModelCard.load(out / "README.md")
    assert card.data.eval_results is None
    assert card.data.library_name == "sentence-transformers"
    assert "the folder that was converted (`alone`) is not inside a run of colbert_lab" in card.text
    assert "Recipe, lineage, training data and numbers: the folder was not inside a run." in card.text


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["to=pylate", "out=X"], "from: no value"),
        (["from=S", "out=X", "push.license=mit"], "to: no value"),
        (["from=S", "to=pylate", "push.license=mit"], "out: no value, and nothing is uploaded"),
        (["from=S", "to=pylate", f"repo={REPO}", "push.dry_run=true", "push.license=mit"], "out: no value"),
        (["from=S", "to=pylate", "out=X"], "push.license: no value.*the card of .*tiny-bert says cc-by-4.0"),
        (["from=S", "to=pylate", "out=X", "push.license=Apache 2.0"], "push.license=Apache 2.0: must be an identifier"),
        (["from=S", "to=pylate", "out=X", "push.license=other"], "push.license_name: no value"),
        (["from=S", "to=pylate", "out=X", "push.license=mit", "push.license_link=x"], "license_link: has no effect"),
        (["from=S", "to=pylate", "out=X", "push.license=mit", "push.language=English"], "push.language=English: must"),
        (["from=S", "to=pylate", "out=X", "push.license=mit", "push.base_model=/x/y"], "push.base_model=/x/y: must"),
        (["from=S", "to=pylate", "out=X", "push.license=mit", "push.datasets=[a/b,./c]"], "push.datasets=./c: must"),
        (["from=S", "to=pylate", "out=X", "push.license=mit", "push.private=false"], "push.private: has no effect"),
        (["from=S", "to=pylate", "out=X", "push.license=mit", "push.replace=true"], "push.replace: has no effect"),
        (["from=S", "to=flmr", "out=X", "push.license=mit"], "to=flmr: must be one of"),
        (["from=S", "to=pylate", "out=S", "push.license=mit"], "exists already"),
        (["from=S", "to=pylate", f"repo={REPO}", "push.license=mit"], "HF_HUB_OFFLINE is set"),
        (["from=/nowhere", "to=pylate", "out=X", "push.license=mit"], "from=/nowhere: no such folder"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], match: str
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    student = run_dir / "distill" / "student"
    places = {"from=S": f"from={student}", "out=X": f"out={tmp_path / 'out'}", "out=S": f"out={student}"}
    outcome = command("task=push", *(places.get(argument, argument) for argument in arguments))
    assert outcome.status == 2
    assert re.search(match, outcome.err), outcome.err
    assert outcome.err.strip().count("\n") == 0
    assert list(tmp_path.iterdir()) == []


def test_settings_of_push_are_for_push_alone(tmp_path: Path) -> None:
    for given in ("repo=a/b", "push.license=mit"):
        outcome = command("task=evaluate", given, f"output_dir={tmp_path}")
        assert outcome.status == 2
        assert f"{given.partition('=')[0]}: has no effect on task=evaluate" in outcome.err


@pytest.mark.slow
def test_upload_by_the_command_to_the_hub_that_the_environment_names(run_dir: Path, tmp_path: Path) -> None:
    with serving() as hub:
        environment = os.environ | {
            "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT),
        }  # fmt: skip

        def push(*more: str) -> subprocess.CompletedProcess[str]:
            given = [
                f"from={run_dir}/distill/student",
                f"repo={REPO}",
                "push.license=mit",
                *more,
            ]
            command = [sys.executable, "-m", "colbert_lab", "task=push", "progress=false", *given]
            return subprocess.run(
                command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
            )

        refused = push(
            "to=stanford", "out=here"
        )  # this layout cannot hold the student, so the hub is not asked
        assert refused.returncode == 2
        assert hub.requests == []
        assert not (tmp_path / "here").exists()
        done = push("to=pylate")
        assert done.returncode == 0, done.stderr
        assert TOKEN not in done.stdout + done.stderr
        there = hub.repos[REPO]
        assert there.private
        assert len(there.commits) == 1
        assert f"uploaded: {hub.endpoint}/{REPO}/commit/" in done.stderr
        pushed = tmp_path / "pushed"
        for name, content in there.files.items():
            (pushed / name).parent.mkdir(parents=True, exist_ok=True)
            (pushed / name).write_bytes(content)
        found = differences(
            load_checkpoint(str(run_dir / "distill" / "student")), load_checkpoint(str(pushed))
        )
        assert max(found.values()) < 1e-5
        assert ModelCard.load(pushed / "README.md").data.license == "mit"
        again = push("to=pylate", "out=here")
        assert again.returncode == 2
        assert "push.replace=true replaces all of them" in again.stderr
        assert not (tmp_path / "here").exists()
        assert json.loads((run_dir / "status.json").read_text())["status"] == "finished"
