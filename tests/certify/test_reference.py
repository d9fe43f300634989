"""The plain way gives what formulas and full graphs give."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from colbert_lab.base.types import Tokens
from colbert_lab.certify.as_trained import FULL, columns
from colbert_lab.certify.checks import gradient_difference
from colbert_lab.certify.plain_scores import TIE, plain_maxsim
from colbert_lab.certify.reference import Reference, plain_loss
from colbert_lab.text.rows.examples import Example
from colbert_lab.training.objectives.contrastive import Contrastive, ignored
from colbert_lab.training.objectives.distillation import Distillation
from colbert_lab.training.objectives.objective import Objective
from colbert_lab.training.objectives.term import Learned, Scored, Term
from tests.certify.support import micro_of, phase_of, student_of

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "student_teacher": {"distillation_settings": {"direction": "student_teacher"}},
    "minmax": {
        "distillation_settings": {
            "teacher": {"normalisation": "minmax", "temperature": 0.5},
            "student": {"normalisation": "minmax", "temperature": 2.0},
        }
    },
    "false negatives": {"contrastive_settings": {"false_negative_ratio": 0.5}},
    "no own negatives": {"contrastive_settings": {"own_negatives": False}},
    "own list alone": {"contrastive_settings": {"batch_negatives": False, "false_negative_ratio": 0.2}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_loss_is_that_of_the_objectives(name: str, student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    micro = micro_of(student, phase_of(student, **SETTINGS[name]))
    objective, batch = micro.phase.objective, micro.batch
    generator = torch.Generator().manual_seed(1)
    texts = list(dict.fromkeys(text for e in micro.examples for text in e.documents))
    assert len(texts) < 16, "queries have documents in common"
    in_batch = torch.empty(len(micro.examples), len(texts), dtype=torch.float64)
    scores = torch.rand(in_batch.shape, generator=generator, dtype=torch.float64)
    in_batch[:, columns(batch, micro.examples)] = scores
    known = {
        (e.query, text): scores[b, n] for b, e in enumerate(micro.examples) for n, text in enumerate(texts)
    }
    loss = plain_loss(objective, micro.examples, lambda query, text: known[query, text])
    assert batch.teacher_BK is not None
    distillation, settings = objective.terms["distillation"], objective.terms["contrastive"]
    assert isinstance(distillation, Distillation)
    assert isinstance(settings, Contrastive)
    ignore = ignored(
        batch.keys_N, batch.rows_BK, batch.teacher_BK, settings.false_negative_ratio, settings.own_negatives,
        settings.batch_negatives,
    )  # fmt: skip
    theirs = 0.3 * distillation(in_batch.gather(1, batch.rows_BK), batch.teacher_BK.double())
    theirs = theirs + 0.7 * settings(in_batch, batch.rows_BK[:, 0], ignore)
    assert float(loss) == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize(("ratio", "counted"), [(0.9, ["c"]), (1.1, ["b", "c"]), (None, ["b", "c"])])
def test_a_ratio_of_a_score_below_zero(ratio: float | None, counted: list[str]) -> None:
    objective = Objective({"contrastive": Contrastive(1.0, false_negative_ratio=ratio)})
    scores = np.array([-2.0, -1.9, -8.0], dtype=np.float32)
    example = Example("q", "query", ["1", "2", "3"], ["a", "b", "c"], scores)
    of = {"a": 1.0, "b": 2.0, "c": -1.0}
    loss = plain_loss(objective, [example], lambda _, text: torch.tensor(of[text], dtype=torch.float64))
    expected = math.log(math.exp(1) + sum(math.exp(of[text]) for text in counted)) - 1
    assert float(loss) == pytest.approx(expected, rel=1e-12)


@dataclass(frozen=True)
class Huber(Term):
    """A loss without a reference, by a function of torch that refuses operands of two dtypes."""

    def loss(self, scored: Scored, learned: Learned) -> torch.Tensor:
        """The scores of the student are to be those of the teacher."""
        assert scored.batch.teacher_BK is not None
        return torch.nn.functional.huber_loss(scored.lists_BK, scored.batch.teacher_BK)


def test_a_loss_without_a_reference_sees_one_dtype(student_settings: dict[str, Any]) -> None:
    student = student_of(student_settings)
    phase = replace(phase_of(student), objective=Objective({"huber": Huber()}))
    micro = micro_of(student, phase)
    step = micro.step(FULL)
    assert micro.truth.loss == pytest.approx(step.loss, rel=1e-6)
    assert gradient_difference(step.gradients, micro.truth.gradients)[0] < 1e-5
    assert micro.batch.teacher_BK is not None
    assert micro.batch.teacher_BK.dtype == torch.float32


@pytest.mark.parametrize("changes", [{}, {"expansion": "unattended"}, {"output": "single", "pooling": "cls"}])
def test_the_chain_rule_gives_the_gradient_of_the_whole_graph(
    changes: dict[str, Any], student_settings: dict[str, Any]
) -> None:
    student = student_of(student_settings | changes)
    micro = micro_of(student, phase_of(student, contrastive_settings={"learnable": True}))
    truth = micro.reference.truth(micro.examples, micro.phase.tokenizer, micro.phase.objective)
    reference, tokenizer = micro.reference, micro.phase.tokenizer
    temperature = torch.tensor(0.2, dtype=torch.float64).log().requires_grad_()

    def score(query: str, document: str) -> torch.Tensor:
        sides = (
            reference.embed(tokenizer([query], "query")),
            reference.embed(tokenizer([document], "document")),
        )
        return plain_maxsim(*sides)

    loss = plain_loss(
        micro.phase.objective, micro.examples, score, {"contrastive": {"temperature": temperature.exp()}}
    )
    loss.backward()
    whole = {name: v.grad for name, v in reference.model.named_parameters() if v.grad is not None}
    assert temperature.grad is not None
    whole["learned.contrastive_temperature"] = temperature.grad
    assert truth.gradients.keys() == whole.keys()
    assert truth.loss == pytest.approx(float(loss.detach()), rel=1e-12)
    # The sums over tokens are in another order; eager attention of some backbones rounds to float32.
    assert gradient_difference(truth.gradients, whole)[0] < 1e-9
    assert truth.gradients["backbone.embeddings.word_embeddings.weight"].dtype == torch.float64


def test_a_tie_gives_the_gradient_to_the_token_that_is_asked_for() -> None:
    query = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for gap, wanted in ((TIE / 2, 1), (2 * TIE, 0)):
        document = torch.tensor([[1.0, 0.0], [1.0 - gap, 0.0]], dtype=torch.float64, requires_grad=True)
        score = plain_maxsim(query, document, torch.tensor([1]))
        score.backward()
        assert float(score.detach()) == 1
        assert document.grad is not None
        assert document.grad[:, 0].tolist() == [1.0 - wanted, wanted]


def test_a_backbone_without_float64_is_taken_in_float32(
    student_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Reference, text: Tokens) -> torch.Tensor:
        if next(self.model.parameters()).dtype == torch.float64:
            raise RuntimeError("no float64 here")
        return torch.zeros(1)

    monkeypatch.setattr(Reference, "embed", refuse)
    reference = Reference(student_of(student_settings).model)
    assert reference.dtype == torch.float32
    assert {value.dtype for value in reference.model.parameters()} == {torch.float32}
