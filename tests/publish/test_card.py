from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from colbert_lab.model.formats.own import save_student
from colbert_lab.publish.card import Subject, model_card
from colbert_lab.publish.converting import Conversion, convert
from colbert_lab.publish.history import find_history
from colbert_lab.publish.metadata import Claims
from tests.publish.made_run import write_run
from tests.toy import new_student

DATA = {"_target_": "x.ScoredListFiles", "path": "/elsewhere/secret/lists", "scores": "a/teacher.jsonl"}
REPO = "someone/zero"


@pytest.fixture
def made(student_settings: dict[str, Any], tmp_path: Path) -> Conversion:
    student = new_student(**student_settings | {"query_prompt": "search | query: ", "document_prompt": ""})
    save_student(student, tmp_path / "source")
    (tmp_path / "made").mkdir()
    return convert(tmp_path / "source", "pylate", tmp_path / "made", False, "from")


def card_of(tmp_path: Path, made: Conversion, **changes: Any) -> Any:
    """The card, written and read again."""
    run_dir = write_run(tmp_path / "outputs" / "n" / "aa-s1", data={"first": DATA, "last": DATA}, dirty=True)
    source = run_dir / "last" / "student"
    subject = Subject(made, str(source), find_history(source), REPO, "out", ("mit", "/elsewhere/secret/bert"))
    model_card(Subject(**vars(subject) | changes), Claims("apache-2.0")).save(tmp_path / "README.md")
    return ModelCard.load(tmp_path / "README.md")


def test_a_card_names_no_place_of_this_machine(tmp_path: Path, made: Conversion) -> None:
    text = card_of(tmp_path, made).content
    for place in ("elsewhere", "secret", str(tmp_path), str(Path.home())):
        assert place not in text
    assert "path=lists, scores=teacher.jsonl" in text
    assert "The card of bert, where its weights come from, says `mit`." in text


def test_the_parts_of_a_card(tmp_path: Path, made: Conversion) -> None:
    card = card_of(tmp_path, made)
    headings = [line for line in card.text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## How to load it", "## How it reads text", "## Recipe", "## Lineage", "## Numbers",
        "## Proof of the conversion", "## Licence", "## What is not known",
    ]  # fmt: skip
    assert card.text.count("```") % 2 == 0
    assert f'models.ColBERT("{REPO}")' in card.text
    assert 'is_query=True, prompt_name="query")' in card.text  # this student has a prompt for queries alone
    assert "is_query=False)" in card.text
    assert "| query prompt | `'search \\| query: '` |" in card.text
    assert "after last" in card.text
    assert "What was changed in the code after the commit that is named above." in card.text
    assert "Which languages it is for: none was given." in card.text
    assert card.data.base_model == "answerdotai/ModernBERT-base"
    assert "Which model of the hub" not in card.text


def test_a_run_that_measured_nothing(tmp_path: Path, made: Conversion) -> None:
    run_dir = write_run(tmp_path / "runs" / "n" / "bb-s1", data={"first": DATA})
    (run_dir / "results.jsonl").unlink()
    history = find_history(run_dir / "first" / "student")
    card = card_of(tmp_path, made, history=history)
    assert "Nothing was measured in this run." in card.text
    assert "How it does on a test split: none was measured." in card.text
    assert card.data.eval_results is None


def test_a_licence_of_no_known_name(tmp_path: Path, made: Conversion) -> None:
    claims = Claims("other", "mine-1.0", "https://example.org/mine")
    subject = Subject(made, "org/parent", None, None, "out")
    card: Any = model_card(subject, claims)
    assert "mine-1.0 (https://example.org/mine), as the uploader says." in card.text
    assert card.data.base_model == "org/parent"
    assert "# out\n" in card.text
