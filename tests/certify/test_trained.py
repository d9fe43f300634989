"""What is certified of a phase is what it trains: adapters are in place, and what is frozen has no gradient."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from colbert_lab.certify import as_trained, checks
from colbert_lab.certify.as_trained import FULL, stages, train_step, training
from colbert_lab.certify.certifier import Certifier, Limits
from colbert_lab.certify.micro_batch import shared, two_processes
from colbert_lab.model.student import Student
from colbert_lab.settings.groups import LoraSettings
from colbert_lab.training.prepare import PreparedPhase
from tests.certify.support import LIMITS, beyond, micro_of, phase_of, student_of

LORA = LoraSettings(rank=4, alpha=8.0, dropout=0.1, targets=["query", "value"])
WAYS: dict[str, tuple[LoraSettings | None, dict[str, Any], bool]] = {
    "adapters": (LORA, {}, False),
    "adapters, a layer of them frozen": (LORA, {"freeze": ["layers.0"]}, False),
    "frozen": (None, {"freeze": ["embeddings", "layers.0"]}, False),
    "head frozen": (None, {"freeze": ["head"]}, False),
    "all, after the head alone": (None, {"head_only_steps": 2}, False),
    "the head alone": (None, {"head_only_steps": 2}, True),
    "the head alone, beside adapters": (LORA, {"head_only_steps": 2}, True),
}


def prepared(student: Student, lora: LoraSettings | None, **changes: Any) -> PreparedPhase:
    return replace(phase_of(student, **changes), lora=lora)


def wanted(names: set[str], lora: LoraSettings | None, freeze: list[str], head_alone: bool) -> set[str]:
    """Names of the weights that are trained, among those of a network."""
    kept = {name for name in names if "lora_" in name or name.startswith("head.") or lora is None}
    if head_alone:
        return {name for name in kept if name.startswith("head.")}
    starts = {"layers.0": "backbone.encoder.layer.0.", "embeddings": "backbone.embeddings.", "head": "head."}
    return {name for name in kept if not name.startswith(tuple(starts[part] for part in freeze))}


@pytest.mark.parametrize("name", WAYS)
def test_what_is_trained_is_certified(name: str, student_settings: dict[str, Any]) -> None:
    lora, changes, head_alone = WAYS[name]
    student = student_of(student_settings | {"dropout": 0.2})
    before = copy.deepcopy(student.model.state_dict())
    phase = prepared(student, lora, **changes)
    with training(phase, student.model, head_alone):
        micro = micro_of(student, phase, recompute=True)
        found = {
            each: list(checks.ALONE[each](micro))
            for each in ("chunking", "recomputation", "maxsim", "attention")
        }
        step = micro.step(FULL)
        names = {each for each, _ in student.model.named_parameters()}
    assert step.gradients.keys() == micro.truth.gradients.keys()
    assert step.gradients.keys() == wanted(names, lora, changes.get("freeze", []), head_alone)
    assert all(bool(each.any()) for each in step.gradients.values())
    for each in found.values():
        assert each
        assert not beyond(each)
    after = student.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[each], after[each]) for each in before)
    assert all(each.requires_grad for each in student.model.parameters())


def test_a_gradient_of_a_frozen_weight_is_found(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    phase = prepared(student, None, freeze=["embeddings"])
    with training(phase, student.model):
        micro = micro_of(student, phase)
        student.model.backbone.get_input_embeddings().weight.requires_grad_(True)
        found = beyond(list(checks.chunking(micro)))
    assert ("chunking", "gradient") in found


def test_an_adapter_that_is_left_out_is_found(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    phase = prepared(student, LORA)
    with training(phase, student.model):
        micro = micro_of(student, phase)
        for name, value in student.model.named_parameters():
            if "layer.1" in name and ".lora_B." in name:
                value.data.zero_()
        assert ("chunking", "embeddings") in beyond(list(checks.chunking(micro)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapters, a layer of them frozen", "the head alone"])
def test_two_processes_train_it_too(name: str, student_settings: dict[str, Any]) -> None:
    lora, changes, head_alone = WAYS[name]
    student = student_of(student_settings | {"dropout": 0.0})
    phase = prepared(student, lora, **changes)
    task = shared(phase, 0, recompute=True, head_alone=head_alone)
    assert task is not None
    with training(phase, student.model, head_alone):
        one = train_step(phase, student.model, phase.batches[0], FULL, recompute=False)
    with two_processes(student, "eager", [task]) as read:
        two = read(0)
    assert two.gradients.keys() == one.gradients.keys()
    assert not beyond(list(checks.gathering(one, two)))


def test_both_stages_of_a_phase_are_checked_and_the_notes_say_so(
    student_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    student = student_of(student_settings)
    phase = prepared(student, LORA, head_only_steps=2)
    assert stages(phase) == (False, True)
    assert stages(phase_of(student)) == (False,)
    seen: list[set[str]] = []
    original = as_trained.train_step

    def step(*arguments: Any, **named: Any) -> as_trained.Step:
        made = original(*arguments, **named)
        seen.append({name.partition(".")[0] for name in made.gradients})
        return made

    monkeypatch.setattr(as_trained, "train_step", step)
    tolerances = {f"float32.{key}": value for key, value in LIMITS.items()}
    certifier = Certifier(Limits(["chunking"], 1, 4, 4, tolerances), student, FULL, torch.device("cpu"))
    findings = certifier.certify([phase])
    assert all(each.passed for each in findings)
    assert seen == [{"backbone", "head"}, {"head"}]
    notes = "\n".join(certifier.notes)
    trained = sum(p.numel() for p in student.model.head.parameters()) + 4 * 4 * 2 * 32
    assert f"distill: {trained:,} of " in notes
    assert "the second matrices of its adapters" in notes
    assert "its first steps, of the head alone, were checked too" in notes


def damaged(graph: torch.fx.GraphModule, inputs: Any) -> Any:
    """A backend of torch.compile whose numbers are a little too large."""
    return lambda *given: tuple(
        each * 1.01 if isinstance(each, torch.Tensor) and each.is_floating_point() else each
        for each in graph(*given)
    )


@pytest.mark.parametrize(("backend", "passes"), [("eager", True), ("damaged", False)])
def test_a_compiled_student_is_certified_as_it_is_trained(
    backend: str, passes: bool, student_settings: dict[str, Any]
) -> None:
    if backend not in torch._dynamo.list_backends(exclude_tags=()):
        torch._dynamo.register_backend(damaged, name="damaged")
    student = student_of(student_settings)
    phase = replace(prepared(student, None), compile=backend)
    tolerances = {f"float32.{key}": value for key, value in LIMITS.items()}
    certifier = Certifier(Limits(["chunking"], 1, 4, 4, tolerances), student, FULL, torch.device("cpu"))
    found = {each.what: each.passed for each in certifier.certify([phase])}
    assert found["embeddings"]  # those of an evaluation, which compiles nothing
    assert (found["loss"] and found["gradient"]) == passes
