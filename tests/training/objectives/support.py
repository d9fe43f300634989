"""Small inputs for loss terms, their slopes, and a micro-batch in which queries share positives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from colbert_lab.certify.reference import plain_loss, scored_plainly
from colbert_lab.settings.typed import instance_of
from colbert_lab.text.rows.examples import ScoredLists
from colbert_lab.training.objectives.objective import Objective
from colbert_lab.training.objectives.term import Term
from colbert_lab.training.prepare import PreparedPhase, prepare_phase
from tests.toy import new_student
from tests.training.support import make_lists, phase_settings

Rows = list[list[float]]


def random_scores(seed: int, rows: int = 3, columns: int = 5, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64) * scale


def check_loss_and_slopes(
    loss: Callable[[Tensor], Tensor], loop: Callable[[Rows], float], scores: Tensor
) -> None:
    """A loss is a loop's, and its gradient the loop's slope by central differences."""
    leaf = scores.clone().requires_grad_()
    value = loss(leaf)
    value.backward()
    assert float(value.detach()) == pytest.approx(loop(scores.tolist()), abs=1e-10)
    assert leaf.grad is not None
    assert bool(leaf.grad.any())
    step = 1e-6
    for b, k in itertools.product(*map(range, scores.shape)):
        up, down = scores.clone(), scores.clone()
        up[b, k] += step
        down[b, k] -= step
        slope = (loop(up.tolist()) - loop(down.tolist())) / (2 * step)
        assert float(leaf.grad[b, k]) == pytest.approx(slope, abs=1e-7), (b, k)


def shared_positives(n: int = 8) -> ScoredLists:
    """Lists of half as many queries: each has two lists with a positive of its own, and few documents for all."""
    lists = make_lists(n=n, documents=12)
    half = lists.queries[: n // 2]
    best = [int(scores.argmax()) for scores in lists.scores]
    documents = [np.array(rows) for rows in lists.documents]
    for row in range(n // 2):  # the first list holds the second one's positive as a negative
        other = documents[row + n // 2][best[row + n // 2]]
        if other not in documents[row]:
            documents[row][(best[row] + 1) % len(documents[row])] = other
    return replace(lists, queries=[*half, *half], documents=documents)


def phase_with(objective: dict[str, Any], student_settings: dict[str, Any], **changes: Any) -> PreparedPhase:
    """A phase on :func:`shared_positives` whose micro-batch is all of them."""
    torch.manual_seed(0)
    student = new_student(**(student_settings | {"dropout": 0.0}))
    off = dict.fromkeys(phase_settings().objective)
    values = {"batch_size": 8, "accumulation": 1, "n_way": 6, "objective": {**off, **objective}} | changes
    return prepare_phase(
        "distill", phase_settings(**values), [shared_positives()], student.tokenizer, seed=0,
        allow_flat_teacher=True, allow_prompt_mismatch=False,
    )  # fmt: skip


def check_reference(term: dict[str, Any], student_settings: dict[str, Any]) -> None:
    """A term's reference and its own code give the same loss and the same slopes of the same scores."""
    phase = phase_with({"term": term}, student_settings)
    examples, batch = phase.batches.examples(0), phase.batches[0]
    texts = {(each.query, text) for each in examples for row in examples for text in row.documents}
    generator = torch.Generator().manual_seed(3)
    of = {
        pair: (2 * torch.randn((), generator=generator, dtype=torch.float64)).requires_grad_()
        for pair in sorted(texts)
    }
    known: dict[str, set[str]] = {}
    for each in examples:
        known.setdefault(each.query, set()).add(each.documents[0])
    assert sum(len(positives) == 2 for positives in known.values()) >= 2

    def score(query: str, document: str) -> Tensor:
        return of[query, document]

    made = phase.objective.terms["term"]
    assert type(made).reference is not Term.reference
    plain = plain_loss(Objective({"term": made}), examples, score, known=known)
    ours = made.loss(scored_plainly(batch, examples, score), {})
    assert float(ours.detach()) == pytest.approx(float(plain.detach()), rel=1e-6)
    theirs = torch.autograd.grad(plain, list(of.values()), allow_unused=True, materialize_grads=True)
    own = torch.autograd.grad(ours, list(of.values()), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(torch.stack(own), torch.stack(theirs), atol=1e-6, rtol=1e-5)
    assert float(torch.stack(theirs).abs().max()) > 1e-3


def made(settings: dict[str, Any]) -> Term:
    """A term by its settings."""
    return instance_of(settings, "objective.term", Term, "loss term")
