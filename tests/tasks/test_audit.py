"""``task=audit`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.model.formats.own import save_student
from tests.command import Outcome, command
from tests.conftest import SHARED_DATA
from tests.tiny import write_beir
from tests.toy import new_student, student_overrides, toy_overrides, write_toy

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")
FILES = ["audit.json", "audit.md", "audit.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection whose test query q3 is also trained on, under another id."""
    documents = {
        "d1": "a red fish swims in the cold river",
        "d2": "the old tree holds a small bird",
        "d3": "where light falls on water the leaf is green",
        "d4": "dark stone",
    }
    queries = {
        "q1": "what swims in the river",
        "q2": "which tree holds birds",
        "q3": "What swims in the river?",
    }
    qrels = {"train": [("q1", "d1", 1), ("q2", "d2", 1)], "test": [("q3", "d1", 1)]}
    return write_beir(tmp_path / "made", documents, queries, qrels)


def audit(tiny_bert: Path, tmp_path: Path, *arguments: str) -> Outcome:
    outputs = [f"output_dir={tmp_path / 'outputs'}", f"cache_dir={tmp_path / 'cache'}", "progress=false"]
    return command("task=audit", *student_overrides(tiny_bert), *outputs, *arguments)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    return found


def test_a_folder_is_audited_against_its_own_other_splits(
    tiny_bert: Path, folder: Path, tmp_path: Path
) -> None:
    outcome = audit(tiny_bert, tmp_path, "data=beir", f"data.path={folder}")
    assert outcome.status == 0, outcome.err
    (out,) = (tmp_path / "outputs" / "audit").iterdir()
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert (out / "audit.png").read_bytes().startswith(b"\x89PNG")
    found = read(out)
    (split,) = found["data"][0]["contamination"]
    assert (split["split"], split["dataset"]) == ("test", "made")
    (match,) = split["queries"]["matches"]
    assert (match["id"], match["how"]) == ("q3", "exact")
    assert match["training"] == [{"source": "made/train", "role": "query", "id": "q1"}]
    assert any("(q1) training queries of the data are in it" in line for line in found["verdicts"])
    assert "drop_contamination=true" in outcome.out
    assert "splits of the data's own folder: test (audit.splits=auto)" in outcome.out
    assert "| test (made) | 1 of 1 |" in (out / "audit.md").read_text(encoding="utf-8")
    assert f"saved: {out}/audit.json" in outcome.err


def test_the_same_command_writes_the_same_and_another_another(
    tiny_bert: Path, folder: Path, tmp_path: Path
) -> None:
    written = []
    for extra in ([], [], ["audit.near=0.5"]):
        outcome = audit(tiny_bert, tmp_path, "data=beir", f"data.path={folder}", *extra)
        assert outcome.status == 0, outcome.err
        line = next(line for line in outcome.err.splitlines() if line.startswith("saved: "))
        written.append(Path(line.removeprefix("saved: ").partition(",")[0]))
    assert written[0] == written[1] != written[2]
    assert len(list((tmp_path / "outputs" / "audit").iterdir())) == 2


