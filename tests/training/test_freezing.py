"""What is frozen keeps its bits, the rest trains as it would, and what cannot be frozen is said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AlbertConfig, AlbertModel

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ColBERT, Head, LayerShape
from colbert_lab.training.callbacks import Points
from colbert_lab.training.cost import EncoderFlops
from colbert_lab.training.freezing import HeadFirst, frozen, parameters_of
from tests.toy import new_student
from tests.training.test_cost import counted
from tests.training.test_optim import BACKBONES, SHAPE, prepared
from tests.training.test_phase import Killed, curves, equal, train

CONSTANT = {"name": "constant", "warmup": 0}


def of(name: str) -> ColBERT:
    cls, config, _ = BACKBONES[name]
    backbone = cls(config)
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    return ColBERT(backbone, Head([LayerShape(16, 8, bias=True)]))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_parts_are_those_of_the_backbone(backbone: str) -> None:
    model = of(backbone)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    starts = [start.rstrip(".") for start in BACKBONES[backbone][2]]
    layers = [start for start in starts if start[-1].isdigit()]
    wanted = {
        "embeddings": starts[: starts.index(layers[0])],
        "layers.1": layers[1:2],
        "layers.0-1": layers[:2],
    }
    for name, inside in wanted.items():
        found = {names[id(parameter)] for parameter in parameters_of(model, name)}
        assert found == {
            n for n in names.values() if n.startswith(tuple(f"backbone.{each}." for each in inside))
        }
        assert found


@pytest.mark.parametrize("freeze", [["embeddings", "layers.0"], ["head"], ["backbone"]])
def test_frozen_bits_stay_and_all_else_is_trained(
    freeze: list[str], student_settings: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = new_student(**student_settings).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    held = {names[id(p)] for part in freeze for p in parameters_of(model, part)}
    after, outcome = train(
        student_settings, tmp_path, steps=2, freeze=freeze, lr_schedule=CONSTANT, log_every=1
    )
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == names_of(model) - held
    _, whole = train(student_settings, tmp_path / "whole", steps=2)
    assert outcome.flops is not None
    assert whole.flops is not None
    assert outcome.flops < whole.flops


def names_of(model: ColBERT) -> set[str]:
    return {name for name, _ in model.named_parameters()}


def test_what_is_left_has_the_same_gradients(student_settings: dict[str, Any]) -> None:
    model = new_student(**student_settings | {"dropout": 0.0}).model
    gradients = []
    for freeze in ([], ["embeddings", "layers.0", "head"]):
        model.zero_grad()
        with frozen(model, freeze):
            torch.manual_seed(0)
            counted(model, 7)
            gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert 0 < len(gradients[1]) < len(gradients[0])
    assert equal(gradients[1], gradients[0])
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("freeze", [["embeddings"], ["embeddings", "layers.0"], ["backbone"], ["head"]])
def test_operations_are_those_that_torch_counts(freeze: list[str], student_settings: dict[str, Any]) -> None:
    """But for gradients of what comes into the lowest layer that is trained, which are a part of one layer's."""
    model = new_student(**student_settings).model
    whole = counted(model, 30)
    with frozen(model, freeze):
        ours, theirs = EncoderFlops.of(model).training([30, 30]), counted(model, 30)
    assert theirs < whole
    assert theirs <= ours <= whole
    hidden, tokens = model.backbone.config.hidden_size, 60
    above = {"backbone": hidden * model.dim, "head": 0}.get(freeze[0], 3 * hidden**2)
    assert ours - theirs == 2 * above * tokens


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": ["layers.7"]}, r"freeze=layers\.7: the student has no such part; there are embeddings, layers\.0"),
        ({"freeze": ["pooler"]}, r"freeze=pooler: the student has no such part; .*, backbone, head$"),
        ({"freeze": ["backbone", "head"]}, r"freeze=\[backbone, head\]: leaves nothing of the student to train"),
        ({"freeze": ["head"], "head_lr": 0.1}, r"head_lr=0\.1: has no effect"),
        ({"freeze": ["backbone"], "layer_decay": 0.9}, r"layer_decay=0\.9: has no effect, the whole backbone"),
        ({"head_only_steps": 6}, "head_only_steps=6: must be below the 6 steps of the phase"),
        ({"head_only_steps": 2, "freeze": ["head"]}, "head_only_steps=2: the student has no head to train"),
        ({"head_only_steps": 2, "freeze": ["backbone"]}, "head_only_steps=2: has no effect, freeze has the whole"),
    ],
)  # fmt: skip
def test_what_cannot_be_frozen(
    changes: dict[str, Any], message: str, student_settings: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=rf"^phases\.distill\.{message}"):
        prepared(student_settings, **changes)


def test_layers_that_are_shared_cannot_be_told_apart() -> None:
    model = ColBERT(
        AlbertModel(AlbertConfig(**SHAPE, embedding_size=8), add_pooling_layer=False),
        Head([LayerShape(16, 8, bias=True)]),
    )
    with (
        pytest.raises(
            InputError, match=r"^freeze: AlbertModel has no list of its 3 layers; name backbone or head"
        ),
        frozen(model, ["layers.0"]),
    ):
        pass
    with frozen(model, ["backbone"]):
        ours = EncoderFlops.of(model)
    assert (ours.trained, ours.reached_layers) == (16 * 8, 0)


def test_the_head_is_first_alone_and_a_killed_phase_goes_on(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    before = new_student(**student_settings).model.state_dict()
    changes: dict[str, Any] = {"head_only_steps": 3, "lr_schedule": CONSTANT, "checkpoint_every": 1}
    whole, outcome = train(student_settings, tmp_path / "whole", **changes)
    with pytest.raises(Killed):  # what is at the end of the steps of the head alone
        train(student_settings, tmp_path / "cut", stop_at=4, **changes)
    saved = torch.load(tmp_path / "cut" / "checkpoints" / "step=3.ckpt", weights_only=True)["state_dict"]
    now = {name.removeprefix("model."): value for name, value in saved.items() if name.startswith("model.")}
    changed = {name for name, value in before.items() if not torch.equal(value, now[name])}
    assert changed == {name for name in before if name.startswith("head.")}
    (tmp_path / "cut" / "checkpoints" / "step=3.ckpt").unlink()  # goes on from a step of the head alone
    resumed, again = train(student_settings, tmp_path / "cut", **changes)
    assert equal(whole, resumed)
    assert not torch.equal(
        before["backbone.embeddings.word_embeddings.weight"],
        whole["backbone.embeddings.word_embeddings.weight"],
    )
    assert outcome.flops == again.flops
    assert curves(tmp_path / "cut") == curves(tmp_path / "whole")
    _, full = train(student_settings, tmp_path / "full", lr_schedule=CONSTANT)
    assert full.flops is not None
    assert outcome.flops is not None
    assert outcome.flops < 0.85 * full.flops


def test_the_backbone_trains_again_after_an_error() -> None:
    callback, parameter = HeadFirst(2, Points()), torch.nn.Parameter(torch.ones(1))
    callback._later = [parameter]
    parameter.requires_grad_(False)
    callback.on_exception(SimpleNamespace(), SimpleNamespace(), RuntimeError())
    assert parameter.requires_grad
