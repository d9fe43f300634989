import math

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.training.objectives.contrastive import Contrastive, first_B, ignored


def loop(
    scores: list[list[float]],
    keys: list[int],
    rows: list[list[int]],
    teacher: list[list[float]] | None,
    temperature: float,
    ratio: float | None,
    own: bool = True,
    others: bool = True,
) -> float:
    """InfoNCE in plain float64: every document counts once, unless it is the positive or is to be left out."""
    total = 0.0
    for b, line in enumerate(scores):
        positive = rows[b][0]
        dropped = {keys[positive]}
        if ratio is not None and teacher is not None:
            dropped |= {
                keys[rows[b][k]] for k in range(1, len(rows[b])) if teacher[b][k] > ratio * teacher[b][0]
            }
        mine = {keys[row] for row in rows[b][1:]}
        dropped |= set() if own else mine
        dropped |= set() if others else set(keys) - mine
        counted = [positive] + [keys.index(key) for key in dict.fromkeys(keys) if key not in dropped]
        total += (
            math.log(sum(math.exp(line[n] / temperature) for n in counted)) - line[positive] / temperature
        )
    return total / len(scores)


@pytest.mark.parametrize("ratio", [None, 0.9, 0.3])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_equals_a_loop_with_duplicates_and_filtered_negatives(
    ratio: float | None, temperature: float
) -> None:
    generator = torch.Generator().manual_seed(4)
    scores = torch.rand(3, 8, generator=generator, dtype=torch.float64)
    keys = torch.tensor([10, 11, 12, 10, 14, 15, 11, 17])
    rows = torch.tensor([[0, 4, 5], [1, 3, 7], [2, 6, 4]])
    teacher = torch.rand(3, 3, generator=generator) + 0.5
    ignore = ignored(keys, rows, teacher, ratio)
    loss = Contrastive(temperature, False, ratio)(scores.float(), rows[:, 0], ignore)
    expected = loop(scores.tolist(), keys.tolist(), rows.tolist(), teacher.tolist(), temperature, ratio)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_what_the_teacher_puts_above_a_positive_below_zero_is_no_negative() -> None:
    keys, rows = torch.tensor([1, 2, 3]), torch.tensor([[0, 1, 2]])
    out = ignored(keys, rows, torch.tensor([[-2.0, -1.9, -8.0]]), 0.9)
    assert out[0, 1:].tolist() == [True, False]


@pytest.mark.parametrize(("own", "others"), [(False, True), (True, False)])
@pytest.mark.parametrize("ratio", [None, 0.9])
def test_own_negatives_or_those_of_the_batch_are_left_out(
    own: bool, others: bool, ratio: float | None
) -> None:
    generator = torch.Generator().manual_seed(4)
    scores = torch.rand(3, 8, generator=generator, dtype=torch.float64)
    # Document 3 is a copy of the first query's positive, document 6 of its negative 1: other queries' rows share them.
    keys = torch.tensor([10, 11, 12, 10, 14, 15, 11, 17])
    rows = torch.tensor([[0, 1, 5], [4, 3, 7], [2, 6, 4]])
    teacher = torch.rand(3, 3, generator=generator) + 0.5
    ratio = ratio if own else None
    ignore = ignored(keys, rows, teacher, ratio, own, others)
    loss = Contrastive(0.3, False, ratio, own, others)(scores.float(), rows[:, 0], ignore)
    plain = loop(scores.tolist(), keys.tolist(), rows.tolist(), teacher.tolist(), 0.3, ratio, own, others)
    assert float(loss) == pytest.approx(plain, abs=1e-6)
    everything = loop(scores.tolist(), keys.tolist(), rows.tolist(), teacher.tolist(), 0.3, ratio)
    assert abs(plain - everything) > 0.1


def test_gradient_equals_finite_differences() -> None:
    generator = torch.Generator().manual_seed(5)
    scores = torch.rand(2, 5, generator=generator)
    keys, rows = torch.tensor([1, 2, 3, 1, 5]), torch.tensor([[0, 2], [1, 4]])
    ignore = ignored(keys, rows, None, None)
    log_temperature = torch.tensor(-1.2, requires_grad=True)
    leaf = scores.clone().requires_grad_()
    objective = Contrastive(1.0, learnable=True)
    objective(leaf, rows[:, 0], ignore, log_temperature.exp()).backward()

    def value(changed: torch.Tensor, log_t: float) -> float:
        return loop(changed.double().tolist(), keys.tolist(), rows.tolist(), None, math.exp(log_t), None)

    assert leaf.grad is not None
    assert log_temperature.grad is not None
    step = 1e-4
    for b in range(2):
        for n in range(5):
            up, down = scores.double(), scores.double()
            up[b, n] += step
            down[b, n] -= step
            slope = (value(up, -1.2) - value(down, -1.2)) / (2 * step)
            assert float(leaf.grad[b, n]) == pytest.approx(slope, abs=1e-5)
    slope = (value(scores, -1.2 + step) - value(scores, -1.2 - step)) / (2 * step)
    assert float(log_temperature.grad) == pytest.approx(slope, abs=1e-5)


def test_a_copy_of_the_positive_gets_no_gradient() -> None:
    scores = torch.zeros(1, 3, requires_grad=True)
    ignore = ignored(torch.tensor([7, 7, 8]), torch.tensor([[0]]), None, None)
    Contrastive(1.0)(scores, torch.tensor([0]), ignore).backward()
    assert scores.grad is not None
    assert scores.grad[0, 1] == 0
    assert scores.grad[0, 0] == -0.5


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ((1.0, False, 0.9, False), "false_negative_ratio: has no effect with own_negatives=false"),
        ((1.0, False, None, False, False), "nothing to contrast with"),
    ],
)
def test_bad_settings(settings: tuple[float, ...], key: str) -> None:
    with pytest.raises(InputError, match=key):
        Contrastive(*settings)  # type: ignore[arg-type]


def test_logged_is_how_many_queries_have_their_positive_first() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 2.5], [1.0, 2.0, 2.0, 0.0], [0.5, 0.1, 0.2, 0.9]])
    positive = torch.tensor([[0], [1], [0]])
    ignore = torch.zeros(3, 4, dtype=torch.bool)
    # The second has an equal one, the third a better one.
    assert first_B(scores, positive, ignore).tolist() == [1.0, 0.0, 0.0]
    ignore[1, 2] = ignore[2, 3] = True
    ignore[0, 0] = True  # the positive itself is never left out
    assert first_B(scores, positive, ignore).tolist() == [1.0, 1.0, 1.0]
