"""The hash-embedding BERT: sizes, the published layout, growing vocabularies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from colbert_lab.errors import InputError
from colbert_lab.student.encode import encode
from colbert_lab.student.formats.own import load_student, save_student
from colbert_lab.student.hash_embedding import BertHashConfig, BertHashModel
from colbert_lab.student.student import build_student
from tests.conftest import sentences

SIZES = {"femto": (50, 5), "pico": (80, 8), "nano": (128, 16)}


def config(hidden: int, projections: int, **others: Any) -> BertHashConfig:
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 4 * hidden}
    made = AutoConfig.for_model("bert_hash", hidden_size=hidden, projections=projections, **shape, **others)
    assert isinstance(made, BertHashConfig)
    return made


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "with_pooler", "without", "published"),
    [
        ("femto", 242_560, 240_010, 243_000),
        ("pico", 448_336, 441_856, 448_000),
        ("nano", 969_632, 953_120, 969_000),
    ],
)
def test_parameter_totals(name: str, with_pooler: int, without: int, published: int) -> None:
    hidden, projections = SIZES[name]
    model = AutoModel.from_config(config(hidden, projections))
    assert isinstance(model, BertHashModel)
    assert count(model) == with_pooler
    assert abs(with_pooler - published) < 1000
    assert count(AutoModel.from_config(config(hidden, projections), add_pooling_layer=False)) == without
    # by part: table and map, positions and types and norm, two layers, pooler
    table = 30_522 * projections + projections * hidden + hidden
    other = (512 + 2 + 2) * hidden
    layer = 4 * (hidden * hidden + hidden) + (8 * hidden * hidden + 5 * hidden) + 4 * hidden
    assert with_pooler == table + other + 2 * layer + hidden * hidden + hidden


def test_micro_is_an_ordinary_bert_of_4_4_million() -> None:
    shape = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
    assert count(AutoModel.from_config(AutoConfig.for_model("bert", **shape))) == 4_385_920


def test_embeddings_are_the_mapped_table() -> None:
    torch.manual_seed(0)
    model = AutoModel.from_config(config(20, 3, vocab_size=9))
    tokens = model.embeddings.word_embeddings
    torch.nn.init.normal_(tokens.projections.bias)
    ids = torch.tensor([[1, 7]])
    expected = tokens.embeddings.weight[ids] @ tokens.projections.weight.T + tokens.projections.bias
    torch.testing.assert_close(tokens(ids), expected)


def published_folder(
    folder: Path, tokenizer: Path, vocabulary: int | None = None
) -> tuple[Path, BertHashModel]:
    """A folder in the layout of NeuML/bert-hash-nano with random weights.

    That is: no pooler, names with the prefix of the language model that it was taken from, no metadata in the weights'
    file, remote code in config.json.
    """
    torch.manual_seed(0)
    model = AutoModel.from_config(
        config(128, 16, **({} if vocabulary is None else {"vocab_size": vocabulary}))
    )
    folder.mkdir()
    for file in tokenizer.glob("*token*"):
        shutil.copy(file, folder)
    weights = {f"bert.{name}": value for name, value in model.state_dict().items() if "pooler" not in name}
    save_file(weights, folder / "model.safetensors")
    values = model.config.to_dict() | {
        "architectures": ["BertHashModel"],
        "auto_map": {
            "AutoConfig": "configuration_bert_hash.BertHashConfig",
            "AutoModel": "modeling_bert_hash.BertHashModel",
        },
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    for name in ("configuration_bert_hash", "modeling_bert_hash"):
        (folder / f"{name}.py").write_text("raise RuntimeError('remote code was run')\n", encoding="utf-8")
    return folder, model


def test_a_file_in_the_published_layout_has_the_published_size(tiny_bert: Path, tmp_path: Path) -> None:
    folder, _ = published_folder(tmp_path / "nano", tiny_bert)
    assert (folder / "model.safetensors").stat().st_size == 3_816_872


@pytest.mark.parametrize("trust", [False, True])
def test_a_published_folder_loads_without_its_code(
    trust: bool, tiny_bert: Path, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    folder, model = published_folder(tmp_path / "nano", tiny_bert, vocabulary=100)
    student = build_student(**student_settings | {"backbone": str(folder), "trust_remote_code": trust})
    tokens = student.tokenizer(["red fish swims"], "document")
    inputs = {"input_ids": tokens.input_ids_NL, "attention_mask": tokens.attention_mask_NL}
    with torch.no_grad():
        ours = student.model.backbone.eval()(**inputs).last_hidden_state
        theirs = model.eval()(**inputs).last_hidden_state
    assert torch.equal(ours, theirs)
    save_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    assert torch.equal(again.model.backbone.eval()(**inputs).last_hidden_state, ours)


@pytest.mark.parametrize("weight", ["embeddings.weight", "projections.bias"])
def test_a_missing_weight_is_named(
    weight: str, tiny_bert: Path, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    folder, _ = published_folder(tmp_path / "nano", tiny_bert, vocabulary=100)
    weights = load_file(folder / "model.safetensors")
    del weights[f"bert.embeddings.word_embeddings.{weight}"]
    save_file(weights, folder / "model.safetensors")
    message = rf"student.backbone=.*: 1 weights of BertHashModel .*embeddings.word_embeddings.{weight}"
    with pytest.raises(InputError, match=message):
        build_student(**student_settings | {"backbone": str(folder)})


def test_markers_grow_the_table_and_keep_its_rows(
    tiny_bert: Path, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    size = len(AutoTokenizer.from_pretrained(tiny_bert))
    folder, model = published_folder(tmp_path / "nano", tiny_bert, vocabulary=size)
    markers = {"query_marker": "[Q] ", "document_marker": "[D] "}
    student = build_student(**student_settings | markers | {"backbone": str(folder)})
    table = student.model.backbone.get_input_embeddings()
    assert table.num_embeddings == student.model.backbone.config.vocab_size == size + 2
    assert torch.equal(table.weight[:size], model.get_input_embeddings().weight)
    save_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    for role in ("query", "document"):
        ours, theirs = (encode(s, sentences(5), role, token_budget=64).emb_TD for s in (student, again))
        assert torch.equal(ours, theirs)
