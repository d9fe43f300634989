"""A finished run's split and students, read again."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.model.maxsim import maxsim
from colbert_lab.model.student import Student
from colbert_lab.records.rankings import ranking_path, read_ranking
from colbert_lab.records.runs import BEFORE, Run, read_runs
from colbert_lab.run.rereading import reread_split, reread_student
from tests.command import command
from tests.toy import toy_overrides, write_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def run(tiny_bert: Path, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    outputs = tmp_path_factory.mktemp("outputs")
    outcome = command(*toy_overrides(tiny_bert, toy, outputs), "evaluation.precision=32-true")
    assert outcome.status == 0, outcome.err
    (found,) = read_runs([outputs / "toy"]).runs
    return found


def score(student: Student, query: str, document: str) -> float:
    with torch.inference_mode():
        texts = {"query": query, "document": document}
        embedded = [student.model(student.tokenizer([text], role)) for role, text in texts.items()]  # type: ignore[arg-type]
        return float(maxsim(*embedded))


@pytest.mark.parametrize("phase", [BEFORE, "distill"])
def test_the_student_scores_as_it_was_measured(run: Run, phase: str) -> None:
    text = reread_split(run, "test")
    assert text.fingerprint == run.splits["test"]
    student = reread_student(run, phase, text, "test")
    ranking, _ = read_ranking(ranking_path(run.path, "student", phase, "test"))
    of_document = dict(zip(text.corpus.ids, text.corpus.texts, strict=True))
    query, document = ranking.query_ids[0], ranking.document_ids[0][0]
    found = score(student, text.queries[query], of_document[document])
    assert found == pytest.approx(ranking.scores[0][0], abs=1e-4)


@pytest.mark.parametrize(
    ("there", "instead", "said"),
    [
        ("trust_remote_code: false", "trust_remote_code: true", r"student\.trust_remote_code: would run code"),
        ("  head:\n", "  head:\n    _target_: antigravity.Head\n", "student.head._target_=antigravity"),
    ],
)  # fmt: skip
def test_a_config_that_asks_for_code_is_refused(run: Run, there: str, instead: str, said: str) -> None:
    file = run.path / "config.yaml"
    before = file.read_text()
    assert there in before
    file.write_text(before.replace(there, instead))
    try:
        with pytest.raises(InputError, match=rf"config\.yaml: {said}"):
            reread_split(run, "test")
        assert "antigravity" not in sys.modules
    finally:
        file.write_text(before)


def test_the_student_of_a_run_that_is_older_than_a_setting(run: Run) -> None:
    split = reread_split(run, "test")
    whole = reread_student(run, BEFORE, split, "test").model.state_dict()
    file = run.path / "config.yaml"
    before = file.read_text()
    config = yaml.safe_load(before)
    for name in ("new_markers", "pooling", "head", "architecture", "layers"):
        del config["student"][name]
    file.write_text(yaml.safe_dump(config))
    try:
        again = reread_student(run, BEFORE, split, "test").model.state_dict()
    finally:
        file.write_text(before)
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_a_text_that_changed_is_refused(run: Run, toy: Path) -> None:
    file = toy / "queries.jsonl"
    before = file.read_text()
    rows = [json.loads(line) for line in before.splitlines()]
    file.write_text("".join(json.dumps({**row, "text": row["text"] + " sky"}) + "\n" for row in rows))
    try:
        with pytest.raises(
            InputError, match=r"test is another text now than when it was measured \(fingerprints"
        ):
            reread_split(run, "test")
    finally:
        file.write_text(before)


def test_what_is_not_there_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="elsewhere is no split with a text of its own; there are test"):
        reread_split(run, "elsewhere")
    nothing = Split("", "", None, {}, {}, "")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the student after polish is not saved in it"):
        reread_student(run, "polish", nothing, "test")
    with pytest.raises(InputError, match=r"config\.yaml: is missing"):
        reread_split(replace(run, path=tmp_path), "test")
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(InputError, match=r"its config\.yaml is of another version"):
        reread_split(replace(run, path=tmp_path), "test")
