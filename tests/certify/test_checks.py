"""Each check passes as things are, and fails when the way it certifies is broken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from colbert_lab.base.types import Embeddings, Role, Tokens
from colbert_lab.certify import as_trained
from colbert_lab.certify.checks import (
    ALONE,
    Difference,
    gradient_difference,
    largest,
    largest_difference,
    loss_difference,
    relative,
    same_bits,
    swapped,
    token_cosines,
    worst,
)
from colbert_lab.model import backends, batches, blocks
from colbert_lab.model.backends import maxsim_blocked
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.maxsim import maxsim_lists
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.training import module
from colbert_lab.training.data import Batch, MicroBatches
from tests.certify.support import beyond, micro_of, phase_of, student_of
from tests.training.support import make_lists

EXACT = [name for name in ALONE if name != "precision"]


def made(settings: dict[str, Any], name: str, precision: str = "32-true", **changes: Any) -> list[Difference]:
    """What one check finds of a small micro-batch."""
    student = student_of(settings)
    return list(ALONE[name](micro_of(student, phase_of(student, **changes), precision=precision)))


@pytest.mark.parametrize(
    ("student", "changes"),
    [
        ({}, {"distillation": 1.0, "contrastive": 0.0}),
        ({"dropout": 0.2}, {"contrastive_settings": {"learnable": True, "false_negative_ratio": 0.5}}),
        ({"expansion": "unattended", "query_prompt": "a red "}, {"distillation": 0.0, "contrastive": 1.0}),
        ({"output": "single", "pooling": "mean"}, {"contrastive_settings": {"batch_negatives": False}}),
        ({"score": "mean_maxsim"}, {}),
        ({"expansion": "unattended", "expansion_min": 8}, {"distillation": 0.5, "contrastive": 0.5}),
    ],
)
def test_nothing_is_changed(
    student: dict[str, Any], changes: dict[str, Any], student_settings: dict[str, Any]
) -> None:
    made_of = student_of(student_settings | student)
    micro = micro_of(made_of, phase_of(made_of, **changes))
    assert len(micro.batch.documents) > 1
    found = [each for name in EXACT for each in ALONE[name](micro)]
    assert not beyond(found)
    assert ("dropout: loss" in {each.what for each in found}) == micro.dropout
    assert micro.dropout == (
        student.get("dropout") != 0 and made_of.model.backbone.config.hidden_dropout_prob > 0
    )


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bf16_is_within_the_tolerances_of_the_config(
    precision: str, student_settings: dict[str, Any]
) -> None:
    from omegaconf import OmegaConf

    from colbert_lab.tasks.composing import CONF

    tolerance = OmegaConf.load(CONF / "certify" / "default.yaml").tolerance
    student = student_of(student_settings)
    with torch.no_grad():  # or the tokens are so alike that rounding decides which is a query token's best
        for weight in student.model.parameters():
            weight.mul_(10 if weight.ndim > 1 else 1)
    found = list(ALONE["precision"](micro_of(student, phase_of(student), precision=precision)))
    assert len(found) == 7
    for each in found:
        assert each.tolerance is not None
        assert 0 <= each.value <= OmegaConf.select(tolerance, each.tolerance), each
    assert all(each.value > 0 for each in found if each.what == "gradient"), "bf16 is not float32"


Fault = Callable[[pytest.MonkeyPatch], None]


def padding_scores(patch: pytest.MonkeyPatch) -> None:
    original = StudentTokenizer.pad

    def pad(self: StudentTokenizer, rows: Sequence[Sequence[int]], role: Role) -> Tokens:
        tokens = original(self, rows, role)
        if role == "query" or len(rows) == 1:
            return tokens
        return replace(tokens, score_mask_NL=torch.ones_like(tokens.score_mask_NL))

    patch.setattr(StudentTokenizer, "pad", pad)


def padding_is_attended(patch: pytest.MonkeyPatch) -> None:
    original = StudentTokenizer.pad

    def pad(self: StudentTokenizer, rows: Sequence[Sequence[int]], role: Role) -> Tokens:
        tokens = original(self, rows, role)
        return replace(tokens, attention_mask_NL=torch.ones_like(tokens.attention_mask_NL))

    patch.setattr(StudentTokenizer, "pad", pad)


def changed_batch(patch: pytest.MonkeyPatch, change: Callable[[Batch], Batch]) -> None:
    original = MicroBatches.__getitem__
    patch.setattr(MicroBatches, "__getitem__", lambda self, k: change(original(self, k)))


def chunks_are_in_another_order(patch: pytest.MonkeyPatch) -> None:
    changed_batch(patch, lambda batch: replace(batch, documents=batch.documents[::-1]))


def rows_are_shifted(patch: pytest.MonkeyPatch) -> None:
    changed_batch(patch, lambda batch: replace(batch, rows_BK=batch.rows_BK.roll(1, dims=1)))


def doubled(scores: Tensor) -> Tensor:
    return 2 * scores - scores.detach()


class Doubled(backends._AllPairs):
    """The gradients of scoring a whole batch, twice as large."""

    @staticmethod
    def backward(ctx: Any, gradient_BN: Tensor) -> tuple[Tensor | None, ...]:
        return super(Doubled, Doubled).backward(ctx, 2 * gradient_BN)


def gradients_are_doubled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backends, "_AllPairs", Doubled)
    for place in (as_trained, module):
        patch.setattr(place, "maxsim_lists", lambda q, d: doubled(maxsim_lists(q, d)))


def masks_are_ignored(patch: pytest.MonkeyPatch) -> None:
    places = blocks.scoring_places
    patch.setattr(blocks, "scoring_places", lambda mask, width: places(torch.ones_like(mask), width))
    patch.setattr(
        as_trained,
        "maxsim_lists",
        lambda q, d: maxsim_lists(q, replace(d, mask_NL=torch.ones_like(d.mask_NL))),
    )


def dropout_is_drawn_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(batches, "checkpoint", partial(checkpoint, preserve_rng_state=False))


def a_mask_is_lost(patch: pytest.MonkeyPatch) -> None:
    original = ALL_ATTENTION_FUNCTIONS["matmul"]

    def unmasked(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **settings: Any) -> Any:
        return original(module, query, key, value, None, **settings)

    patch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "matmul", unmasked)


def one_attention_is_wrong(patch: pytest.MonkeyPatch) -> None:
    original = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def larger(module: Any, query: Tensor, key: Tensor, value: Tensor, *others: Any, **settings: Any) -> Any:
        return original(module, query, key, 1.01 * value, *others, **settings)

    patch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "sdpa", larger)


def the_loss_is_scaled(patch: pytest.MonkeyPatch) -> None:
    original = module.StudentModule.training_step
    patch.setattr(module.StudentModule, "training_step", lambda self, *a: original(self, *a) * 1.001)


FAULTS: list[tuple[Fault, str, set[tuple[str, str]]]] = [
    (padding_scores, "chunking", {("chunking", "embeddings")}),
    (padding_is_attended, "chunking", {("chunking", "embeddings"), ("chunking", "gradient")}),
    (chunks_are_in_another_order, "chunking", {("chunking", "embeddings"), ("chunking", "scores")}),
    (rows_are_shifted, "chunking", {("chunking", "scores"), ("chunking", "loss")}),
    (the_loss_is_scaled, "chunking", {("chunking", "loss"), ("chunking", "gradient")}),
    (gradients_are_doubled, "chunking", {("chunking", "gradient")}),
    (
        gradients_are_doubled,
        "maxsim",
        {
            ("maxsim", "lists: gradient"),
            ("maxsim", "batch: gradient"),
            ("maxsim", "batch in blocks: gradient"),
        },
    ),
    (
        masks_are_ignored,
        "maxsim",
        {("maxsim", "lists: scores"), ("maxsim", "batch: scores"), ("maxsim", "batch in blocks: scores")},
    ),
    (dropout_is_drawn_anew, "recomputation", {("recomputation", "dropout: gradient: other bits")}),
    (
        a_mask_is_lost,
        "attention",
        {("attention", "matmul: embeddings"), ("attention", "matmul: gradient")},
    ),
    (
        one_attention_is_wrong,
        "attention",
        {("attention", "sdpa: embeddings"), ("attention", "sdpa: gradient")},
    ),
]


@pytest.mark.parametrize(
    ("fault", "name", "wanted"), FAULTS, ids=[f"{fault.__name__}-{name}" for fault, name, _ in FAULTS]
)
def test_a_fault_is_found(
    fault: Fault,
    name: str,
    wanted: set[tuple[str, str]],
    student_settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault(monkeypatch)
    assert wanted <= beyond(made(student_settings | {"dropout": 0.2}, name))


@pytest.mark.parametrize(("factor", "wrong"), [(1.0, set()), (1.01, {"batch: scores", "batch: gradient"})])
def test_maxsim_of_the_config_is_what_is_certified(
    factor: float, wrong: set[str], student_settings: dict[str, Any]
) -> None:
    student = student_of(student_settings)

    def kernels(queries: Embeddings, documents: Sequence[Embeddings]) -> Tensor:
        return factor * maxsim_blocked(queries, documents)

    phase = phase_of(student)
    phase = replace(phase, scoring=replace(phase.scoring, all_pairs=kernels))
    found = list(ALONE["maxsim"](micro_of(student, phase)))
    assert {what for _, what in beyond(found)} == wrong
    # The blocks are of ours alone.
    assert {each.what.partition(":")[0] for each in found} == {"lists", "batch"}


def test_what_does_not_restore_random_numbers_is_fine_without_dropout(
    student_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dropout_is_drawn_anew(monkeypatch)
    assert not beyond(made(student_settings | {"dropout": 0.0}, "recomputation"))


def test_a_precision_that_loses_too_much_is_found(
    student_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ColBERT.forward

    def coarse(self: ColBERT, tokens: Tokens) -> Embeddings:
        found = original(self, tokens)
        if not torch.is_autocast_enabled("cpu"):
            return found
        return replace(found, emb_NLD=found.emb_NLD + 0.1 * torch.roll(found.emb_NLD, 1, dims=-1))

    before = {each.what: each.value for each in made(student_settings, "precision", "bf16-mixed")}
    monkeypatch.setattr(ColBERT, "forward", coarse)
    for each in made(student_settings, "precision", "bf16-mixed"):
        assert each.value > before[each.what], each.what


def test_the_largest_difference_counts() -> None:
    nan = float("nan")
    found = [Difference("a", "x", value, None) for value in (1.0, 3.0, 2.0)]
    found += [Difference("a", "y", value, None) for value in (1.0, nan, 2.0)]
    assert [each.value for each in largest(found)] == pytest.approx([3.0, nan], nan_ok=True)


def test_a_phase_is_cut_and_has_several_chunks(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    phase = phase_of(student)
    assert len(phase.batches[0].documents) == 1
    cut = as_trained.cut_phase(phase, 2, 3)
    assert len(cut.batches[0].documents) > 1
    assert cut.batches[0].rows_BK.shape == (2, 3)
    assert phase.batches[0].rows_BK.shape == (4, 4), "the phase itself stays as it is"
    assert phase.settings.token_budget == 1000
    every = replace(phase, batches=MicroBatches(
        [make_lists(length=6), make_lists(length=4, seed=1)], student.tokenizer, batch_size=2, n_way=None,
        token_budget=100, seed=0, phase="x",
    ))  # fmt: skip
    assert as_trained.cut_phase(every, 2, 5).batches.n_way == 4
    assert as_trained.cut_phase(every, 2, 6).batches.n_way is None


def test_attention_is_put_back(student_settings: dict[str, Any]) -> None:
    model = student_of(student_settings).model
    with as_trained.attention(model, "eager") as there:
        assert there
        assert model.backbone.config._attn_implementation == "eager"
    with as_trained.attention(model, "nothing_of_that_name") as there:
        assert not there
    assert model.backbone.config._attn_implementation == "sdpa"


def test_float16_is_scaled_as_lightning_scales_it(
    student_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    student = student_of(student_settings)
    micro = micro_of(student, phase_of(student))
    full = micro.step("32-true")
    scales = []
    original = module.StudentModule.training_step

    class Overflowing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, loss: Tensor) -> Tensor:
            return loss.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            scales.append(float(gradient))
            return gradient * torch.inf if gradient > 2**14 else gradient

    def step(self: module.StudentModule, *arguments: Any) -> Tensor:
        loss: Tensor = Overflowing.apply(original(self, *arguments))  # type: ignore[no-untyped-call]
        return loss

    monkeypatch.setattr(module.StudentModule, "training_step", step)
    monkeypatch.setattr(
        as_trained, "autocast", lambda device, precision: torch.autocast("cpu", enabled=False)
    )
    scaled = micro.step("16-mixed")
    assert scales == [2.0**16, 2.0**15, 2.0**14]
    assert gradient_difference(scaled.gradients, full.gradients)[0] < 1e-5


def test_relative() -> None:
    assert relative(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0])) == pytest.approx(0.25)
    assert relative(torch.zeros(2), torch.zeros(2)) == 0
    assert relative(torch.ones(2), torch.zeros(2)) == math.inf
    assert relative(torch.ones(3), torch.ones(2)) == math.inf
    assert math.isnan(relative(torch.tensor([math.nan]), torch.ones(1)))


def test_losses_below_one_are_compared_in_nats() -> None:
    assert loss_difference(0.2, 0.1) == pytest.approx(0.1)
    assert loss_difference(11.0, 10.0) == pytest.approx(0.1)


def test_gradients() -> None:
    truth = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    assert gradient_difference(truth, truth) == pytest.approx((0, 0))
    doubled = {name: 2 * value for name, value in truth.items()}
    assert gradient_difference(doubled, truth) == pytest.approx((1, 0))
    # A parameter without a gradient has one of zero, on either side.
    assert gradient_difference({"a": truth["a"]}, truth) == pytest.approx((0.8, 0.4))
    assert gradient_difference(truth, {"b": truth["b"]}) == pytest.approx((0.75, 0.2))
    assert gradient_difference({}, {}) == (0, 0)
    assert gradient_difference(truth, {})[0] == math.inf


def test_bits() -> None:
    truth = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])}
    assert same_bits(truth, truth) == 0
    assert same_bits({"a": torch.tensor([1.0, 2.0000002]), "b": truth["b"]}, truth) == 0.25
    assert same_bits({"a": truth["a"]}, truth) == 1
    nothing = {"a": torch.tensor([math.nan, 2.0]), "b": truth["b"]}
    assert same_bits(nothing, nothing) == 0.25


def test_tokens() -> None:
    plain = [torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0]])]
    turned = [torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0]])]
    assert token_cosines(turned, plain) == pytest.approx((1, 1 / 3))
    assert largest_difference(turned, plain) == pytest.approx(math.sqrt(2))
    assert token_cosines(plain[:1], plain) == (math.inf, math.inf)
    assert largest_difference([plain[0][:1], plain[1]], plain) == math.inf


def test_swapped_pairs() -> None:
    truth = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    assert swapped(truth, truth) == 0
    assert swapped(-truth, truth) == 1
    assert swapped(torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]]), truth) == pytest.approx(1 / 6)
    # A new tie is a change; a tie of the truth has no order.
    assert swapped(torch.tensor([[3.0, 2.0, 2.0], [1.0, 2.0, 3.0]]), truth) == pytest.approx(1 / 6)
    assert swapped(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]])) == 0


def test_the_worst_of_something_unknown_is_unknown() -> None:
    assert worst([1.0, 2.0]) == 2
    assert math.isnan(worst([math.nan, 2.0]))
    assert math.isnan(worst([2.0, math.nan]))
