"""Losses over ranks are what their papers say, in float64 loops; grades come from the teacher."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.training.objectives.ranks import (
    ApproxNDCG,
    LambdaLoss,
    Relevance,
    Weighting,
    relevance_of,
)
from tests.training.objectives.support import Rows, check_loss_and_slopes, check_reference, random_scores
from tests.training.support import make_lists

WEIGHTINGS, RELEVANCES = get_args(Weighting), get_args(Relevance)
MODULE = "colbert_lab.training.objectives.ranks"


def grades_loop(teacher: list[float], relevance: str) -> list[float]:
    if relevance == "scores":
        return [max(0.0, score) for score in teacher]
    return [1 / (1 + sum(other > score for other in teacher)) for score in teacher]


def gains_loop(teacher: list[float], relevance: str) -> list[float]:
    raw = [2**grade - 1 for grade in grades_loop(teacher, relevance)]
    best = sum(gain / math.log2(place + 2) for place, gain in enumerate(sorted(raw)[::-1]))
    return [gain / best for gain in raw]


def lambda_loop(student: Rows, teacher: Rows, weighting: str, relevance: str, temperature: float) -> float:
    """Wang et al. 2018, equations 12 to 16, over every pair in which i is better than j."""
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        gain = gains_loop(t, relevance)
        place = [1 + sum(other > score for other in s) for score in s]
        for i in range(len(s)):
            for j in range(len(s)):
                if gain[i] <= gain[j]:
                    continue
                rho = abs(1 / math.log2(1 + place[i]) - 1 / math.log2(1 + place[j]))
                apart = abs(place[i] - place[j])
                delta = abs(1 / math.log2(1 + apart) - 1 / math.log2(1 + apart + 1))
                weight = {"lambdarank": rho, "ndcg_loss2": delta, "ndcg_loss2pp": rho + 10 * delta}[weighting]
                total += weight * (gain[i] - gain[j]) * math.log2(1 + math.exp(-(s[i] - s[j]) / temperature))
    return total / len(student)


def approx_loop(student: Rows, teacher: Rows, relevance: str, temperature: float) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        ranks = [
            1 + sum(1 / (1 + math.exp((s[i] - s[j]) / temperature)) for j in range(len(s)) if j != i)
            for i in range(len(s))
        ]
        ndcg = sum(g / math.log2(1 + rank) for g, rank in zip(gains_loop(t, relevance), ranks, strict=True))
        total += 1 - ndcg
    return total / len(student)


@pytest.mark.parametrize("relevance", RELEVANCES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_lambda_loss_and_its_gradient_equal_a_float64_loop(weighting: Any, relevance: Any) -> None:
    teacher = random_scores(2)
    teacher[0, 1] = teacher[0, 3]  # documents that are as good as each other are no pair
    term = LambdaLoss(relevance, 0.7, weighting)
    check_loss_and_slopes(
        lambda scores: term(scores, teacher),
        lambda rows: lambda_loop(rows, teacher.tolist(), weighting, relevance, 0.7),
        random_scores(1),
    )


@pytest.mark.parametrize("relevance", RELEVANCES)
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_approx_ndcg_and_its_gradient_equal_a_float64_loop(temperature: float, relevance: Any) -> None:
    teacher = random_scores(2)
    check_loss_and_slopes(
        lambda scores: ApproxNDCG(relevance, temperature)(scores, teacher),
        lambda rows: approx_loop(rows, teacher.tolist(), relevance, temperature),
        random_scores(1),
    )


def test_a_low_temperature_gives_one_minus_ndcg() -> None:
    student, teacher = random_scores(5), random_scores(6)
    ndcg = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        gain = gains_loop(t, "order")
        order = sorted(range(len(s)), key=lambda n: -s[n])
        ndcg += sum(gain[n] / math.log2(place + 2) for place, n in enumerate(order)) / len(student)
    assert float(ApproxNDCG("order", 1e-4)(student, teacher)) == pytest.approx(1 - ndcg, abs=1e-9)
    assert float(ApproxNDCG("order", 1e-4)(teacher, teacher)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("weighting", ["ndcg_loss2", "ndcg_loss2pp"])
def test_ndcg_loss2_is_above_one_minus_ndcg(weighting: Any) -> None:
    """What Wang et al. prove of it."""
    for seed in range(8):
        student, teacher = random_scores(seed), random_scores(seed + 20)
        missed = float(ApproxNDCG("order", 1e-4)(student, teacher))
        assert float(LambdaLoss("order", 1.0, weighting)(student, teacher)) > missed - 1e-9


def test_grades() -> None:
    teacher = torch.tensor([[3.0, -1.0, 7.0, 3.0]]).requires_grad_()
    assert relevance_of(teacher, "order").tolist() == [[0.5, 0.25, 1.0, 0.5]]
    assert relevance_of(teacher, "scores").tolist() == [[3.0, 0.0, 7.0, 3.0]]
    assert not relevance_of(teacher, "order").requires_grad


@pytest.mark.parametrize("term", [LambdaLoss("scores"), ApproxNDCG("scores")])
def test_a_query_without_a_grade_has_no_gradient(term: Any) -> None:
    scores = random_scores(1, 1).requires_grad_()
    loss = term(scores, -random_scores(2, 1).abs())
    loss.backward()
    assert float(loss.detach()) == (1 if isinstance(term, ApproxNDCG) else 0)
    assert scores.grad is not None
    assert not scores.grad.any()


@pytest.mark.parametrize("term", [*(LambdaLoss("order", 1.0, each) for each in WEIGHTINGS), ApproxNDCG()])
def test_scores_far_apart_have_finite_gradients(term: Any) -> None:
    scores = torch.tensor([[0.0, 5000.0, -5000.0]], requires_grad=True)
    (slopes,) = torch.autograd.grad(term(scores, torch.tensor([[3.0, 2.0, 1.0]])), scores)
    assert bool(slopes.isfinite().all())


TERMS = [{"_target_": f"{MODULE}.LambdaLoss", "weighting": each} for each in WEIGHTINGS]
TERMS += [{"_target_": f"{MODULE}.ApproxNDCG"}]


@pytest.mark.parametrize("relevance", RELEVANCES)
@pytest.mark.parametrize("term", TERMS, ids=[*WEIGHTINGS, "approx_ndcg"])
def test_the_reference_is_the_loss(
    term: dict[str, Any], relevance: str, student_settings: dict[str, Any]
) -> None:
    check_reference({**term, "relevance": relevance, "temperature": 0.7}, student_settings)


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (-100.0, "none is above 0; set it to order"),
        (100.0, r"they are up to 10\d.*too large; set it to order"),
    ],
)
def test_scores_that_are_no_grades_are_refused(shift: float, message: str) -> None:
    lists = make_lists()
    for scores in lists.scores:
        scores += shift
    with pytest.raises(InputError, match=rf"^phases\.x\.objective\.y\.relevance=scores: .*random.*{message}"):
        LambdaLoss("scores").check("phases.x.objective.y", [lists], 4, 4)
    LambdaLoss("order").check("phases.x.objective.y", [lists], 4, 4)
