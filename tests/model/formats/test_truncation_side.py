"""Which end of a long text is cut: what the library of a layout computes, and the end for students of ours."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.audit.audited import AuditedData, AuditedPhase, audit
from colbert_lab.audit.findings import verdicts
from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Role
from colbert_lab.explain.matches import counts
from colbert_lab.explain.reading import read
from colbert_lab.model.backbone import load_tokenizer
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import load_checkpoint, save_checkpoint
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.settings.tasks import AuditSettings
from colbert_lab.sources.sources import ScoredListFiles
from colbert_lab.training.prepare import prepare_phase
from tests.audit.support import triples
from tests.parity import formats_flmr
from tests.tiny import WORDS
from tests.toy import new_student
from tests.training.support import make_lists, phase_settings

LONG = " ".join(WORDS[:40])


def left(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"truncation_side": "left"}))


def words(tokenizer: StudentTokenizer, role: Any) -> list[str]:
    (row,) = tokenizer.ids([LONG], role)
    return [str(token) for token in tokenizer.tokenizer.convert_ids_to_tokens(row)]


@pytest.mark.parametrize("layout", ["pylate", "stanford"])
def test_layouts_that_insert_a_marker_keep_it_and_the_end(
    folders: dict[str, Path], layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    left(folders[layout])
    student = load_checkpoint(str(folders[layout]))
    assert (
        f"student.checkpoint={folders[layout]}: long texts are cut (their beginning, prompt incl"
        in caplog.text
    )
    assert words(student.tokenizer, "query") == ["[CLS]", "[unused0]", *WORDS[31:40], "[SEP]"]


def test_a_marker_that_is_text_goes_with_the_beginning(folders: dict[str, Path]) -> None:
    """As MultiVectorEncoder computes it, which writes markers into the text."""
    folder = folders["sentence_transformers"]
    left(folder)
    student = load_checkpoint(str(folder))
    assert words(student.tokenizer, "query") == ["[CLS]", *WORDS[30:40], "[SEP]"]
    (short,) = student.tokenizer.ids(["red"], "query")
    assert student.tokenizer.tokenizer.convert_ids_to_tokens(short) == ["[CLS]", "[unused0]", "red", "[SEP]"]
    library = pytest.importorskip("sentence_transformers")
    if not hasattr(library, "MultiVectorEncoder"):
        pytest.skip("this sentence-transformers has no MultiVectorEncoder")
    theirs = library.MultiVectorEncoder(str(folder), device="cpu")
    sides: tuple[tuple[Role, Any], ...] = (
        ("query", theirs.encode_query),
        ("document", theirs.encode_document),
    )
    for role, encoded in sides:
        (expected,) = encoded([LONG])
        ours = encode(student, [LONG], role, token_budget=99).emb_TD
        torch.testing.assert_close(ours, torch.as_tensor(expected).float().cpu(), atol=1e-5, rtol=0)


def test_the_cards_code_of_colbert_az_writes_its_markers_too(folders: dict[str, Path]) -> None:
    left(folders["colbert_az"])
    tokenizer = load_checkpoint(str(folders["colbert_az"])).tokenizer
    (row,) = tokenizer.ids([LONG], "query")
    assert tokenizer.tokenizer.convert_ids_to_tokens(row) == ["[CLS]", *WORDS[10:40], "[SEP]"]


def test_flmr_has_one_side(tmp_path: Path) -> None:
    folder = formats_flmr.make(tmp_path) / "model"
    left(folder / "query_tokenizer")
    with pytest.raises(InputError, match="cut different ends of long texts"):
        load_checkpoint(str(folder))
    left(folder / "context_tokenizer")
    assert load_checkpoint(str(folder)).tokenizer.rules.truncation_side == "left"


def test_students_of_ours_are_read_from_the_front(
    folders: dict[str, Path], student_settings: dict[str, Any], tiny_bert: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    backbone = tmp_path / "bert"
    backbone.mkdir()
    for file in tiny_bert.iterdir():
        (backbone / file.name).write_bytes(file.read_bytes())
    left(backbone)
    assert load_tokenizer(str(backbone)).truncation_side == "left"
    with caplog.at_level(logging.INFO):
        student = new_student(**student_settings | {"backbone": str(backbone)})
    assert "its tokenizer cuts the beginning of long texts; a new student cuts the end" in caplog.text
    expected = ["[CLS]", "[unused0]", *WORDS[:9], "[SEP]"]
    assert words(student.tokenizer, "query") == expected
    assert "truncation_side" not in student.tokenizer.rules.to_dict()
    left(folders["colbert_lab"])
    assert words(load_checkpoint(str(folders["colbert_lab"])).tokenizer, "query") == expected


def test_the_side_is_kept_when_a_student_is_saved_as_ours(folders: dict[str, Path], tmp_path: Path) -> None:
    left(folders["pylate"])
    save_checkpoint(load_checkpoint(str(folders["pylate"])), "colbert_lab", tmp_path)
    assert words(load_checkpoint(str(tmp_path)).tokenizer, "query")[2] == WORDS[31]


def test_explain_says_which_end_is_cut(folders: dict[str, Path]) -> None:
    left(folders["pylate"])
    reading, _ = read(load_checkpoint(str(folders["pylate"])).tokenizer, LONG, "query")
    assert "31 tokens of the query are cut (their beginning, prompt included)" in counts(reading)
    assert reading.pieces()[0].cut
    assert reading.pieces()[-1].text == WORDS[39]


def test_training_and_its_audit_say_which_end_is_cut(
    folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    left(folders["pylate"])
    tokenizer = load_checkpoint(str(folders["pylate"])).tokenizer
    with caplog.at_level(logging.INFO):
        prepare_phase(
            "distill", phase_settings(), [make_lists()], tokenizer, seed=0, allow_flat_teacher=False,
            allow_prompt_mismatch=False,
        )  # fmt: skip
    assert caplog.text.count("texts are cut (their beginning, prompt included) (") == 2
    data = AuditedData(["distill"], ScoredListFiles("made", None), [triples([(LONG, LONG, [])])])
    keys = {"query": "student.query_length", "document": "student.document_length"}
    phase = AuditedPhase("distill", data, tokenizer, keys, 1, 1, None, "")
    scope = AuditSettings(None, None, 8, 0.8)
    findings = audit("made", [data], [phase], {}, tokenizer, scope=scope, seed=0, drops=False, notes=[])
    said = [sentence for sentence in verdicts(findings) if "are cut" in sentence]
    assert len(said) == 2
    assert all("texts are cut (their beginning, prompt included) and" in sentence for sentence in said)
