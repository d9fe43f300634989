"""The term XTR: its reference, what counts as a negative, both scores of a student, and what cannot be trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings
from colbert_lab.certify import checks
from colbert_lab.certify.as_trained import FULL, train_step
from colbert_lab.certify.micro_batch import MicroBatch
from colbert_lab.certify.reference import Reference, plain_loss, scored_plainly, without_reference
from colbert_lab.model.changing import trained_at
from colbert_lab.text.fingerprint import text_key
from colbert_lab.training.objectives.contrastive import Contrastive
from colbert_lab.training.objectives.term import Scored, Texts
from colbert_lab.training.objectives.xtr import XTR
from colbert_lab.training.prepare import PreparedPhase, check_network
from tests.certify.support import beyond, student_of
from tests.training.objectives.support import phase_with
from tests.training.support import make_lists

TARGET = f"{XTR.__module__}.XTR"


def phase(student_settings: dict[str, Any], **settings: Any) -> PreparedPhase:
    return phase_with({"xtr": {"_target_": TARGET, "temperature": 0.1, **settings}}, student_settings)


def embedded(prepared: PreparedPhase, copies: int = 1) -> tuple[Texts, dict[str, Tensor]]:
    """Random float64 token embeddings of the micro-batch, all documents so many times, and those of each text."""
    batch, examples = prepared.batches[0], prepared.batches.examples(0)
    generator = torch.Generator().manual_seed(4)

    def headed(mask_NL: Tensor) -> Embeddings:
        emb = torch.randn(*mask_NL.shape, 8, generator=generator, dtype=torch.float64)
        return Embeddings(torch.nn.functional.normalize(emb, dim=-1).requires_grad_(), mask_NL)

    queries, *chunks = (headed(c.score_mask_NL) for c in (batch.queries, *batch.documents))
    place = {int(key): n for n, key in enumerate(batch.keys_N)}
    rows = [chunk.emb_NLD[n][chunk.mask_NL[n]] for chunk in chunks for n in range(len(chunk.mask_NL))]
    names = {text for example in examples for text in example.documents}
    found = {text: rows[place[text_key(text)]] for text in names}
    n_documents = len(batch.keys_N)
    own_BK = batch.rows_BK + (copies - 1) * n_documents  # those of the last copy
    return Texts(queries, chunks * copies, batch.keys_N.repeat(copies), own_BK), found


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        {"k": 1}, {"k": 7}, {"k": 10**6}, {"k": 7, "own_negatives": False}, {"k": 7, "batch_negatives": False},
        {"k": 7, "false_negative_ratio": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_the_reference_is_the_loss(
    settings: dict[str, Any], copies: int, student_settings: dict[str, Any]
) -> None:
    """Queries occur twice, with another positive each time; a second process may have the same documents."""
    prepared = phase(student_settings, **settings)
    examples, batch = prepared.batches.examples(0), prepared.batches[0]
    texts, documents = embedded(prepared, copies)
    term = prepared.objective.terms["xtr"]
    plain_scores = scored_plainly(batch, examples, lambda query, text: torch.zeros(()))
    ours = term.loss(
        Scored(batch, lambda: plain_scores.lists_BK, lambda: plain_scores.pairs, lambda: texts), {}
    )

    named = [replace(each, query=str(n)) for n, each in enumerate(examples)]  # a query has several rows
    known = {
        str(n): {other.documents[0] for other in examples if other.query == each.query}
        for n, each in enumerate(examples)
    }
    queries = texts.queries

    def tokens(query: str, text: str) -> tuple[Tensor, Tensor]:
        similar = queries.emb_NLD[int(query)][queries.mask_NL[int(query)]] @ documents[text].T
        return similar, similar.detach()

    plain = plain_loss(prepared.objective, named, lambda *_: torch.zeros(()), None, known, None, tokens)
    assert float(ours.detach()) == pytest.approx(float(plain.detach()), rel=1e-6)
    leaves = [queries.emb_NLD, *(chunk.emb_NLD for chunk in texts.documents[: len(batch.documents)])]
    theirs = torch.autograd.grad(plain, leaves, materialize_grads=True)
    found = torch.autograd.grad(ours, leaves, materialize_grads=True)
    assert bool(theirs[0].any())
    for one, other in zip(found, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_it_brings_its_reference(student_settings: dict[str, Any]) -> None:
    assert not without_reference(phase(student_settings).objective)


@pytest.mark.parametrize("changes", [{}, {"score": "mean_maxsim"}])
def test_certify_holds_at_several_dimensions(
    changes: dict[str, Any], student_settings: dict[str, Any]
) -> None:
    """Chunks, GradCache and the plain way in float64; the score is a mean whatever the student's is."""
    student = trained_at(student_of(student_settings | {"dropout": 0.0} | changes), [4, 16])
    prepared = phase(student_settings | changes, k=9)
    micro = MicroBatch(prepared, 0, student.model, Reference(student.model), FULL, recompute=True)
    for name in ("chunking", "recomputation"):
        assert not beyond(list(checks.ALONE[name](micro))), name
    few = phase(student_settings | changes, k=2)
    loss = train_step(few, student.model, few.batches[0], FULL, recompute=False).loss
    assert abs(loss - micro.step(FULL).loss) > 1e-3


def test_the_students_score_decides_nothing(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings | {"dropout": 0.0})
    losses = []
    for score in ("maxsim", "mean_maxsim"):
        prepared = phase(student_settings | {"score": score}, k=9)
        assert prepared.scoring.score == score
        losses.append(train_step(prepared, student.model, prepared.batches[0], FULL, recompute=False).loss)
    assert losses[0] == losses[1]


def test_every_token_makes_the_contrast_of_meanmaxsim(student_settings: dict[str, Any]) -> None:
    settings = student_settings | {"score": "mean_maxsim"}
    student = student_of(settings | {"dropout": 0.0})
    target = f"{Contrastive.__module__}.Contrastive"
    ways = phase(settings, k=10**6), phase_with({"x": {"_target_": target, "temperature": 0.1}}, settings)
    one, other = (train_step(each, student.model, each.batches[0], FULL, recompute=False) for each in ways)
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(gradient, other.gradients[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("n_way", "length"), [(1, 6), (None, 1)])
def test_a_batch_of_one_document_has_no_contrast(n_way: int | None, length: int) -> None:
    message = r"^phases\.x\.objective\.y\.weight: a batch of one document .* raise phases\.x\.batch_size"
    with pytest.raises(InputError, match=message):
        XTR(0.1).check("phases.x.objective.y", [make_lists(length=length)], n_way, 1)
    XTR(0.1).check("phases.x.objective.y", [make_lists(length=length)], n_way, 2)


def test_a_dense_student_has_no_tokens(student_settings: dict[str, Any]) -> None:
    prepared = phase(student_settings)
    check_network(prepared, student_of(student_settings).model)
    dense = student_of(student_settings | {"output": "single", "pooling": "mean"})
    with pytest.raises(
        InputError, match=r"^phases\.distill\.objective\.xtr\.weight: chooses among the tokens"
    ):
        check_network(prepared, dense.model)
