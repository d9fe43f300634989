"""Adapters: what is trained, what merging makes of it, and what has no place to be."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ColBERT, Head, LayerShape
from colbert_lab.settings.groups import LoraSettings
from colbert_lab.training import lora
from colbert_lab.training.lora import adapted, check_installed, plain
from tests.training.test_optim import BACKBONES

SETTINGS = LoraSettings(rank=4, alpha=6.0, dropout=0.1, targets=["all-linear"])
SOME = {"bert": ["query", "output.dense"], "modernbert": ["Wqkv"], "llama": ["q_proj"], "gpt2": ["c_attn"]}


def student(name: str) -> ColBERT:
    torch.manual_seed(1)
    cls, config, _ = BACKBONES[name]
    backbone = cls(config)
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    return ColBERT(backbone, Head([LayerShape(16, 8, bias=True)])).eval()


def hidden(model: ColBERT) -> torch.Tensor:
    with torch.no_grad():
        states: torch.Tensor = model.backbone(input_ids=torch.tensor([[5, 6, 7, 8]])).last_hidden_state
    return states


def train_a_little(model: ColBERT) -> None:
    """Other values in everything that is trained."""
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)


def interrupted(model: ColBERT) -> None:
    train_a_little(model)
    raise KeyboardInterrupt


@pytest.mark.parametrize("targets", ["all", "some"])
@pytest.mark.parametrize("name", BACKBONES)
def test_merged_weights_are_the_sum_and_all_others_keep_their_bits(name: str, targets: str) -> None:
    model = student(name)
    before, start = copy.deepcopy(model.state_dict()), hidden(model)
    chosen = LoraSettings(4, 6.0, 0.1, ["all-linear"] if targets == "all" else SOME[name])
    state = torch.get_rng_state()
    with adapted(model, chosen, 3):
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(hidden(model), start)
        trained = [n for n, p in model.named_parameters() if p.requires_grad]
        assert all(".lora_" in n or n.startswith("head.") for n in trained)
        train_a_little(model)
        inside, during = copy.deepcopy(model.state_dict()), hidden(model)
        merged = plain(model)
        assert torch.equal(hidden(model), during)
    after, left = merged.state_dict(), model.state_dict()
    assert after.keys() == left.keys() == before.keys()
    assert all(torch.equal(before[n], left[n]) for n in before)
    assert all(p.requires_grad for p in (*merged.parameters(), *model.parameters()))
    torch.testing.assert_close(hidden(merged), during, rtol=1e-4, atol=1e-5)
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    bases = {n.replace(".base_layer", "") for n in inside if n.endswith(".base_layer.weight")}
    assert changed == bases
    assert bases
    assert not torch.allclose(during, start, atol=1e-3)
    modules = dict(model.named_modules())
    for weight in changed:
        layer = weight.removesuffix(".weight")
        assert torch.equal(inside[f"{layer}.base_layer.weight"], before[weight])
        first, second = (inside[f"{layer}.lora_{each}.default.weight"].double() for each in "AB")
        product = second @ first * (6.0 / 4)
        wanted = before[weight].double() + (product.T if isinstance(modules[layer], Conv1D) else product)
        torch.testing.assert_close(after[weight].double(), wanted, rtol=1e-6, atol=1e-7)
    if targets == "some":
        assert all(any(f".{end}.weight" in n for end in SOME[name]) for n in changed)


def test_after_an_error_every_bit_is_there() -> None:
    model = student("bert")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(KeyboardInterrupt), adapted(model, SETTINGS, 3):
        interrupted(model)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert plain(model) is model
    with adapted(model, None, 3):
        assert model.state_dict().keys() == before.keys()


def test_the_seed_decides_where_adapters_start() -> None:
    found: dict[int, Any] = {}
    for seed in (1, 2, 1):
        model = student("bert")
        with adapted(model, SETTINGS, seed):
            weights = copy.deepcopy(model.state_dict())
        if seed in found:
            assert all(torch.equal(found[seed][name], weights[name]) for name in weights)
        found[seed] = weights
    assert any(not torch.equal(found[1][name], found[2][name]) for name in found[1])


def test_a_target_that_is_not_there() -> None:
    model = student("bert")
    message = r"student\.lora\.targets=uery: BertModel has no linear map of this name; there are dense, key, query, "
    with (
        pytest.raises(InputError, match=rf"^{message}value, and all-linear alone"),
        adapted(model, LoraSettings(4, 6.0, 0.0, ["query", "uery"]), 3),
    ):
        pass


def test_without_peft_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(lora, "find_spec", lambda name: None if name == "peft" else known(name))
    check_installed(None)
    with pytest.raises(
        InputError, match=r'^student\.lora: needs the package peft.*pip install "colbert-lab\[lora\]"'
    ):
        check_installed(SETTINGS)
