"""Documents pooled in training: evaluation's vectors, the plain formula in float64, chunks, processes, factor 1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings
from colbert_lab.certify import checks
from colbert_lab.certify.as_trained import FULL, train_step
from colbert_lab.certify.micro_batch import shared, two_processes
from colbert_lab.certify.reference import plain_loss
from colbert_lab.model.batches import embed_chunks
from colbert_lab.model.changing import trained_at
from colbert_lab.model.encode import encode
from colbert_lab.search.storage import pool
from colbert_lab.text.fingerprint import text_key
from colbert_lab.training.prepare import check_network
from colbert_lab.training.trainer import training_module
from tests.certify.support import beyond, micro_of, phase_of, student_of
from tests.model.test_token_pooling import plainly
from tests.training.objectives.support import phase_with
from tests.training.test_gradcache import both_objectives
from tests.training.test_matryoshka import DIMS, TERMS
from tests.training.test_phase import curves, equal, train

TWO = {"factor": 2, "protected": 1}


@pytest.mark.parametrize("pooling", [TWO, {"factor": 3, "protected": 0}])
def test_a_step_scores_the_vectors_that_evaluation_pools(
    pooling: dict[str, int], student_settings: dict[str, Any]
) -> None:
    student = student_of(student_settings)
    phase = phase_of(student, token_pooling=pooling)
    module = training_module(phase, student.model, recompute=False).eval()
    batch, examples = phase.batches[0], phase.batches.examples(0)
    with torch.no_grad():
        whole = embed_chunks(student.model, batch.documents, recompute=False)
    chunks = module.scoring.documents(whole)
    texts = {text_key(text): text for each in examples for text in each.documents}
    order = [texts[int(key)] for key in batch.keys_N]
    found = encode(replace(student, tokenizer=phase.tokenizer), order, "document", token_budget=1000)
    expected = pool(found, pooling["factor"], pooling["protected"])
    ours = torch.cat([chunk.emb_NLD[chunk.mask_NL] for chunk in chunks])
    assert torch.cat([chunk.mask_NL.sum(dim=1) for chunk in chunks]).equal(expected.lengths_N)
    assert len(ours) < len(found.emb_TD)
    torch.testing.assert_close(ours, expected.emb_TD, atol=2e-6, rtol=0)


def test_gradients_of_every_loss_are_those_of_the_plain_formula(student_settings: dict[str, Any]) -> None:
    """From what a head might give, at several dimensions: clusters of whole vectors, then their prefixes; the mean."""
    settings = student_settings | {"score": "mean_maxsim"}
    prepared = phase_with(TERMS, settings, token_pooling=TWO)
    batch, examples = prepared.batches[0], prepared.batches.examples(0)
    assert batch.teacher_BK is not None
    batch = replace(batch, teacher_BK=batch.teacher_BK.double())
    student = trained_at(student_of(settings), DIMS)
    module = training_module(prepared, student.model, recompute=False).double()
    generator = torch.Generator().manual_seed(2)

    def headed(mask_NL: Tensor) -> Embeddings:
        emb_NLD = torch.randn(*mask_NL.shape, 16, generator=generator, dtype=torch.float64)
        return Embeddings(emb_NLD.requires_grad_(), mask_NL)

    heads = [headed(each.score_mask_NL) for each in (batch.queries, *batch.documents)]
    queries, *chunks = [
        Embeddings(torch.nn.functional.normalize(e.emb_NLD, dim=-1), e.mask_NL) for e in heads
    ]
    by_dim = module.scored(queries, module.scoring.documents(chunks), batch)
    learned = {name: module.learned_by(name) for name in prepared.objective.terms}
    terms = prepared.objective.terms.items()
    ours = torch.stack(
        [term.weight * term.loss(each, learned[name]) for each in by_dim.values() for name, term in terms]
    ).sum() / len(DIMS)
    leaves = [each.emb_NLD for each in heads]
    found = torch.autograd.grad(ours, leaves, retain_graph=True)

    place = {int(key): row for row, key in enumerate(batch.keys_N)}
    rows = [(chunk, row) for chunk in chunks for row in range(len(chunk.mask_NL))]
    pooled = [plainly(chunk.emb_NLD[row][chunk.mask_NL[row]], 2, 1) for chunk, row in rows]
    named = [replace(each, query=str(n)) for n, each in enumerate(examples)]  # a query has several rows
    known = {
        str(n): {other.documents[0] for other in examples if other.query == each.query}
        for n, each in enumerate(examples)
    }

    def total(dim: int) -> Tensor:
        def tokens(query: str, text: str) -> tuple[Tensor, Tensor]:
            n = int(query)
            sides = (queries.emb_NLD[n][queries.mask_NL[n]], pooled[place[text_key(text)]])
            cut = [each[:, :dim] / each[:, :dim].norm(dim=1, keepdim=True) for each in sides]
            exact = torch.stack([torch.stack([q @ d for d in cut[1]]) for q in cut[0]])
            return exact, exact.detach()

        def of(query: str, text: str) -> Tensor:
            return torch.stack([row.max() for row in tokens(query, text)[0]]).mean()

        return plain_loss(prepared.objective, named, of, learned, known, batch, tokens)

    theirs = torch.stack([total(dim) for dim in DIMS]).mean()
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-7)
    for one, other in zip(found, torch.autograd.grad(theirs, leaves), strict=True):
        assert bool(one.any())
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)  # the contrast is float32's


@pytest.mark.parametrize("dims", [None, DIMS])
def test_every_check_of_certify_holds(dims: list[int] | None, student_settings: dict[str, Any]) -> None:
    """Chunks, GradCache, the plain way text by text in float64; and what is certified is the pooled loss."""
    student = trained_at(student_of(student_settings | {"dropout": 0.2}), dims)
    settings = {"learnable": True}
    micro = micro_of(
        student, phase_of(student, contrastive_settings=settings, token_pooling=TWO), recompute=True
    )
    alone = micro_of(student, phase_of(student, contrastive_settings=settings))
    assert micro.dropout
    assert micro.step(FULL).loss != alone.step(FULL).loss
    for name in ("chunking", "recomputation", "maxsim", "attention"):
        assert not beyond(list(checks.ALONE[name](micro))), name


@pytest.mark.slow
def test_two_processes_train_what_one_trains(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings | {"dropout": 0.0})
    terms = {"alone": TERMS["DocumentToQuery"], "kl": TERMS["kl"]}
    prepared = phase_with(terms, student_settings, n_way=4, token_pooling=TWO)
    task = shared(prepared, 0, recompute=True)
    assert task is not None
    one = train_step(prepared, student.model, prepared.batches[0], FULL, recompute=False)
    with two_processes(student, "eager", [task]) as read:
        assert not beyond(list(checks.gathering(one, read(0))))


def test_a_factor_of_one_is_training_without_and_recomputation_changes_no_bit(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    settings = student_settings | {"dropout": 0.2}
    changes: dict[str, Any] = {"steps": 3, "objective": both_objectives(), "token_budget": 40}
    plain, _ = train(settings, tmp_path / "plain", **changes)
    one, _ = train(settings, tmp_path / "one", token_pooling={"factor": 1, "protected": 1}, **changes)
    assert equal(plain, one)
    assert curves(tmp_path / "plain") == curves(tmp_path / "one")
    two, _ = train(settings, tmp_path / "two", token_pooling=TWO, **changes)
    again, _ = train(settings, tmp_path / "again", token_pooling=TWO, recompute=True, **changes)
    assert equal(two, again)
    assert not equal(plain, two)


@pytest.mark.parametrize(
    ("pooling", "output", "message"),
    [
        (
            TWO,
            "single",
            r"token_pooling\.factor=2: a student of one vector a text has no tokens to pool; set it to 1",
        ),
        (
            {"factor": 1, "protected": 0},
            "multi",
            r"token_pooling\.protected=0: has no effect without phases\.distill\.",
        ),
    ],
)
def test_what_has_no_effect_is_refused(
    pooling: dict[str, int], output: str, message: str, student_settings: dict[str, Any]
) -> None:
    student = student_of(student_settings | {"output": output})
    with pytest.raises(InputError, match=rf"^phases\.distill\.{message}"):
        check_network(phase_of(student, token_pooling=pooling), student.model)


def test_training_that_diverges_is_told_as_ever(student_settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^phases\.distill: the loss of step 2 is not a finite number"):
        train(
            student_settings,
            tmp_path,
            token_pooling=TWO,
            optimizer={"_target_": "torch.optim.AdamW", "lr": 1e30},
            lr_schedule={"name": "constant", "warmup": 0},
        )
