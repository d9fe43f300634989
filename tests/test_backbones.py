"""Whole runs on other backbones than a pretrained BERT."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from colbert_lab.model.colbert import count_parameters
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.own import load_student, save_student
from colbert_lab.records.records import read_records
from colbert_lab.run.inputs import load_inputs
from colbert_lab.settings import command_of
from tests.backbones import make_tiny_decoder
from tests.command import command, the_run, written
from tests.test_configs import composed
from tests.tiny import sentences
from tests.toy import toy_overrides, write_toy

SIZES = {  # backbone without pooler, two markers in the token table, head
    "femto": 240_010 + 2 * 5 + 50 * 50,
    "pico": 441_856 + 2 * 8 + 80 * 80,
    "nano": 953_120 + 2 * 16 + 128 * 128,
    "micro": 4_369_408 + 2 * 128 + 128 * 128,
}


@pytest.mark.parametrize("name", SIZES)
def test_a_muvera_student_has_the_published_size(name: str, tmp_path: Path) -> None:
    asked = command_of(composed(f"student=muvera_{name}", "evaluation=none", f"cache_dir={tmp_path}"))
    student = load_inputs(asked).student
    assert count_parameters(student.model) == SIZES[name]
    assert student.model.dim == {"femto": 50, "pico": 80}.get(name, 128)
    assert (student.tokenizer.length("query"), student.tokenizer.length("document")) == (32, 300)
    tokens = student.tokenizer(["which fish swims"], "query")
    assert tokens.input_ids_NL[0, :2].tolist() == [101, 30522]
    assert tokens.input_ids_NL[0, -1] == 103
    assert tokens.attention_mask_NL[0, -1] == 0


def test_muvera_nano_trains_from_scratch_and_loads_back(tiny_bert: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    given = [o for o in toy_overrides(tiny_bert, toy, tmp_path / "out") if not o.startswith("student.")]
    outcome = command(*given, "student=muvera_nano", "phases.distill.steps=2")
    assert outcome.status == 0, outcome.err
    run = the_run(tmp_path / "out", "toy")
    records = [r for r in read_records(run / "results.jsonl") if r.system == "student"]
    assert {record.system_name for record in records} == {"bert_hash"}
    assert {record.phase for record in records} == {"before", "distill"}
    first = load_student(run / "distill" / "student")
    save_student(first, tmp_path / "again")
    again = load_student(tmp_path / "again")
    assert first.model.backbone.config.model_type == "bert_hash"
    ours, theirs = (encode(s, sentences(5), "document", token_budget=256).emb_TD for s in (first, again))
    assert torch.equal(ours, theirs)
    torch.manual_seed(42)
    untrained = load_inputs(command_of(composed("student=muvera_nano", "evaluation=none"))).student
    before = untrained.model.backbone.embeddings.word_embeddings.projections.weight
    after = first.model.backbone.embeddings.word_embeddings.projections.weight
    assert before.shape == after.shape
    assert not torch.equal(before, after)
    assert (after - before).abs().max() < 0.05  # two steps from the same seed


def test_a_decoder_trains(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    decoder = make_tiny_decoder(tmp_path / "decoder")
    outcome = command(*toy_overrides(decoder, toy, tmp_path / "out"), "student.dropout=null")
    assert outcome.status == 0, outcome.err
    run = the_run(tmp_path / "out", "toy")
    student = load_student(run / "distill" / "student")
    assert student.tokenizer.tokenizer.pad_token == student.tokenizer.tokenizer.eos_token


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student.layers=9", "student.layers=9: must be from 1 to 2, the layers of"),
        (
            "student.architecture={model_type: berd}",
            "student.architecture.model_type=berd: transformers has no",
        ),
    ],
)
def test_bad_input_is_one_line(override: str, message: str, tiny_bert: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    outcome = command(*toy_overrides(tiny_bert, toy, tmp_path / "out"), override)
    assert outcome.status == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not written(tmp_path / "out")
