"""Documents among queries: the formula in float64, known positives, and the other direction of the same matrix."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.training.objectives.contrastive import Contrastive
from colbert_lab.training.objectives.document_to_query import DocumentToQuery
from tests.training.objectives.support import Rows, check_loss_and_slopes, check_reference, random_scores
from tests.training.support import make_lists


def loop(scores: Rows, own: list[int], left_out: list[set[int]], temperature: float) -> float:
    """-log(exp(own query) / sum over its own and the other queries), the mean over documents."""
    total = 0.0
    for row, mine, out in zip(scores, own, left_out, strict=True):
        counted = [q for q in range(len(row)) if q == mine or q not in out]
        total -= math.log(
            math.exp(row[mine] / temperature) / sum(math.exp(row[q] / temperature) for q in counted)
        )
    return total / len(scores)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("left_out", [[set(), set(), set()], [{0, 3}, {1}, {0, 1, 2, 4}]])
def test_loss_and_gradient_equal_a_float64_loop(temperature: float, left_out: list[set[int]]) -> None:
    own = [1, 4, 2]
    ignore = torch.tensor([[q in out for q in range(5)] for out in left_out])
    term = DocumentToQuery(temperature)
    check_loss_and_slopes(
        lambda scores: term(scores, torch.tensor(own), ignore),
        lambda rows: loop(rows, own, left_out, temperature),
        random_scores(1),
    )


def test_it_is_the_contrast_of_the_transposed_matrix() -> None:
    scores, own = random_scores(2, 4, 4), torch.arange(4)
    none = torch.zeros(4, 4, dtype=torch.bool)
    torch.testing.assert_close(
        DocumentToQuery(0.5)(scores.T, own, none).float(), Contrastive(0.5)(scores.T, own)
    )
    assert float(DocumentToQuery(0.5)(scores.T, own, none)) != pytest.approx(
        float(Contrastive(0.5)(scores, own)), abs=1e-3
    )


def test_a_learned_temperature_has_its_slope() -> None:
    scores, own = random_scores(3, 4, 4), torch.arange(4)
    none = torch.zeros(4, 4, dtype=torch.bool)
    term = DocumentToQuery(0.5, learnable=True)
    assert term.learned() == {"temperature": 0.5}
    assert DocumentToQuery(0.5).learned() == {}
    leaf = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    term(scores, own, none, leaf).backward()
    step = 1e-6
    up, down = (loop(scores.tolist(), [0, 1, 2, 3], [set()] * 4, 0.5 + sign * step) for sign in (1, -1))
    assert leaf.grad is not None
    assert float(leaf.grad) == pytest.approx((up - down) / (2 * step), abs=1e-6)


def test_the_reference_is_the_loss(student_settings: dict[str, Any]) -> None:
    """On rows whose queries occur twice, with another positive each time."""
    target = f"{DocumentToQuery.__module__}.DocumentToQuery"
    check_reference({"_target_": target, "temperature": 0.7}, student_settings)


def test_a_batch_of_one_query_has_no_contrast() -> None:
    message = r"^phases\.x\.objective\.y\.weight: a batch of one query .* raise phases\.x\.batch_size"
    with pytest.raises(InputError, match=message):
        DocumentToQuery(0.2).check("phases.x.objective.y", [make_lists()], 1, 1)
