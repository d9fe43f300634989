"""Precisions in which a network computes; what is copied to and from a GPU is in the tests of those who copy."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from colbert_lab.base.types import Tokens
from colbert_lab.model import devices
from colbert_lab.model.batches import Embed, compiled, embed_chunks
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.devices import autocast, lowered
from colbert_lab.model.encode import encode
from tests.toy import new_student

TEXTS = ["the wing in a slipstream", "lift", "heat conduction in composite slabs is solved here", "flow"]


def student_of(settings: dict[str, Any], **changes: Any) -> Any:
    torch.manual_seed(0)
    return new_student(**(settings | {"dropout": 0.0} | changes))


def chunks_of(student: Any) -> list[Tokens]:
    rows = student.tokenizer.ids(TEXTS, "document")
    return [student.tokenizer.pad(rows[:2], "document"), student.tokenizer.pad(rows[2:], "document")]


def gradients(
    model: ColBERT, compute: Embed, chunks: list[Tokens], recompute: bool = False
) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    found = embed_chunks(compute, chunks, recompute)
    weight = torch.linspace(-1, 1, model.dim)
    torch.stack([(each.emb_NLD * weight)[each.mask_NL].sum() for each in found]).sum().backward()
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def test_only_mixed_precisions_are_autocast() -> None:
    on = {
        name: autocast(torch.device("cpu"), name)._enabled
        for name in ("32-true", "bf16-true", "bf16-mixed", "16-mixed")
    }
    assert on == {"32-true": False, "bf16-true": False, "bf16-mixed": True, "16-mixed": True}
    model = torch.nn.Linear(2, 2)
    assert lowered(model, "32-true") is model
    assert lowered(model, "bf16-mixed") is model


@pytest.mark.parametrize("attention", ["matmul", "eager", "sdpa"])
@pytest.mark.parametrize("output", ["multi", "single"])
def test_it_computes_what_a_network_in_bf16_does(
    output: str, attention: str, student_settings: dict[str, Any]
) -> None:
    student = student_of(student_settings, output=output, attention=attention)
    other = copy.deepcopy(student.model).to(torch.bfloat16)
    for chunk in chunks_of(student):
        mine = gradients(student.model, lowered(student.model, "bf16-true", once=True), [chunk])
        each = gradients(student.model, lowered(student.model, "bf16-true"), [chunk])
        assert all(torch.equal(gradient, each[name]) for name, gradient in mine.items())
        theirs = gradients(other, other, [chunk])
        with torch.no_grad():
            embedded = lowered(student.model, "bf16-true", once=True)(chunk)
            assert embedded.emb_NLD.dtype == torch.float32
            assert torch.equal(embedded.emb_NLD, other(chunk).emb_NLD)
        assert mine.keys() == theirs.keys()
        for name, gradient in mine.items():
            assert gradient.dtype == torch.float32
            assert torch.equal(gradient, theirs[name].float()), name


@pytest.mark.parametrize("once", [False, True])
def test_gradients_of_chunks_add_up_in_float32(once: bool, student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    compute, chunks = lowered(student.model, "bf16-true", once), chunks_of(student)
    alone = [gradients(student.model, compute, [chunk]) for chunk in chunks]
    together = gradients(student.model, compute, chunks)
    again = gradients(student.model, compute, chunks, recompute=True)
    for name, gradient in together.items():
        assert torch.equal(gradient, alone[0][name] + alone[1][name])
        assert torch.equal(gradient, again[name])
    lost = [each for each in together.values() if not torch.equal(each, each.bfloat16().float())]
    assert lost, "bf16 would have held these sums"


def test_texts_are_encoded_as_they_are_trained(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    found = encode(student, TEXTS[:1], "document", token_budget=4096, precision="bf16-true")
    rows = student.tokenizer.ids(TEXTS[:1], "document")
    tokens = student.tokenizer.pad(rows, "document")
    with torch.no_grad():
        expected = lowered(student.model.eval(), "bf16-true")(tokens)
    assert torch.equal(found.emb_TD, expected.emb_NLD[expected.mask_NL])
    full = encode(student, TEXTS[:1], "document", token_budget=4096)
    assert not torch.equal(found.emb_TD, full.emb_TD)
    torch.testing.assert_close(found.emb_TD, full.emb_TD, atol=0.05, rtol=0)


def test_it_can_be_compiled(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    compute = lowered(student.model, "bf16-true")
    plain = gradients(student.model, compute, chunks_of(student))
    fast = gradients(student.model, compiled(compute, "aot_eager"), chunks_of(student))
    for name, gradient in plain.items():
        torch.testing.assert_close(fast[name], gradient, atol=2e-2, rtol=2e-2)


def test_weights_that_are_rounded_once_are_held_once(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    compute = lowered(student.model, "bf16-true", once=True)
    seen: list[list[int]] = []

    def note(module: torch.nn.Module, *_: Any) -> None:
        seen.append([each.data_ptr() for each in module.parameters()])

    handle = student.model.register_forward_pre_hook(note)
    for chunk in chunks_of(student):
        compute(chunk)
    handle.remove()
    assert seen[0] == seen[1]
    assert not set(seen[0]) & {each.data_ptr() for each in student.model.parameters()}


def test_auto_is_what_the_device_is_faster_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Teachers and ``evaluation.precision`` may ask for it themselves."""
    for fast in (False, True):
        monkeypatch.setattr(devices, "_cpu_is_faster_in_bf16", lambda fast=fast: fast)
        assert autocast(torch.device("cpu"), "auto")._enabled == fast
    assert not autocast(torch.device("mps"), "auto")._enabled


def test_frozen_weights_get_no_gradient(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    student.model.backbone.requires_grad_(False)
    found = gradients(student.model, lowered(student.model, "bf16-true", once=True), chunks_of(student))
    assert {name.partition(".")[0] for name in found} == {"head"}
