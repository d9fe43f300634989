"""``task=convert`` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.model.formats import known
from colbert_lab.model.formats.known import format_of, load_checkpoint
from colbert_lab.model.formats.own import save_student
from colbert_lab.publish.converting import differences, notes
from tests.command import command
from tests.toy import new_student


@pytest.fixture
def student(student_settings: dict[str, Any], tmp_path: Path) -> Path:
    torch.manual_seed(2)
    # Stanford skips the unknown token where the vocabulary lacks a punctuation mark, as the tiny one does.
    changes = {"expansion": "unattended", "skiplist": [*".,;:!?()-'", "[UNK]"]}
    save_student(new_student(**student_settings | changes), tmp_path / "student")
    return tmp_path / "student"


def test_through_every_layout_and_back(student: Path, tmp_path: Path) -> None:
    source = student
    for target in ("pylate", "stanford", "sentence_transformers", "colbert_lab"):
        outcome = command("task=convert", f"from={source}", f"to={target}", f"out={tmp_path / target}")
        assert outcome.status == 0, outcome.err
        assert "largest difference" in outcome.out
        source = tmp_path / target
        assert format_of(source) == target
    found = differences(load_checkpoint(str(student)), load_checkpoint(str(source)))
    assert max(found.values()) < 1e-5


def test_a_converted_student_that_differs_is_not_written(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colbert_lab.model.formats import pylate

    def wrong(loaded: Any, folder: Path) -> None:
        with torch.no_grad():
            loaded.model.backbone.get_input_embeddings().weight.mul_(1.5)
        pylate.save(loaded, folder)
        with torch.no_grad():
            loaded.model.backbone.get_input_embeddings().weight.div_(1.5)

    broken = {"pylate": known.Format("x", known.FORMATS["pylate"].found, known.FORMATS["pylate"].load, wrong)}
    monkeypatch.setattr(known, "FORMATS", {**known.FORMATS, **broken})
    outcome = command("task=convert", f"from={student}", "to=pylate", f"out={tmp_path / 'out'}")
    assert outcome.status == 2
    assert "embeddings would differ by" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["to=pylate", "out=X"], "from: no value"),
        (["from=S", "out=X"], "to: no value"),
        (["from=S", "to=pylate"], "out: no value"),
        (["from=S", "to=onnx", "out=X"], "to=onnx: must be one of colbert_lab"),
        (["from=S", "to=flmr", "out=X"], "to=flmr: must be one of"),
        (["from=S", "to=colbert_az", "out=X"], "no place for query_marker"),
        (["from=/nowhere", "to=pylate", "out=X"], "from=/nowhere: no such folder"),
        (["from=S", "to=pylate", "out=S"], "exists already"),
        (["from=/nowhere", "to=onnx", "out=S"], "from=/nowhere: no such folder"),
        (["from=S", "to=onnx", "out=S"], "to=onnx: must be one of colbert_lab"),
        (["from=/nowhere", "to=onnx"], "out: no value"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    student: Path, tmp_path: Path, arguments: list[str], match: str
) -> None:
    places = {"from=S": f"from={student}", "out=X": f"out={tmp_path / 'out'}", "out=S": f"out={student}"}
    outcome = command("task=convert", *(places.get(argument, argument) for argument in arguments))
    assert outcome.status == 2
    assert match in outcome.err
    assert outcome.err.strip().count("\n") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_what_the_folder_cannot_say_is_said(student_settings: dict[str, Any]) -> None:
    plain = new_student(**student_settings | {"skiplist": "none", "query_prompt": "what "})
    assert "mask_punctuation=false" in " ".join(notes(plain, "stanford"))
    said = " ".join(notes(plain, "pylate"))
    assert "prompts only when asked" in said
    assert "white space" in said
    assert notes(plain, "colbert_lab") == []
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "projections": 2}
    hashed = new_student(**student_settings, architecture={"model_type": "bert_hash"} | shape)
    assert "bert_hash" in " ".join(notes(hashed, "sentence_transformers"))


def test_settings_of_convert_are_for_convert_alone(tmp_path: Path) -> None:
    outcome = command("task=evaluate", "from=x", f"output_dir={tmp_path}")
    assert outcome.status == 2
    assert "from: has no effect on task=evaluate" in outcome.err
