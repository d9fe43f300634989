"""Backbones with random weights, and pretrained ones cut to their first layers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoTokenizer, ModernBertConfig, Qwen3Config

from colbert_lab.base.errors import InputError
from colbert_lab.model.architecture import BertHashConfig, BertHashModel
from colbert_lab.model.backbone import load_backbone
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.own import load_student, save_student
from colbert_lab.model.student import Student
from tests.backbones import make_tiny_decoder
from tests.tiny import make_tiny_bert, sentences
from tests.toy import new_student

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
        return new_student(**student_settings | {"architecture": ARCHITECTURES[name], "query_marker": "[Q] "})

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
    config = new_student(**modernbert).model.backbone.config
    assert (config.cls_token_id, config.sep_token_id, config.eos_token_id) == (2, 3, None)
    decoder = make_tiny_decoder(tmp_path / "decoder")
    changes = {"backbone": str(decoder), "architecture": ARCHITECTURES["qwen3"], "query_marker": None}
    student = new_student(**student_settings | changes)
    eos = student.tokenizer.tokenizer.eos_token_id
    table = student.model.backbone.get_input_embeddings()
    assert student.tokenizer.tokenizer.pad_token_id == eos == student.model.backbone.config.eos_token_id
    assert table.padding_idx is None
    assert table.weight[eos].abs().max() > 0  # a pad token of its own has a row of zeros


def test_a_random_backbone_takes_the_dropout_setting(student_settings: dict[str, Any]) -> None:
    for dropout, expected in ((None, 0.1), (0.0, 0.0)):
        settings = student_settings | {"architecture": ARCHITECTURES["bert_hash"], "dropout": dropout}
        assert new_student(**settings).model.backbone.config.hidden_dropout_prob == expected


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
        new_student(**student_settings | changes)


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
    student = new_student(**student_settings | {"backbone": str(folder), "layers": layers})
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


@pytest.mark.parametrize("name", SIZES)
def test_untrained_token_embeddings_are_as_large_as_those_of_bert(name: str) -> None:
    torch.manual_seed(0)
    model = AutoModel.from_config(config(*SIZES[name], vocab_size=3000))
    tokens = model.embeddings.word_embeddings(torch.arange(1, 3000))
    assert tokens.std().item() == pytest.approx(0.02, rel=0.15)
    assert model.embeddings.word_embeddings.projections.bias.abs().max() == 0


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
    student = new_student(**student_settings | {"backbone": str(folder), "trust_remote_code": trust})
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
        new_student(**student_settings | {"backbone": str(folder)})


def test_markers_grow_the_table_and_keep_its_rows(
    tiny_bert: Path, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    size = len(AutoTokenizer.from_pretrained(tiny_bert))
    folder, model = published_folder(tmp_path / "nano", tiny_bert, vocabulary=size)
    markers = {"query_marker": "[Q] ", "document_marker": "[D] "}
    student = new_student(**student_settings | markers | {"backbone": str(folder)})
    table = student.model.backbone.get_input_embeddings()
    assert table.num_embeddings == student.model.backbone.config.vocab_size == size + 2
    assert torch.equal(table.weight[:size], model.get_input_embeddings().weight)
    save_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    for role in ("query", "document"):
        ours, theirs = (encode(s, sentences(5), role, token_budget=64).emb_TD for s in (student, again))
        assert torch.equal(ours, theirs)
