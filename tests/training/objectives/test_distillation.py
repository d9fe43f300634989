import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from colbert_lab.training.objectives.distillation import Distillation, normalise_scores, normalised_entropy
from colbert_lab.training.objectives.term import Side

NORMALISATIONS = ("none", "minmax", "zscore")


def scores(seed: int, rows: int = 4, columns: int = 6, scale: float = 3.0) -> Tensor:
    return (
        torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    )


def loop_distribution(row: list[float], side: Side) -> list[float]:
    if side.normalisation == "minmax":
        low, high = min(row), max(row)
        row = [(value - low) / (high - low) for value in row]
    if side.normalisation == "zscore":
        mean = sum(row) / len(row)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / len(row))
        row = [(value - mean) / deviation for value in row]
    weights = [math.exp(value / side.temperature) for value in row]
    return [weight / sum(weights) for weight in weights]


def loop_loss(student: Tensor, teacher: Tensor, objective: Distillation) -> float:
    total = 0.0
    for s_row, t_row in zip(student.tolist(), teacher.tolist(), strict=True):
        s, t = loop_distribution(s_row, objective.student), loop_distribution(t_row, objective.teacher)
        first, second = (t, s) if objective.direction == "teacher_student" else (s, t)
        total += sum(p * math.log(p / q) for p, q in zip(first, second, strict=True))
    return total / len(student)


@pytest.mark.parametrize("direction", ["teacher_student", "student_teacher"])
@pytest.mark.parametrize(("student", "teacher"), list(itertools.product(NORMALISATIONS, NORMALISATIONS)))
def test_loss_and_gradient_equal_a_float64_loop(direction: Any, student: Any, teacher: Any) -> None:
    objective = Distillation(Side(teacher, 0.7), Side(student, 1.3), direction)
    student_BK, teacher_BK = scores(1).requires_grad_(), scores(2)
    loss = objective(student_BK, teacher_BK)
    assert float(loss.detach()) == pytest.approx(
        loop_loss(student_BK.detach(), teacher_BK, objective), abs=1e-12
    )
    loss.backward()
    assert student_BK.grad is not None
    step = 1e-6
    for b, k in itertools.product(range(4), range(6)):
        up, down = student_BK.detach().clone(), student_BK.detach().clone()
        up[b, k] += step
        down[b, k] -= step
        numeric = (loop_loss(up, teacher_BK, objective) - loop_loss(down, teacher_BK, objective)) / (2 * step)
        assert float(student_BK.grad[b, k]) == pytest.approx(numeric, abs=1e-7)


def test_default_direction_is_what_torch_kl_div_computes() -> None:
    student_BK, teacher_BK = scores(1), scores(2)
    ours = Distillation(Side(), Side())(student_BK, teacher_BK)
    theirs = torch.nn.functional.kl_div(
        student_BK.log_softmax(-1), teacher_BK.log_softmax(-1), reduction="batchmean", log_target=True
    )
    torch.testing.assert_close(ours, theirs)


def test_directions_differ() -> None:
    one, other = (
        Distillation(Side(), Side(), d)(scores(1), scores(2)) for d in ("teacher_student", "student_teacher")
    )
    assert abs(float(one - other)) > 0.1


@pytest.mark.parametrize("normalisation", ["minmax", "zscore"])
def test_normalisation_ignores_scale_and_shift(normalisation: Any) -> None:
    torch.testing.assert_close(
        normalise_scores(scores(3) * 50 + 7, normalisation), normalise_scores(scores(3), normalisation)
    )


@pytest.mark.parametrize("normalisation", ["minmax", "zscore"])
def test_constant_lists_have_finite_gradients(normalisation: Any) -> None:
    student_BK = torch.full((2, 5), 0.25, requires_grad=True)
    Distillation(Side("zscore"), Side(normalisation))(student_BK, torch.ones(2, 5)).backward()
    assert student_BK.grad is not None
    assert bool(torch.isfinite(student_BK.grad).all())


def test_no_gradient_reaches_the_teacher() -> None:
    teacher_BK = scores(2).requires_grad_()
    Distillation(Side(), Side())(scores(1).requires_grad_(), teacher_BK).backward()
    assert teacher_BK.grad is None


def test_float16_scores_are_not_computed_in_float16() -> None:
    student_BK = scores(1).half()
    exact = Distillation(Side(), Side())(student_BK.double(), scores(2))
    assert float(Distillation(Side(), Side())(student_BK, scores(2).float())) == pytest.approx(
        float(exact), rel=1e-5
    )


def test_entropy_of_uniform_one_hot_and_between() -> None:
    side = Side("none", 1.0)
    assert float(normalised_entropy(torch.zeros(1, 16), side)) == pytest.approx(1.0)
    assert float(normalised_entropy(torch.tensor([[1000.0] + [0.0] * 15]), side)) == pytest.approx(
        0.0, abs=1e-6
    )
    p = [0.5, 0.25, 0.25]
    expected = -sum(x * math.log(x) for x in p) / math.log(3)
    assert float(normalised_entropy(torch.tensor([p]).log(), side)) == pytest.approx(expected, rel=1e-5)
