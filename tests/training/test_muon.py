"""Muon and AdamW as one optimizer: what each of them does, over a resume too."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AlbertConfig, AlbertModel

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ColBERT, Head, LayerShape
from colbert_lab.settings.optimizer import MUON
from colbert_lab.training.optim import make_optimizer, optimizer_factory
from colbert_lab.training.schedules import make_scheduler
from tests.training.test_optim import BACKBONES, DECAY, HEAD, LR, SHAPE
from tests.training.test_phase import Killed, equal, train

SETTINGS: dict[str, Any] = {
    "_target_": MUON, "lr": LR, "weight_decay": 0.01, "betas": [0.9, 0.98], "momentum": 0.9,
}  # fmt: skip


def student(name: str = "bert") -> ColBERT:
    torch.manual_seed(1)
    cls, config, _ = BACKBONES[name]
    backbone = cls(config)
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    return ColBERT(backbone, Head([LayerShape(16, 8, bias=True)]))


def with_gradients(model: ColBERT, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("name", BACKBONES)
def test_matrices_of_layers_are_muons_and_all_else_is_adamws(name: str) -> None:
    ours, theirs = student(name), student(name)
    optimizer = make_optimizer(optimizer_factory(SETTINGS), ours, ours)
    scheduler = make_scheduler(optimizer, "constant", 2, 4)
    layers = ("backbone.encoder.layer.", "backbone.layers.", "backbone.h.")
    inside: list[torch.nn.Parameter] = []
    decayed: list[torch.nn.Parameter] = []
    spared: list[torch.nn.Parameter] = []
    for key, parameter in theirs.named_parameters():
        if parameter.ndim == 2 and key.startswith(layers):
            inside.append(parameter)
        else:
            (spared if parameter.ndim < 2 else decayed).append(parameter)
    assert len(inside) >= 12
    assert any("embed" in key or "wte" in key for key, p in theirs.named_parameters() if p.ndim == 2)
    muon = torch.optim.Muon(inside, lr=LR, weight_decay=0.01, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=LR, weight_decay=0.01, betas=(0.9, 0.98))
    for step in range(4):
        share = min(1.0, step / 2)  # of the warm-up
        for apart in (muon, adamw):
            for group in apart.param_groups:
                group["lr"] = LR * share
        for model in (ours, theirs):
            with_gradients(model, step)
        optimizer.step()
        scheduler.step()
        muon.step()
        adamw.step()
        if step == 1:  # goes on from what a checkpoint holds
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = make_optimizer(optimizer_factory(SETTINGS), ours, ours)
            optimizer.load_state_dict(saved)
            scheduler.optimizer = optimizer
    assert equal(ours.state_dict(), theirs.state_dict())
    assert not equal(ours.state_dict(), student(name).state_dict())


def test_groups_have_their_rates_and_their_part() -> None:
    model = student()
    optimizer = make_optimizer(optimizer_factory(SETTINGS | {"adamw_lr": 1e-4}), model, model, HEAD, DECAY)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(p)]: (group["hidden"], group["lr"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert found["backbone.encoder.layer.1.output.dense.weight"] == (True, LR * DECAY**2)
    assert found["backbone.encoder.layer.1.output.dense.bias"] == (False, 1e-4 * DECAY**2)
    assert found["backbone.embeddings.word_embeddings.weight"] == (False, 1e-4 * DECAY**4)
    assert found["head.0.linear.weight"] == (False, HEAD)


def test_it_trains_and_goes_on_where_it_was_killed(student_settings: dict[str, Any], tmp_path: Path) -> None:
    changes: dict[str, Any] = {"optimizer": SETTINGS, "steps": 4, "accumulation": 1, "head_lr": HEAD}
    whole, _ = train(student_settings, tmp_path / "whole", **changes)
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "cut", stop_at=3, **changes)
    resumed, _ = train(student_settings, tmp_path / "cut", **changes)
    assert equal(whole, resumed)


def test_a_backbone_without_layers_has_no_matrices_inside_them() -> None:
    model = ColBERT(
        AlbertModel(AlbertConfig(**SHAPE, embedding_size=8), add_pooling_layer=False),
        Head([LayerShape(16, 8, bias=True)]),
    )
    with pytest.raises(
        InputError, match=r"^optimizer: AlbertModel has no list of its 3 layers; choose another"
    ):
        make_optimizer(optimizer_factory(SETTINGS), model, model)
    model = student()
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(InputError, match=r"^optimizer: no matrix inside the backbone's layers is trained"):
        make_optimizer(optimizer_factory(SETTINGS), model, model)
