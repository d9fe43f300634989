"""Values with many tensors, as one tensor."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from colbert_lab.base.types import Tokens
from colbert_lab.model.sending import ALIGNED, Sent


@dataclass(frozen=True)
class Value:
    chunks: tuple[Tokens, ...]
    scores: Tensor | None
    words: tuple[str, ...]


def tokens(rows: int, width: int) -> Tokens:
    ids = torch.arange(rows * width).view(rows, width)
    return Tokens(ids, torch.ones_like(ids), ids % 2 == 0)


@pytest.mark.parametrize(
    "scores", [None, torch.rand(3, 5), torch.rand(5, 3).T, torch.zeros(0, 4), torch.tensor(2.5)]
)
def test_a_value_comes_out_as_it_was(scores: Tensor | None) -> None:
    value = Value(tuple(tokens(rows, width) for rows, width in ((1, 3), (4, 7), (2, 1))), scores, ("a", "b"))
    sent = Sent.of(value)
    found: Value = sent.opened()
    assert found.words == value.words
    for mine, theirs in zip(found.chunks, value.chunks, strict=True):
        for name in ("input_ids_NL", "attention_mask_NL", "score_mask_NL"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))
            assert getattr(mine, name).dtype == getattr(theirs, name).dtype
    assert (found.scores is None) == (scores is None)
    if scores is not None and found.scores is not None:
        assert torch.equal(found.scores, scores)
    assert len(sent.tensors) % ALIGNED == 0
    assert b"input_ids" in sent.rest
    assert len(sent.rest) < 2000


def test_what_was_sent_shares_its_memory() -> None:
    sent = Sent.of([torch.zeros(3), torch.ones(2, dtype=torch.bool)])
    sent.tensors[:12] = torch.full((3,), 7.0).view(torch.uint8)
    assert sent.opened()[0].tolist() == [7.0] * 3
    assert Sent.of("no tensors").opened() == "no tensors"
