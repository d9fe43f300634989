"""Folders whose backbone comes with Python code, laid out as jina-colbert-v2: run with consent alone, and then exactly.

The small model has the outline of jinaai/xlm-roberta-flash-implementation (rotary positions, one matrix for query, key
and value, the norm after each block), written anew; a loop in float64 from the weights' file says what it computes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from colbert_lab.base.errors import InputError
from colbert_lab.model.backbone import load_backbone
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import load_checkpoint, save_checkpoint
from colbert_lab.model.student import Student
from tests.model.formats.conftest import student_for
from tests.tiny import make_tiny_bert, sentences

HIDDEN, HEADS, LAYERS, DIM, BASE = 32, 2, 2, 16, 20000.0
CONFIG_CODE = """
from transformers import PretrainedConfig

open({proof!r}, "w").close()


class FlashConfig(PretrainedConfig):
    model_type = "xlm-roberta"

    def __init__(self, vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                 rotary_emb_base=10000.0, layer_norm_eps=1e-05, max_position_embeddings=64, **kwargs):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.rotary_emb_base = rotary_emb_base
        self.layer_norm_eps = layer_norm_eps
        self.max_position_embeddings = max_position_embeddings
        super().__init__(**kwargs)
"""
MODEL_CODE = """
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .configuration_flash import FlashConfig


class Mixer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)
        exponents = torch.arange(0, self.width, 2, dtype=torch.float32) / self.width
        self.register_buffer("inv_freq", config.rotary_emb_base ** -exponents, persistent=False)

    def turned(self, x):
        angles = torch.arange(x.shape[1], device=x.device)[:, None] * self.inv_freq
        cos, sin = angles.cos().repeat(1, 2)[:, None], angles.sin().repeat(1, 2)[:, None]
        half = self.width // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin

    def forward(self, hidden, mask):
        n, length, _ = hidden.shape
        q, k, v = self.Wqkv(hidden).view(n, length, 3, self.heads, self.width).unbind(dim=2)
        q, k = self.turned(q), self.turned(k)
        scores = torch.einsum("nqhd,nkhd->nhqk", q, k) / self.width**0.5
        scores = scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min)
        mixed = torch.einsum("nhqk,nkhd->nqhd", scores.softmax(dim=-1), v)
        return self.out_proj(mixed.reshape(n, length, -1))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.mixer = Mixer(config)
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden, mask):
        return self.norm1(hidden + self.mixer(hidden, mask))


class FlashModel(PreTrainedModel):
    config_class = FlashConfig
    base_model_prefix = "roberta"

    def __init__(self, config, add_pooling_layer=True):
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, input_ids, attention_mask=None, **kwargs):
        hidden = self.embeddings(input_ids)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask.bool())
        return BaseModelOutput(last_hidden_state=hidden)
