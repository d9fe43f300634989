"""Training at several numbers of dimensions: the plain formula in float64, chunks, processes, and one number alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from colbert_lab.base.types import Embeddings
from colbert_lab.certify import checks
from colbert_lab.certify.as_trained import FULL, train_step
from colbert_lab.certify.micro_batch import shared, two_processes
from colbert_lab.certify.reference import plain_loss
from colbert_lab.model.changing import trained_at
from colbert_lab.model.formats.own import load_student
from colbert_lab.text.fingerprint import text_key
from colbert_lab.training.trainer import training_module
from tests.certify.support import beyond, micro_of, phase_of, student_of
from tests.training.objectives.support import phase_with
from tests.training.objectives.test_two_processes import SETTINGS
from tests.training.support import OBJECTIVES
from tests.training.test_gradcache import both_objectives
from tests.training.test_phase import curves, equal, train

DIMS = [2, 8, 16]
TERMS: dict[str, Any] = {
    **{k.__name__: {"_target_": f"{k.__module__}.{k.__name__}", **s} for k, s in SETTINGS.items()},
    "margins": {"_target_": f"{OBJECTIVES}.margins.MarginMSE", "weight": 0.5},
    "kl": {"_target_": f"{OBJECTIVES}.distillation.Distillation", "direction": "teacher_student"},
}


def test_gradients_of_every_loss_are_those_of_the_plain_formula(student_settings: dict[str, Any]) -> None:
    """The mean over dimensions of the objective, token by token, in float64, from what a head might give."""
    prepared = phase_with(TERMS, student_settings)
    batch, examples = prepared.batches[0], prepared.batches.examples(0)
    assert batch.teacher_BK is not None
    batch = replace(batch, teacher_BK=batch.teacher_BK.double())
    student = trained_at(student_of(student_settings), DIMS)
    module = training_module(prepared, student.model, recompute=False).double()
    generator = torch.Generator().manual_seed(2)

    def headed(mask_NL: Tensor) -> Embeddings:
        emb_NLD = torch.randn(*mask_NL.shape, 16, generator=generator, dtype=torch.float64)
        return Embeddings(emb_NLD.requires_grad_(), mask_NL)

    queries, *chunks = map(headed, [c.score_mask_NL for c in (batch.queries, *batch.documents)])
    unit = [
        Embeddings(torch.nn.functional.normalize(e.emb_NLD, dim=-1), e.mask_NL) for e in (queries, *chunks)
    ]
    by_dim = module.scored(unit[0], unit[1:], batch)
    assert list(by_dim) == DIMS
    learned = {name: module.learned_by(name) for name in prepared.objective.terms}
    terms = prepared.objective.terms.items()
    ours = torch.stack(
        [term.weight * term.loss(each, learned[name]) for each in by_dim.values() for name, term in terms]
    ).sum() / len(DIMS)
    leaves = [queries.emb_NLD, *(chunk.emb_NLD for chunk in chunks)]
    found = torch.autograd.grad(ours, leaves, retain_graph=True)

    place = {int(key): row for row, key in enumerate(batch.keys_N)}
    rows = [(chunk, row) for chunk in chunks for row in range(len(chunk.mask_NL))]
    named = [replace(each, query=str(n)) for n, each in enumerate(examples)]  # a query has several rows
    known = {
        str(n): {other.documents[0] for other in examples if other.query == each.query}
        for n, each in enumerate(examples)
    }

    def total(dim: int) -> Tensor:
        def similar(query: str, text: str) -> tuple[Tensor, Tensor]:
            n, (chunk, row) = int(query), rows[place[text_key(text)]]
            sides = (queries.emb_NLD[n][queries.mask_NL[n]], chunk.emb_NLD[row][chunk.mask_NL[row]])
            cut = [tokens[:, :dim] / tokens[:, :dim].norm(dim=1, keepdim=True) for tokens in sides]
            found = torch.stack([torch.stack([q @ d for d in cut[1]]) for q in cut[0]])
            return found, found.detach()

        def score(query: str, text: str) -> Tensor:
            return torch.stack([row.max() for row in similar(query, text)[0]]).sum()

        return plain_loss(prepared.objective, named, score, learned, known, batch, similar)

    theirs = torch.stack([total(dim) for dim in DIMS]).mean()
    assert float(ours.detach()) == pytest.approx(
        float(theirs.detach()), rel=1e-7
    )  # the contrast is float32's
    for one, other in zip(found, torch.autograd.grad(theirs, leaves), strict=True):
        assert bool(one.any())
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("changes", [{"score": "mean_maxsim"}, {"output": "single", "pooling": "mean"}])
def test_every_check_of_certify_holds(changes: dict[str, Any], student_settings: dict[str, Any]) -> None:
    """Chunks, GradCache, the plain way text by text in float64."""
    student = trained_at(student_of(student_settings | changes), DIMS)
    micro = micro_of(student, phase_of(student, contrastive_settings={"learnable": True}), recompute=True)
    alone = micro_of(trained_at(student, [16]), micro.phase)
    assert micro.step(FULL).loss != alone.step(FULL).loss
    for name in ("chunking", "recomputation", "maxsim"):
        assert not beyond(list(checks.ALONE[name](micro))), name


@pytest.mark.slow
def test_two_processes_train_what_one_trains(student_settings: dict[str, Any]) -> None:
    student = trained_at(student_of(student_settings | {"dropout": 0.0}), DIMS)
    prepared = phase_with({"alone": TERMS["DocumentToQuery"], "kl": TERMS["kl"]}, student_settings, n_way=4)
    task = shared(prepared, 0, recompute=True)
    assert task is not None
    one = train_step(prepared, student.model, prepared.batches[0], FULL, recompute=False)
    with two_processes(student, "eager", [task]) as read:
        assert not beyond(list(checks.gathering(one, read(0))))


def test_the_whole_alone_is_training_without_and_each_dimension_has_a_curve(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"steps": 3, "objective": both_objectives()}
    plain, _ = train(student_settings, tmp_path / "plain", **changes)
    whole, _ = train(student_settings, tmp_path / "whole", dims=[16], **changes)
    assert equal(plain, whole)
    expected, found = curves(tmp_path / "plain"), curves(tmp_path / "whole")
    assert [row for row in found if row[1] != "train/loss_dim16"] == expected
    several, _ = train(student_settings, tmp_path / "several", dims=DIMS, **changes)
    assert not equal(plain, several)
    values = {(name, int(step)): float(value) for step, name, value in curves(tmp_path / "several")}
    for step in range(1, 4):
        losses = [values[f"train/loss_dim{dim}", step] for dim in DIMS]
        assert len(set(losses)) == len(DIMS)
        assert values["train/loss", step] == pytest.approx(sum(losses) / len(DIMS), rel=1e-5)
    saved = load_student(tmp_path / "several" / "student")
    assert saved.model.matryoshka == (2, 8, 16)
