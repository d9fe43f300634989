"""MarginMSE and the pairwise softmax are what their formulas say, in float64 loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.training.objectives.margins import MarginMSE, PairwiseSoftmax
from tests.training.objectives.support import Rows, check_loss_and_slopes, check_reference, random_scores
from tests.training.support import make_lists

MODULE = "colbert_lab.training.objectives.margins"


def margin_loop(student: Rows, teacher: Rows) -> float:
    errors = [
        ((s[0] - s[k]) - (t[0] - t[k])) ** 2
        for s, t in zip(student, teacher, strict=True)
        for k in range(1, len(s))
    ]
    return sum(errors) / len(errors)


def softmax_loop(scores: Rows, temperature: float, negatives: list[list[int]]) -> float:
    total = 0.0
    for row, counted in zip(scores, negatives, strict=True):
        losses = []
        for k in counted:
            up, down = math.exp(row[0] / temperature), math.exp(row[k] / temperature)
            losses.append(-math.log(up / (up + down)))
        total += sum(losses) / len(losses) if losses else 0.0
    return total / len(scores)


def test_margin_mse_and_its_gradient_equal_a_float64_loop() -> None:
    teacher = random_scores(2, scale=5.0)
    check_loss_and_slopes(
        lambda scores: MarginMSE()(scores, teacher),
        lambda rows: margin_loop(rows, teacher.tolist()),
        random_scores(1),
    )


def test_a_student_with_the_margins_of_the_teacher_has_nothing_to_learn() -> None:
    teacher = random_scores(2)
    shift = torch.tensor([[7.0], [-3.0], [0.5]])
    assert float(MarginMSE()(teacher + shift, teacher)) == pytest.approx(0, abs=1e-12)
    assert float(MarginMSE()(2 * teacher, teacher)) > 0.1, "the scale is learned too"


def test_no_gradient_reaches_the_teacher() -> None:
    teacher = random_scores(2).requires_grad_()
    MarginMSE()(random_scores(1).requires_grad_(), teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("negatives", [[[1, 2, 3, 4]] * 3, [[1, 4], [2], [1, 2, 3]], [[1], [], [3, 4]]])
def test_the_pairwise_softmax_and_its_gradient_equal_a_float64_loop(
    temperature: float, negatives: list[list[int]]
) -> None:
    mask = torch.zeros(3, 5, dtype=torch.bool)
    for row, counted in enumerate(negatives):
        mask[row, counted] = True
    check_loss_and_slopes(
        lambda scores: PairwiseSoftmax(temperature)(scores, mask),
        lambda rows: softmax_loop(rows, temperature, negatives),
        random_scores(3),
    )
    everything = PairwiseSoftmax(temperature)(random_scores(3))
    assert float(everything) == pytest.approx(
        softmax_loop(random_scores(3).tolist(), temperature, [[1, 2, 3, 4]] * 3)
    )


def test_two_documents_make_colberts_own_loss() -> None:
    scores = random_scores(4, columns=2)
    colbert = torch.nn.functional.cross_entropy(scores, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(PairwiseSoftmax()(scores), colbert)


def test_scores_far_apart_are_finite() -> None:
    scores = torch.tensor([[0.0, 5000.0], [5000.0, 0.0]], requires_grad=True)
    loss = PairwiseSoftmax()(scores)
    loss.backward()
    assert float(loss.detach()) == 2500
    assert scores.grad is not None
    assert scores.grad.tolist() == [[-0.5, 0.5], [0.0, 0.0]]


@pytest.mark.parametrize(
    "term",
    [{"_target_": f"{MODULE}.MarginMSE"}, {"_target_": f"{MODULE}.PairwiseSoftmax", "temperature": 0.5}],
    ids=["margin_mse", "pairwise_softmax"],
)
def test_the_reference_is_the_loss(term: dict[str, Any], student_settings: dict[str, Any]) -> None:
    check_reference(term, student_settings)


@pytest.mark.parametrize(("term", "n_way"), [(MarginMSE(), 1), (PairwiseSoftmax(), 1)])
def test_one_document_has_no_margin(term: Any, n_way: int) -> None:
    with pytest.raises(InputError, match=r"^phases\.x\.n_way=1: phases\.x\.objective\.y compares at least 2"):
        term.check("phases.x.objective.y", [make_lists()], n_way, 4)


@pytest.mark.parametrize("term", [MarginMSE(), PairwiseSoftmax()])
def test_lists_of_one_document_have_no_margin(term: Any) -> None:
    with pytest.raises(InputError, match=r"^phases\.x\.data: random has rows of only one document"):
        term.check("phases.x.objective.y", [make_lists(length=1)], None, 4)
