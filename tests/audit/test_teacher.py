"""A saturated teacher and a flat one are told, with what to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from colbert_lab.audit.teacher import Teacher, audit_teacher
from colbert_lab.training.objectives.distillation import normalised_entropy
from colbert_lab.training.objectives.term import Side
from tests.audit.support import lists

KEY = "phases.distill.objective.distillation.teacher"
DOCUMENTS = [f"document {n}" for n in range(12)]


def audit(
    scores: list[list[float]], side: Side, n_way: int | None = None, most: int | None = None
) -> Teacher:
    members = [list(range(len(each))) for each in scores]
    made = lists([f"query {n}" for n in range(len(scores))], DOCUMENTS, members, scores)
    return audit_teacher(made, side, key=KEY, n_way=n_way, most=most, seed=0)


RANDOM = np.random.default_rng(0).normal(size=(20, 8)).tolist()


def test_a_saturated_teacher_is_reported() -> None:
    found = audit([[100.0 * n for n in range(8)]] * 5, Side("none", 1.0))
    assert found.entropy < 0.02
    assert (found.one_hot, found.uniform) == (1.0, 0.0)
    assert f"{KEY} (normalisation none, temperature 1): lists is almost one-hot" in found.verdict
    assert "set normalisation=" in found.verdict
    assert found.counts[0] == 5


def test_a_flat_teacher_is_reported_and_a_setting_that_helps_is_named() -> None:
    flat = [[0.8 + 0.001 * n for n in range(8)] for _ in range(5)]
    found = audit(flat, Side("none", 1.0))
    assert found.entropy > 0.98
    assert (found.one_hot, found.uniform) == (0.0, 1.0)
    assert "almost uniform" in found.verdict
    advice = found.verdict.partition("set normalisation=")[2]
    name, _, rest = advice.partition(" temperature=")
    better = audit(flat, Side(name, float(rest.split()[0])))  # type: ignore[arg-type]
    assert 0.02 < better.entropy < 0.98


def test_no_setting_helps_constant_scores() -> None:
    found = audit([[1.0] * 6] * 3, Side("zscore", 0.25))
    assert found.constant == ["q0", "q1", "q2"]
    assert "use another teacher" in found.verdict


def test_numbers_of_lists_of_several_lengths() -> None:
    scores = [RANDOM[0], RANDOM[1][:5], RANDOM[2][:2], [2.0, 2.0, 2.0]]
    side = Side("zscore", 0.5)
    found = audit(scores, side)
    each = [float(normalised_entropy(torch.tensor([s], dtype=torch.float32), side)) for s in scores]
    assert found.entropy == pytest.approx(np.mean(each), abs=1e-6)
    assert (found.lists, found.of, found.shortest, found.median, found.longest) == (4, 4, 2, 4.0, 8)
    assert found.constant == ["q3"]
    assert found.uniform == 0.25
    assert [found.lowest, found.highest] == pytest.approx([min(map(min, scores)), 2.0])
    assert sum(found.counts) == 4
    assert "25% of lists are uniform" in found.verdict
    assert "neither flat nor one-hot" in audit(RANDOM, Side("zscore", 1.0)).verdict


def test_the_best_document_is_always_drawn() -> None:
    best = [[50.0, *[0.0] * 7], [*[0.0] * 7, 50.0]] * 10
    found = audit(best, Side("none", 1.0), n_way=3)
    assert (found.one_hot, found.n_way, found.longest) == (1.0, 3, 8)


def test_lists_that_are_read_in_order_are_looked_at_so() -> None:
    scores = [[9.0, 9.0, 0.0, 0.0, 0.0, 0.0]] * 8
    made = replace(
        lists([f"query {n}" for n in range(8)], DOCUMENTS, [list(range(6))] * 8, scores), draw="order"
    )
    found = audit_teacher(made, Side("none", 1.0), key=KEY, n_way=2, most=None, seed=0)
    assert [found.uniform, found.entropy] == pytest.approx([1.0, 1.0])


def test_a_draw_of_lists() -> None:
    found = audit(RANDOM, Side("zscore", 1.0), most=5)
    assert (found.lists, found.of) == (5, 20)
    assert found == audit(RANDOM, Side("zscore", 1.0), most=5)