"""


@pytest.fixture(scope="module", autouse=True)
def modules_of_code(tmp_path_factory: pytest.TempPathFactory) -> None:
    """transformers copies code of models to a folder and imports it there: one of our own, for all of these tests."""
    patch = pytest.MonkeyPatch()
    cache = str(tmp_path_factory.mktemp("modules"))
    patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", cache)


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    """A file that is there once the code was run."""
    return tmp_path / "ran"


@pytest.fixture
def published(tmp_path: Path, proof: Path) -> Path:
    """A folder in the layout of jina-colbert-v2: Stanford's, with code in config.json and markers as added tokens."""
    folder = make_tiny_bert(tmp_path / "jina", hidden=HIDDEN)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[QueryMarker]", "[DocumentMarker]"]})
    tokenizer.save_pretrained(folder)
    config = {
        "architectures": ["HF_ColBERT"],
        "auto_map": {
            "AutoConfig": "configuration_flash.FlashConfig",
            "AutoModel": "modeling_flash.FlashModel",
        },
        "hidden_size": HIDDEN,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 64,
        "model_type": "xlm-roberta",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "pad_token_id": tokenizer.pad_token_id,
        "rotary_emb_base": BASE,
        "vocab_size": len(tokenizer),
    }
    metadata = {
        "query_token_id": "[QueryMarker]",
        "doc_token_id": "[DocumentMarker]",
        "query_token": "[Q]",
        "doc_token": "[D]",
        "query_maxlen": 32,
        "doc_maxlen": 48,
        "dim": DIM,
        "mask_punctuation": True,
        "attend_to_mask_tokens": True,
        "similarity": "cosine",
        "interaction": "colbert",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "artifact.metadata").write_text(json.dumps(metadata), encoding="utf-8")
    (folder / "configuration_flash.py").write_text(CONFIG_CODE.format(proof=str(proof)), encoding="utf-8")
    (folder / "modeling_flash.py").write_text(MODEL_CODE, encoding="utf-8")
    shapes = {
        "embeddings.weight": (len(tokenizer), HIDDEN),
        "pooler.weight": (HIDDEN, HIDDEN),
        "pooler.bias": (HIDDEN,),
    }
    for n in range(LAYERS):
        shapes |= {
            f"layers.{n}.mixer.Wqkv.weight": (3 * HIDDEN, HIDDEN),
            f"layers.{n}.mixer.Wqkv.bias": (3 * HIDDEN,),
            f"layers.{n}.mixer.out_proj.weight": (HIDDEN, HIDDEN),
            f"layers.{n}.mixer.out_proj.bias": (HIDDEN,),
            f"layers.{n}.norm1.weight": (HIDDEN,),
            f"layers.{n}.norm1.bias": (HIDDEN,),
        }
    generator = torch.Generator().manual_seed(7)
    weights = {
        f"roberta.{name}": torch.randn(shape, generator=generator) / 3 for name, shape in shapes.items()
    }
    weights["linear.weight"] = torch.randn((DIM, HIDDEN), generator=generator)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def expected(folder: Path, ids: list[int]) -> torch.Tensor:
    """The vectors of one text of which every token is attended to, in float64 [L, D]."""
    weights = {name: value.double() for name, value in load_file(folder / "model.safetensors").items()}
    hidden = torch.stack([weights["roberta.embeddings.weight"][token] for token in ids])
    width = HIDDEN // HEADS
    for n in range(LAYERS):
        own = {name: weights[f"roberta.layers.{n}.{name}"] for name in (
            "mixer.Wqkv.weight", "mixer.Wqkv.bias", "mixer.out_proj.weight", "mixer.out_proj.bias", "norm1.weight",
            "norm1.bias",
        )}  # fmt: skip
        rows = hidden @ own["mixer.Wqkv.weight"].T + own["mixer.Wqkv.bias"]
        mixed = torch.zeros_like(hidden)
        for head in range(HEADS):
            q, k, v = (
                rows[:, part * HIDDEN + head * width : part * HIDDEN + (head + 1) * width].clone()
                for part in range(3)
            )
            for vector in (q, k):
                for place in range(len(ids)):
                    for i in range(width // 2):
                        angle = torch.tensor(place * BASE ** (-2 * i / width), dtype=torch.float64)
                        a, b = vector[place, i].clone(), vector[place, i + width // 2].clone()
                        vector[place, i] = a * angle.cos() - b * angle.sin()
                        vector[place, i + width // 2] = b * angle.cos() + a * angle.sin()
            mixed[:, head * width : (head + 1) * width] = (q @ k.T / width**0.5).softmax(dim=-1) @ v
        hidden = hidden + mixed @ own["mixer.out_proj.weight"].T + own["mixer.out_proj.bias"]
        hidden = F.layer_norm(hidden, (HIDDEN,), own["norm1.weight"], own["norm1.bias"], eps=1e-5)
    return F.normalize(hidden @ weights["linear.weight"].T, dim=-1)


def check_vectors(student: Student, folder: Path) -> None:
    """Queries of 32 tokens, mask tokens among them, and documents without punctuation are as the loop computes."""
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def token(name: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(name))

    for role, marker in (("query", "[QueryMarker]"), ("document", "[DocumentMarker]")):
        text = "red fish , swims"
        row = tokenizer(text)["input_ids"]
        row = [row[0], token(marker), *row[1:]]
        scoring = [True] * 32
        if role == "query":
            row += [tokenizer.mask_token_id] * (32 - len(row))
        else:
            scoring = [number != token(",") for number in row]
        packed = encode(student, [text, "a"], role, token_budget=999)  # type: ignore[arg-type]
        ours = packed.emb_TD[: int(packed.lengths_N[0])]
        theirs = expected(folder, row)[torch.tensor(scoring)]
        torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=0)


def test_without_consent_it_is_refused_and_nothing_is_run(published: Path, proof: Path) -> None:
    """Its model_type is one of transformers, which would take its own class and say nothing."""
    with pytest.raises(InputError) as caught:
        load_checkpoint(str(published))
    told = str(caught.value)
    assert told.startswith(
        f"student.checkpoint={published}: wants to run Python code that comes with it; read it"
    )
    assert "student.trust_remote_code=true" in told
    assert "\n" not in told
    assert not proof.exists()


def test_with_consent_it_has_the_expected_vectors(published: Path, proof: Path) -> None:
    student = load_checkpoint(str(published), trust_remote_code=True)
    assert proof.exists()
    rules = student.tokenizer.rules
    assert (rules.query_marker, rules.document_marker) == ("[QueryMarker]", "[DocumentMarker]")
    assert (rules.query_length, rules.document_length, rules.expansion) == (32, 48, "attended")
    check_vectors(student, published)


def test_weights_that_do_not_fit_the_code_are_named(published: Path) -> None:
    weights = load_file(published / "model.safetensors")
    del weights["roberta.layers.1.norm1.bias"]
    save_file(weights, published / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"weights do not fit: 1 \(layers\.1\.norm1\.bias\) missing"):
        load_checkpoint(str(published), trust_remote_code=True)


@pytest.mark.parametrize("target", ["colbert_lab", "stanford"])
def test_what_is_saved_has_the_code_and_wants_consent_again(
    published: Path, proof: Path, tmp_path: Path, target: str
) -> None:
    student = load_checkpoint(str(published), trust_remote_code=True)
    folder = tmp_path / "again"
    folder.mkdir()
    save_checkpoint(student, target, folder)
    for file in published.rglob("*"):  # nothing of the first folder is needed
        if file.suffix == ".py":
            file.unlink()
    proof.unlink()
    with pytest.raises(InputError, match=r"wants to run Python code .* student\.trust_remote_code=true"):
        load_checkpoint(str(folder))
    assert not proof.exists()
    check_vectors(load_checkpoint(str(folder), trust_remote_code=True), published)


def test_code_whose_weights_fit_another_model_is_not_passed_over(
    student_settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as LFM2.5-ColBERT's, which attends both ways where transformers' own class of its model_type does not."""
    student = student_for("stanford", student_settings)
    folder = tmp_path / "named"
    folder.mkdir()
    save_checkpoint(student, "stanford", folder)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_both_ways.Model"}}))
    with pytest.raises(
        InputError, match=r"where transformers' own bert is the same model, take auto_map out"
    ):
        load_checkpoint(str(folder))
    load_backbone(str(folder))
    assert "(auto_map in config.json) is not run; transformers' own bert is taken" in caplog.text
    file.write_text(json.dumps(config))
    same = load_checkpoint(str(folder))
    packed = [encode(each, sentences(2), "query", token_budget=99).emb_TD for each in (student, same)]
    torch.testing.assert_close(*packed)