def test_phases_bring_their_lengths_and_their_teacher(tiny_bert: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    out = tmp_path / "out"
    overrides = [o for o in toy_overrides(tiny_bert, toy, tmp_path) if "teacher.temperature" not in o]
    outcome = command(
        *overrides,
        "task=audit",
        "phases.distill.document_length=10",
        "phases.distill.objective.distillation.teacher.temperature=0.001",
        f"out={out}",
    )
    assert outcome.status == 0, outcome.err
    (phase,) = read(out)["phases"]
    assert phase["phase"] == "distill"
    assert [each["length"] for each in phase["lengths"]] == [12, 10]
    (teacher,) = phase["teachers"]
    assert teacher["one_hot"] > 0.9
    assert teacher["n_way"] == 4
    key = "phases.distill.objective.distillation.teacher (normalisation zscore, temperature 0.001)"
    assert f"{key}: toy/lists is almost one-hot" in " ".join(outcome.out.split())
    assert "phases.distill.document_length: at 10 tokens" in " ".join(outcome.out.split())
    (data,) = read(out)["data"]
    assert data["contamination"][0]["shared_corpus"]
    assert "matches" not in data["contamination"][0]["documents"]
    assert data["left_out"]["dev"] > 0  # held out of the training queries, and of this audit


def test_a_mixture_with_weights(tiny_bert: Path, folder: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    out = tmp_path / "out"
    outcome = audit(
        tiny_bert,
        tmp_path,
        "data=mixture",
        "+data@data.sources.a=pairs",
        "+data@data.sources.b=pairs",
        f"data.sources.a.path={folder}",
        f"data.sources.b.path={toy}",
        "data.source_weights={a:0.75,b:0.25}",
        "evaluation=none",
        f"out={out}",
    )
    assert outcome.status == 0, outcome.err
    found = read(out)
    (phase,) = found["phases"]
    assert [(s["name"], s["rows"], s["weight"], s["share"]) for s in phase["sources"]] == [
        ("made/train", 2, 0.75, 0.75),
        ("toy/train", 40, 0.25, 0.25),
    ]
    assert [each["name"] for each in phase["lengths"][-2:]] == ["all sources"] * 2
    assert phase["lengths"][-2]["texts"] == 42
    assert found["data"][0]["contamination"] == []
    assert not phase["teachers"]
    assert "no evaluation split is configured, so nothing was looked for" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["data.path=nowhere"], "nowhere"),
        (["audit.rows=0"], "audit.rows=0: must be at least 1"),
        (["audit.ngram=0"], "audit.ngram=0: must be at least 1"),
        (["audit.near=1.5"], "audit.near=1.5: must be above 0 and at most 1"),
        (["audit.splits=some"], "audit.splits=some: must be one of auto, evaluation, data"),
        (["audit.neer=1"], "neer"),
        (["out=/dev/null/x"], "out: cannot write to /dev/null"),
        (["schedule=[distil]"], "schedule: no phase slot named distil"),
        (
            ["evaluation=beir", "evaluation.path=/no/where"],
            "evaluation.splits.test.path=/no/where: no such folder",
        ),
        (["student.document_length=2"], "leaves no room for text"),
        (["~data"], "data: no data"),
        (
            ["+phase@phases.distill=distill", "schedule=[distill]", "audit.teacher.temperature=1"],
            "audit.teacher.temperature=1: has no effect with a schedule",
        ),
        (
            ["+phase@phases.distill=distill", "schedule=[distill]"],
            "phases.distill.objective.distillation.weight: made/train has no teacher scores",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tiny_bert: Path, folder: Path, tmp_path: Path, arguments: list[str], part: str
) -> None:
    out = tmp_path / "out"
    given = [] if "~data" in arguments else ["data=beir", f"data.path={folder}"]
    outcome = audit(tiny_bert, tmp_path, *given, f"out={out}", *arguments)
    assert outcome.status == 2, outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert part in line
    assert not out.exists()
    assert not list(tmp_path.glob(".out*"))


def test_what_is_no_audit_is_not_replaced(tiny_bert: Path, folder: Path, tmp_path: Path) -> None:
    outcome = audit(tiny_bert, tmp_path, "data=beir", f"data.path={folder}", f"out={folder}")
    assert outcome.status == 2
    assert f"error: out={folder}: exists and is no audit; choose another folder" in outcome.err
    assert (folder / "corpus.jsonl").is_file()


def test_out_has_no_effect_on_training_and_says_so() -> None:
    outcome = command("+experiment=colbert_zero_kd", "out=x")
    assert outcome.status == 2
    assert "error: out: has no effect on task=train" in outcome.err


def test_a_saved_student_brings_its_lengths_and_prompts(
    student_settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    save_student(
        new_student(**student_settings | {"document_length": 9, "document_prompt": "search_document "}),
        tmp_path / "student",
    )
    checkpoint, out = f"student.checkpoint={tmp_path / 'student'}", tmp_path / "out"
    arguments = ["task=audit", "data=beir", f"data.path={folder}", f"out={out}", checkpoint]
    outcome = command(*arguments, f"output_dir={tmp_path}", f"cache_dir={tmp_path / 'cache'}")
    assert outcome.status == 0, outcome.err
    (phase,) = read(out)["phases"]
    documents = phase["lengths"][1]
    assert (documents["length"], documents["prompt"], documents["room"]) == (9, 3, 3)
    assert documents["cut"] == 1.0
    assert documents["cut_without_prompt"] == 1.0
    idle = command(*arguments, "student.document_length=20")
    assert "student.document_length=20 has no effect with student.checkpoint" in idle.err


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED_DATA / "scifact").is_dir(), reason="needs the scifact collection")
def test_the_two_test_claims_of_scifact_that_are_trained_on(tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = f"data.path={SHARED_DATA / 'scifact'}"
    outcome = audit(tiny_bert, tmp_path, "data=beir", data, f"out={out}", "audit.rows=50")
    assert outcome.status == 0, outcome.err
    (split,) = read(out)["data"][0]["contamination"]
    exact = [match for match in split["queries"]["matches"] if match["how"] == "exact"]
    assert sorted(place["id"] for match in exact for place in match["training"]) == ["1291", "871"]
