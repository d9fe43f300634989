"""Backbones with random weights, and pretrained ones cut to their first layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, ModernBertConfig, Qwen3Config

from colbert_lab.errors import InputError
from colbert_lab.student.backbone import load_backbone
from colbert_lab.student.encode import encode
from colbert_lab.student.formats.own import load_student, save_student
from colbert_lab.student.student import Student, build_student
from tests.backbones import make_tiny_decoder
from tests.conftest import make_tiny_bert, sentences

TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **TINY},
    "bert_hash": {"model_type": "bert_hash", "projections": 4, **TINY},
    "modernbert": {"model_type": "modernbert", **TINY},
    "qwen3": {"model_type": "qwen3", "head_dim": 12, "num_key_value_heads": 1, **TINY},
}


def embeddings(student: Student) -> torch.Tensor:
    return encode(student, sentences(5), "document", token_budget=64).emb_TD


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_random_backbone_is_of_the_seed_and_loads_back(
    name: str, student_settings: dict[str, Any], tiny_bert: Path, tmp_path: Path
) -> None:
    def build(seed: int) -> Student:
        torch.manual_seed(seed)
        return build_student(
            **student_settings | {"architecture": ARCHITECTURES[name], "query_marker": "[Q] "}
        )

    student = build(1)
    backbone = student.model.backbone
    assert (backbone.config.model_type, backbone.config.hidden_size) == (name, 24)
    assert backbone.get_input_embeddings().num_embeddings == len(student.tokenizer.tokenizer)
    assert backbone.config.pad_token_id == student.tokenizer.tokenizer.pad_token_id == 0
    assert torch.equal(embeddings(student), embeddings(build(1)))
    assert not torch.equal(embeddings(student), embeddings(build(2)))
    save_student(student, tmp_path / "student")
    assert torch.equal(embeddings(load_student(tmp_path / "student")), embeddings(student))


def test_a_random_backbone_has_the_special_tokens_of_its_tokenizer(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    modernbert = student_settings | {"architecture": ARCHITECTURES["modernbert"]}
    config = build_student(**modernbert).model.backbone.config
    assert (config.cls_token_id, config.sep_token_id, config.eos_token_id) == (2, 3, None)
    decoder = make_tiny_decoder(tmp_path / "decoder")
    changes = {"backbone": str(decoder), "architecture": ARCHITECTURES["qwen3"], "query_marker": None}
    student = build_student(**student_settings | changes)
    eos = student.tokenizer.tokenizer.eos_token_id
    table = student.model.backbone.get_input_embeddings()
    assert student.tokenizer.tokenizer.pad_token_id == eos == student.model.backbone.config.eos_token_id
    assert table.padding_idx is None
    assert table.weight[eos].abs().max() > 0  # a pad token of its own has a row of zeros


def test_a_random_backbone_takes_the_dropout_setting(student_settings: dict[str, Any]) -> None:
    for dropout, expected in ((None, 0.1), (0.0, 0.0)):
        settings = student_settings | {"architecture": ARCHITECTURES["bert_hash"], "dropout": dropout}
        assert build_student(**settings).model.backbone.config.hidden_dropout_prob == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "bert"}, "student.architecture=bert: must be a mapping with model_type"),
        ({"architecture": TINY}, "must be a mapping with model_type"),
        (
            {"architecture": {"model_type": "no_such"}},
            "student.architecture.model_type=no_such: transformers",
        ),
        ({"architecture": {"model_type": "bert", "hidden": 3}}, "student.architecture.hidden: no key of"),
        ({"architecture": {"model_type": "bert", "vocab_size": 3}}, "student.architecture.vocab_size: is"),
        ({"architecture": {"model_type": "bert", "hidden_size": "x"}}, "student.architecture: .*hidden_size"),
        ({"architecture": {"model_type": "bert", "hidden_size": 31}}, "student.architecture: .*multiple of"),
        ({"architecture": {"model_type": "bert"}, "layers": 1}, "student.layers=1: has no effect with"),
        (
            {"architecture": {"model_type": "bert", "max_position_embeddings": 9, **TINY}},
            "beyond the 9 positions of student.architecture",
        ),
        ({"layers": 0}, "student.layers=0: must be from 1 to 2"),
        ({"layers": 3}, "student.layers=3: must be from 1 to 2"),
    ],
)
def test_bad_settings(changes: dict[str, Any], message: str, student_settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=message):
        build_student(**student_settings | changes)


def layered(kind: str, folder: Path) -> Path:
    """A pretrained backbone of four layers."""
    make_tiny_bert(folder, layers=4)
    size = len(AutoTokenizer.from_pretrained(folder))
    torch.manual_seed(0)
    shape = TINY | {"num_hidden_layers": 4, "vocab_size": size, "pad_token_id": 0}
    if kind == "modernbert":
        AutoModel.from_config(ModernBertConfig(**shape, local_attention=4)).save_pretrained(folder)
    elif kind == "qwen3":
        shape |= {
            "num_key_value_heads": 1,
            "head_dim": 12,
            "use_sliding_window": True,
            "max_window_layers": 2,
        }
        AutoModel.from_config(Qwen3Config(**shape, sliding_window=4)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("layers", [1, 3, 4])
@pytest.mark.parametrize("kind", ["bert", "modernbert", "qwen3"])
def test_a_cut_backbone_gives_the_hidden_states_of_the_full_one(
    kind: str, layers: int, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    folder = layered(kind, tmp_path / "full")
    full = load_backbone(str(folder)).eval()
    student = build_student(**student_settings | {"backbone": str(folder), "layers": layers})
    cut = student.model.backbone.eval()
    tokens = student.tokenizer(sentences(3), "document")
    inputs = {"input_ids": tokens.input_ids_NL, "attention_mask": tokens.attention_mask_NL}
    with torch.no_grad():
        ours = cut(**inputs).last_hidden_state
        everything = full(**inputs, output_hidden_states=True)
        state = everything.hidden_states[layers]
        if (
            kind != "bert" and layers < 4
        ):  # their norm comes after the last layer, and after the last one kept
            assert not torch.allclose(ours, state, atol=1e-3)
            state = (full.final_norm if kind == "modernbert" else full.norm)(state)
    real = tokens.attention_mask_NL.bool()
    torch.testing.assert_close(ours[real], state[real], atol=1e-6, rtol=1e-5)
    assert cut.config.num_hidden_layers == layers == len(cut.encoder.layer if kind == "bert" else cut.layers)
    if kind != "bert":
        assert cut.config.layer_types == full.config.layer_types[:layers]
    save_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    assert again.model.backbone.config.num_hidden_layers == layers
    assert torch.equal(embeddings(again), embeddings(student))
