"""Parameter groups: which learning rate and weight decay every parameter gets, in training and after a resume.

Muon and AdamW as one optimizer: what each of them does, over a resume too.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import nn
from torch.optim import Optimizer
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
)

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ColBERT, Head, LayerShape
from colbert_lab.model.student import Student
from colbert_lab.settings.optimizer import MUON
from colbert_lab.training.module import StudentModule
from colbert_lab.training.optim import Optimization, make_optimizer, optimizer_factory
from colbert_lab.training.phase_files import resume_point
from colbert_lab.training.precision import pick_precision
from colbert_lab.training.prepare import PreparedPhase, check_network, prepare_phase
from colbert_lab.training.schedules import make_scheduler
from tests.toy import new_student
from tests.training.support import TRAINER, make_lists, phase_settings
from tests.training.test_phase import Killed, equal, train

LR, HEAD, DECAY = 1e-3, 2e-2, 0.5
ADAMW = {"_target_": "torch.optim.AdamW", "lr": LR, "weight_decay": 0.01, "betas": [0.9, 0.98]}
SHAPE: dict[str, Any] = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
# Class, configuration, and the shares of the learning rate by the beginning of a parameter's name.
LAST, FULL = DECAY, 1.0
BACKBONES: dict[str, tuple[type[PreTrainedModel], Any, dict[str, float]]] = {
    "bert": (
        BertModel,
        BertConfig(**SHAPE),
        {"embeddings.": 1 / 16, "encoder.layer.0.": 1 / 8, "encoder.layer.1.": 1 / 4, "encoder.layer.2.": LAST},
    ),
    "modernbert": (
        ModernBertModel,
        ModernBertConfig(**SHAPE, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2),
        {"embeddings.": 1 / 16, "layers.0.": 1 / 8, "layers.1.": 1 / 4, "layers.2.": LAST, "final_norm.": FULL},
    ),
    "llama": (
        LlamaModel,
        LlamaConfig(**SHAPE, num_key_value_heads=2),
        {"embed_tokens.": 1 / 16, "layers.0.": 1 / 8, "layers.1.": 1 / 4, "layers.2.": LAST, "norm.": FULL},
    ),
    "gpt2": (
        GPT2Model,
        GPT2Config(vocab_size=20, n_embd=16, n_layer=3, n_head=2),
        {"wte.": 1 / 16, "wpe.": 1 / 16, "h.0.": 1 / 8, "h.1.": 1 / 4, "h.2.": LAST, "ln_f.": FULL},
    ),
}  # fmt: skip


def rates(optimizer: Optimizer, module: nn.Module) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay by parameter; every one is in exactly one group."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = (group["lr"], group["weight_decay"])
    assert found.keys() == {name for name, p in module.named_parameters() if p.requires_grad}
    return found


@pytest.mark.parametrize("name", BACKBONES)
def test_layers_have_their_share_of_the_learning_rate(name: str) -> None:
    cls, config, shares = BACKBONES[name]
    backbone = cls(config)
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    model = ColBERT(backbone, Head([LayerShape(16, 8, bias=True)]))
    optimizer = make_optimizer(optimizer_factory(ADAMW), model, model, HEAD, DECAY)
    parameters = dict(model.named_parameters())
    used = set()
    for key, (lr, weight_decay) in rates(optimizer, model).items():
        assert weight_decay == (0.01 if parameters[key].ndim >= 2 else 0.0), key
        if key.startswith("head."):
            assert lr == HEAD
            continue
        (start,) = [start for start in shares if key.startswith(f"backbone.{start}")]
        used.add(start)
        assert lr == pytest.approx(LR * shares[start]), key
    assert used == set(shares)


def test_without_settings_two_groups_differ_in_weight_decay_alone() -> None:
    model = ColBERT(BertModel(BertConfig(**SHAPE), add_pooling_layer=False), Head([LayerShape(16, 8)]))
    optimizer = make_optimizer(optimizer_factory(ADAMW), model, model)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (LR, 0.01),
        (LR, 0.0),
    ]


def test_the_head_alone_has_its_own_rate_and_a_temperature_has_the_optimizers() -> None:
    model = ColBERT(
        BertModel(BertConfig(**SHAPE), add_pooling_layer=False), Head([LayerShape(16, 8, bias=True)])
    )
    owner = nn.Module()
    owner.model, owner.temperature = model, nn.Parameter(torch.tensor(0.0))
    found = rates(make_optimizer(optimizer_factory(ADAMW), owner, model, HEAD), owner)
    assert {key for key, (lr, _) in found.items() if lr == HEAD} == {
        "model.head.0.linear.weight",
        "model.head.0.linear.bias",
    }
    assert found["model.head.0.linear.bias"] == (HEAD, 0.0)
    assert found["temperature"] == (LR, 0.0)


def test_the_schedule_scales_every_group() -> None:
    model = ColBERT(
        BertModel(BertConfig(**SHAPE), add_pooling_layer=False), Head([LayerShape(16, 8, bias=True)])
    )
    optimizer = make_optimizer(optimizer_factory(ADAMW), model, model, HEAD, DECAY)
    first = [group["lr"] for group in optimizer.param_groups]
    scheduler = make_scheduler(optimizer, "linear", 0, 10)
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([lr / 2 for lr in first])


def test_a_rate_for_a_head_that_is_not_there(student_settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"phases\.distill\.head_lr=0\.1: has no effect"):
        prepared(student_settings | {"dim": None}, head_lr=0.1)


@pytest.mark.parametrize("role", ["query", "document"])
def test_a_phase_longer_than_the_backbone(student_settings: dict[str, Any], role: str) -> None:
    with pytest.raises(
        InputError, match=rf"^phases\.distill\.{role}_length=65 is beyond the 64 positions of"
    ):
        prepared(student_settings, **{f"{role}_length": 65})


def test_layers_that_are_shared_have_no_depth() -> None:
    config = AlbertConfig(**SHAPE, embedding_size=8)
    model = ColBERT(AlbertModel(config, add_pooling_layer=False), Head([LayerShape(16, 8, bias=True)]))
    with pytest.raises(InputError, match=r"layer_decay: AlbertModel has no list of its 3 layers"):
        make_optimizer(optimizer_factory(ADAMW), model, model, None, DECAY)


def prepared(student_settings: dict[str, Any], **changes: Any) -> None:
    phase, student = prepared_phase(student_settings, **changes)
    check_network(phase, student.model)


def prepared_phase(student_settings: dict[str, Any], **changes: Any) -> tuple[PreparedPhase, Student]:
    student = new_student(**student_settings)
    phase = prepare_phase(
        "distill",
        phase_settings(**changes),
        [make_lists()],
        student.tokenizer,
        seed=0,
        allow_flat_teacher=False,
        allow_prompt_mismatch=False,
    )
    return phase, student


@pytest.mark.parametrize(
    "settings",
    [
        {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9, "betas": None, "fused": None},
        {"_target_": "torch.optim.Adafactor", "lr": 1e-2, "betas": None, "fused": None},
    ],
)
def test_other_optimizers_train(
    settings: dict[str, Any], student_settings: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    before = new_student(**student_settings).model.state_dict()
    after, _ = train(student_settings, tmp_path / "a", steps=2, optimizer=settings)
    assert not torch.equal(before["head.0.linear.weight"], after["head.0.linear.weight"])


def test_a_resumed_phase_keeps_the_groups(student_settings: dict[str, Any], tmp_path: Path) -> None:
    changes: dict[str, Any] = {"head_lr": HEAD, "layer_decay": DECAY, "steps": 4, "accumulation": 1}
    whole, _ = train(student_settings, tmp_path / "whole", **changes)
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "cut", stop_at=3, **changes)
    newest = resume_point(tmp_path / "cut" / "checkpoints")
    assert newest is not None
    saved = torch.load(newest.path, weights_only=True)["optimizer_states"][0]["param_groups"]
    assert {group["initial_lr"] for group in saved} == {HEAD, LR * DECAY, LR * DECAY**2, LR * DECAY**3}
    resumed, _ = train(student_settings, tmp_path / "cut", **changes)
    assert equal(whole, resumed)


def test_float16_on_a_processor_is_refused() -> None:
    with pytest.raises(InputError, match=r"trainer\.precision=16-mixed: needs a GPU"):
        pick_precision("16-mixed", "cpu")


@pytest.mark.parametrize("fused", [True, False])
def test_scaled_gradients_are_clipped_at_their_own_size(
    fused: bool, student_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the loss scaling of float16, a fused optimizer sees what another one does."""
    norms: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def watched(parameters: Any, limit: float) -> torch.Tensor:
        norms.append(float(clip(parameters, limit)))
        return torch.tensor(norms[-1])

    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", watched)
    settings = student_settings | {"dropout": 0.0}
    values = {"_target_": "torch.optim.AdamW", "lr": 1e-3, "fused": fused}
    exact, _ = train(settings, tmp_path / "32", steps=2, optimizer=values)
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))
    lowered, _ = train(
        settings,
        tmp_path / "16",
        steps=2,
        optimizer=values,
        trainer={**TRAINER, "precision": None, "plugins": [plugin]},
    )
    assert norms[2:] == pytest.approx(norms[:2], rel=0.05)
    for name in exact:
        torch.testing.assert_close(exact[name], lowered[name], atol=5e-3, rtol=0)


def test_the_module_passes_the_rates_on(student_settings: dict[str, Any]) -> None:
    student = new_student(**student_settings)
    from colbert_lab.training.checks import objective_from

    module = StudentModule(
        student.model,
        objective_from(phase_settings().objective),
        Optimization(optimizer_factory(ADAMW), "constant", 0, 1, HEAD, DECAY),
        log_every=1,
        token_budget=64,
        recompute=False,
    )
    found = rates(module.configure_optimizers()["optimizer"], module)
    assert found["model.head.0.linear.weight"][0] == HEAD
    assert found["model.backbone.encoder.layer.0.output.dense.weight"][0] == LR * DECAY**2


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
