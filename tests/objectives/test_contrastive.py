import math

import pytest
import torch

from colbert_lab.errors import InputError
from colbert_lab.objectives.contrastive import Contrastive
from colbert_lab.objectives.distillation import Distillation, Side
from colbert_lab.objectives.mix import Mix


def test_equals_a_float64_loop_with_ignored_columns() -> None:
    scores_BN = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    positive_B = torch.tensor([0, 2, 4])
    ignore_BN = torch.zeros(3, 5, dtype=torch.bool)
    ignore_BN[0, 1] = ignore_BN[2, 0] = True
    ignore_BN[1, 2] = True  # the positive itself is never ignored
    expected = 0.0
    for b in range(3):
        p = int(positive_B[b])
        kept = [n for n in range(5) if n == p or not ignore_BN[b, n]]
        weights = {n: math.exp(float(scores_BN[b, n].double()) / 0.5) for n in kept}
        expected -= math.log(weights[p] / sum(weights.values())) / 3
    loss = Contrastive(0.5)(scores_BN, positive_B, ignore_BN)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_temperature_must_be_positive() -> None:
    with pytest.raises(InputError, match="temperature=0"):
        Contrastive(0.0)


def test_a_mix_with_nothing_in_it_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to minimise"):
        Mix(Distillation(Side(), Side()), Contrastive(1.0), 0.0, 0.0)
    with pytest.raises(InputError, match="0 or more"):
        Mix(Distillation(Side(), Side()), Contrastive(1.0), -1.0, 1.0)
