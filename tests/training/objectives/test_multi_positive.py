"""Several positives of a query: SupCon's formula in float64, and what counts as a positive."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.training.objectives.contrastive import Contrastive
from colbert_lab.training.objectives.multi_positive import MultiPositive
from tests.training.objectives.support import (
    Rows,
    check_loss_and_slopes,
    check_reference,
    phase_with,
    random_scores,
)
from tests.training.support import make_lists

TARGET = f"{MultiPositive.__module__}.MultiPositive"
Sets = list[set[int]]


def loop(scores: Rows, positives: Sets, negatives: Sets, temperature: float) -> float:
    """Khosla et al. 2020, equation 2: of each query the mean over its positives, their shares among everything."""
    total = 0.0
    for row, good, bad in zip(scores, positives, negatives, strict=True):
        everything = sum(math.exp(row[n] / temperature) for n in good | bad)
        total += sum(-math.log(math.exp(row[n] / temperature) / everything) for n in good) / len(good)
    return total / len(scores)


def masks(sets: Sets, columns: int = 5) -> torch.Tensor:
    return torch.tensor([[n in some for n in range(columns)] for some in sets])


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize(
    ("positives", "negatives"),
    [([{0}, {1, 2}, {0, 3, 4}], [{1, 2, 3, 4}, {0, 3}, {1}]), ([{0, 1}, {2}, {3}], [{2}, {0}, {0, 1, 2, 4}])],
)
def test_loss_and_gradient_equal_a_float64_loop(positives: Sets, negatives: Sets, temperature: float) -> None:
    term = MultiPositive(temperature)
    check_loss_and_slopes(
        lambda scores: term.several(scores, masks(positives), masks(negatives), temperature),
        lambda rows: loop(rows, positives, negatives, temperature),
        random_scores(1),
    )


def test_it_is_the_cross_entropy_of_shared_labels() -> None:
    """PyTorch's own, whose target is spread evenly over the positives."""
    scores, positives = random_scores(2), masks([{0, 1}, {2}, {0, 3, 4}])
    ours = MultiPositive(0.4).several(scores, positives, ~positives, 0.4)
    target = positives.double() / positives.sum(dim=1, keepdim=True)
    torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(scores / 0.4, target))


def test_one_positive_makes_the_contrastive_loss() -> None:
    scores = random_scores(3)
    ours = MultiPositive(0.4).several(scores, masks([{0}, {2}, {4}]), ~masks([{0}, {2}, {4}]), 0.4)
    torch.testing.assert_close(ours.float(), Contrastive(0.4)(scores, torch.tensor([0, 2, 4])))


@pytest.mark.parametrize(
    "changes",
    [{}, {"own_negatives": False}, {"batch_negatives": False}, {"false_negative_ratio": 0.5}],
    ids=["all", "no own negatives", "own list alone", "ratio"],
)
def test_the_reference_is_the_loss(changes: dict[str, Any], student_settings: dict[str, Any]) -> None:
    """On rows whose queries occur twice, with another positive each time."""
    check_reference({"_target_": TARGET, "temperature": 0.7, **changes}, student_settings)


def test_other_positives_change_the_loss(student_settings: dict[str, Any]) -> None:
    phase = phase_with({"term": {"_target_": TARGET, "temperature": 0.7}}, student_settings)
    batch = phase.batches[0]
    found = batch.positives.among(batch.keys_N).sum(dim=1)
    assert int((found == 2).sum()) >= 4, "queries have two positives in the batch"


def test_data_with_one_positive_a_query_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^phases\.x\.objective\.y\.weight: is the same as contrastive here"
    ):
        MultiPositive(0.2).check("phases.x.objective.y", [make_lists()], 4, 4)
