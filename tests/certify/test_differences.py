"""Distances."""

from __future__ import annotations

import math

import pytest
import torch

from colbert_lab.certify.differences import (
    gradient_difference,
    largest_difference,
    loss_difference,
    relative,
    same_bits,
    swapped,
    token_cosines,
    worst,
)


def test_relative() -> None:
    assert relative(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0])) == pytest.approx(0.25)
    assert relative(torch.zeros(2), torch.zeros(2)) == 0
    assert relative(torch.ones(2), torch.zeros(2)) == math.inf
    assert relative(torch.ones(3), torch.ones(2)) == math.inf
    assert math.isnan(relative(torch.tensor([math.nan]), torch.ones(1)))


def test_losses_below_one_are_compared_in_nats() -> None:
    assert loss_difference(0.2, 0.1) == pytest.approx(0.1)
    assert loss_difference(11.0, 10.0) == pytest.approx(0.1)


def test_gradients() -> None:
    truth = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    assert gradient_difference(truth, truth) == pytest.approx((0, 0))
    doubled = {name: 2 * value for name, value in truth.items()}
    assert gradient_difference(doubled, truth) == pytest.approx((1, 0))
    # A parameter without a gradient has one of zero, on either side.
    assert gradient_difference({"a": truth["a"]}, truth) == pytest.approx((0.8, 0.4))
    assert gradient_difference(truth, {"b": truth["b"]}) == pytest.approx((0.75, 0.2))
    assert gradient_difference({}, {}) == (0, 0)
    assert gradient_difference(truth, {})[0] == math.inf


def test_bits() -> None:
    truth = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])}
    assert same_bits(truth, truth) == 0
    assert same_bits({"a": torch.tensor([1.0, 2.0000002]), "b": truth["b"]}, truth) == 0.25
    assert same_bits({"a": truth["a"]}, truth) == 1
    nothing = {"a": torch.tensor([math.nan, 2.0]), "b": truth["b"]}
    assert same_bits(nothing, nothing) == 0.25


def test_tokens() -> None:
    plain = [torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0]])]
    turned = [torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0]])]
    assert token_cosines(turned, plain) == pytest.approx((1, 1 / 3))
    assert largest_difference(turned, plain) == pytest.approx(math.sqrt(2))
    assert token_cosines(plain[:1], plain) == (math.inf, math.inf)
    assert largest_difference([plain[0][:1], plain[1]], plain) == math.inf


def test_swapped_pairs() -> None:
    truth = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    assert swapped(truth, truth) == 0
    assert swapped(-truth, truth) == 1
    assert swapped(torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]]), truth) == pytest.approx(1 / 6)
    # A new tie is a change; a tie of the truth has no order.
    assert swapped(torch.tensor([[3.0, 2.0, 2.0], [1.0, 2.0, 3.0]]), truth) == pytest.approx(1 / 6)
    assert swapped(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]])) == 0


def test_the_worst_of_something_unknown_is_unknown() -> None:
    assert worst([1.0, 2.0]) == 2
    assert math.isnan(worst([math.nan, 2.0]))
    assert math.isnan(worst([2.0, math.nan]))
