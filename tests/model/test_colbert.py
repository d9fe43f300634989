"""Heads of one and of several layers, of the ColBERT model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from colbert_lab.base.errors import InputError
from colbert_lab.model.changing import widened
from colbert_lab.model.colbert import Head, LayerShape, head_from, head_shapes, widen
from colbert_lab.model.encode import encode
from tests.tiny import sentences
from tests.toy import new_student

HIDDEN, DIM = 8, 6


def double(value: torch.Tensor) -> torch.Tensor:
    return value.detach().double()


def test_a_linear_head_is_one_matrix() -> None:
    head = Head(head_shapes(HIDDEN, DIM))
    x = torch.randn(3, 4, HIDDEN)
    assert list(head.state_dict()) == ["0.linear.weight"]
    expected = double(x) @ double(head.state_dict()["0.linear.weight"]).T
    torch.testing.assert_close(head(x).double(), expected, atol=1e-6, rtol=0)
    assert head.out_features == DIM


def test_a_feed_forward_head_with_residuals_by_its_formula() -> None:
    head = Head(head_shapes(HIDDEN, DIM, bias=True, depth=2, width=2.0, activation="GELU", residual=True))
    w = {name: double(value) for name, value in head.state_dict().items()}
    x = torch.randn(5, HIDDEN)
    h = F.gelu(double(x) @ w["0.linear.weight"].T + w["0.linear.bias"]) + double(x) @ w["0.residual.weight"].T
    y = h @ w["1.linear.weight"].T + w["1.linear.bias"] + h @ w["1.residual.weight"].T
    torch.testing.assert_close(head(x).double(), y, atol=1e-6, rtol=0)


def test_a_residual_of_equal_widths_is_the_input_itself() -> None:
    head = Head([LayerShape(HIDDEN, HIDDEN, residual=True)])
    x = torch.randn(5, HIDDEN)
    assert list(head.state_dict()) == ["0.linear.weight"]
    torch.testing.assert_close(head(x), x @ head.state_dict()["0.linear.weight"].T + x)


def test_a_gated_head_by_its_formula() -> None:
    head = Head(head_shapes(HIDDEN, DIM, depth=2, width=1.5, activation="SiLU", gated=True))
    w = {name: double(value) for name, value in head.state_dict().items()}
    x = torch.randn(5, HIDDEN)
    h = F.silu(double(x) @ w["0.linear.weight"].T) * (double(x) @ w["0.value.weight"].T)
    torch.testing.assert_close(head(x).double(), h @ w["1.linear.weight"].T, atol=1e-6, rtol=0)
    assert h.shape[1] == 12


def test_the_stack_has_the_widths_of_the_published_one() -> None:
    """384 -> 768 -> 768 -> 128: the architecture on the card of Reason-mxbai-colbert-v0-32m."""
    shapes = head_shapes(384, 128, depth=3, width=2.0)
    assert [(s.inputs, s.outputs, s.bias) for s in shapes] == [
        (384, 768, False), (768, 768, False), (768, 128, False),
    ]  # fmt: skip


def test_a_head_goes_through_plain_values() -> None:
    head = Head(head_shapes(HIDDEN, DIM, depth=2, width=2.0, activation="Tanh", gated=True))
    again = head_from([shape.to_dict() for shape in head.shapes])
    again.load_state_dict(head.state_dict())
    x = torch.randn(2, HIDDEN)
    assert torch.equal(head(x), again(x))


def test_widening_keeps_rows_exactly_and_draws_small_new_ones() -> None:
    torch.manual_seed(0)
    head = Head([LayerShape(64, 64), LayerShape(64, 64, bias=True)])
    wide = widen(head, 4096)
    old, new = head.state_dict(), wide.state_dict()
    assert torch.equal(new["0.linear.weight"], old["0.linear.weight"])
    assert torch.equal(new["1.linear.weight"][:64], old["1.linear.weight"])
    assert torch.equal(new["1.linear.bias"][:64], old["1.linear.bias"])
    added = new["1.linear.weight"][64:]
    # 4,032 x 64 draws: their standard deviation is within 1% of the wanted one.
    assert float(added.std()) == pytest.approx(0.1 * float(old["1.linear.weight"].std()), rel=0.01)
    assert bool((added != 0).all())


def test_a_widened_student_scores_almost_as_before(student_settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    student = new_student(**student_settings)
    wide = widened(student, 32)
    texts = sentences(4)
    before, after = (encode(s, texts, "document", token_budget=999).emb_TD for s in (student, wide))
    assert after.shape[1] == 2 * before.shape[1]
    assert bool((after[:, 16:] != 0).all())
    # 16 new dimensions of a tenth of the spread take about 1% of a vector's length squared.
    torch.testing.assert_close(after @ after.T, before @ before.T, atol=0.05, rtol=0)
    assert not torch.equal(after[:, :16], before)
    torch.testing.assert_close(F.normalize(after[:, :16], dim=1), before, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"width": 2.0}, "head.width: is for the layers before the last"),
        ({"activation": "GELU"}, "head.activation: is for"),
        ({"residual": True}, "head.residual: is for"),
        ({"gated": True}, "head.gated: is for"),
        ({"depth": 2, "width": 0.0}, "leaves no width"),
        ({"dim": None, "depth": 2}, "no effect without a head"),
        ({"dim": None, "residual": True}, "no effect without a head"),
        ({"dim": None, "bias": True}, "no effect without a head"),
    ],
)
def test_bad_settings(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        head_shapes(HIDDEN, **({"dim": DIM} | settings))


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(InputError, match="activation=Bilinear: must be one of"):
        Head(head_shapes(HIDDEN, DIM, depth=2, activation="Bilinear"))


def test_what_cannot_be_widened() -> None:
    with pytest.raises(InputError, match="no head to widen"):
        widen(Head([]), 4)
    with pytest.raises(InputError, match="ask for more"):
        widen(Head([LayerShape(HIDDEN, DIM)]), DIM)
    with pytest.raises(InputError, match="adds its input as it is"):
        widen(Head([LayerShape(HIDDEN, HIDDEN, residual=True)]), 2 * HIDDEN)


def test_layers_that_do_not_fit_each_other() -> None:
    with pytest.raises(InputError, match="a layer of width 5 feeds one of 6"):
        Head([LayerShape(4, 5), LayerShape(6, 7)])
