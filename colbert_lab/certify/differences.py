"""How far numbers are from those they should be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def relative(ours: Tensor, truth: Tensor) -> float:
    """Largest difference as a share of the largest true value; infinite where the shapes differ."""
    if ours.shape != truth.shape:
        return math.inf
    apart = _wide(ours) - _wide(truth)
    return _share(float(apart.abs().max()), float(truth.abs().max()))


def loss_difference(ours: float, truth: float) -> float:
    """Difference of losses in nats, as a share of the true one where that is above 1."""
    return abs(ours - truth) / max(1.0, abs(truth))


def gradient_difference(ours: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> tuple[float, float]:
    """How far a whole gradient is from the true one.

    Args:
        ours: gradient of each parameter; those without one are zero.
        truth: the same, on the same device.

    Returns:
        The norm of the difference as a share of the true norm, and 1 - the cosine of the two.
    """
    apart = norm = own = product = 0.0
    for name in ours.keys() | truth.keys():
        a, b = (_wide(side[name]) if name in side else None for side in (ours, truth))
        if a is not None:
            own += float(a.square().sum())
        if b is not None:
            norm += float(b.square().sum())
        if a is not None and b is not None:
            apart += float((a - b).square().sum())
            product += float((a * b).sum())
        else:
            apart += float((a if a is not None else b).square().sum())  # type: ignore[union-attr]
    cosine = product / math.sqrt(own * norm) if own * norm != 0 else float(own == norm)
    return _share(math.sqrt(apart), math.sqrt(norm)), 1 - cosine


def same_bits(ours: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> float:
    """Share of values that are not the same bits (by value: NaN equals nothing); 1 where names differ."""
    if ours.keys() != truth.keys():
        return 1.0
    total = sum(value.numel() for value in truth.values())
    return sum(int((ours[name] != value).sum()) for name, value in truth.items()) / max(1, total)


def token_cosines(ours: Sequence[Tensor], truth: Sequence[Tensor]) -> tuple[float, float]:
    """1 - cosine of each token with the true one, at worst and on average.

    Args:
        ours: embeddings [L, D] of each text.
        truth: the same.
    """
    if [text.shape for text in ours] != [text.shape for text in truth]:
        return math.inf, math.inf
    a, b = _wide(torch.cat(list(ours))), _wide(torch.cat(list(truth)))
    away = 1 - torch.nn.functional.cosine_similarity(a, b, dim=-1)
    return float(away.max()), float(away.mean())


def largest_difference(ours: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Largest distance of a token's vector from the true one (these have length 1), over texts [L, D]."""
    if [text.shape for text in ours] != [text.shape for text in truth]:
        return math.inf
    apart = [float((_wide(a) - _wide(b)).norm(dim=-1).max()) for a, b in zip(ours, truth, strict=True)]
    return worst(apart)


def swapped(ours: Tensor, truth: Tensor) -> float:
    """Share of pairs in a row that are in another order, over all rows (Kendall's tau is 1 - 2 times this).

    Args:
        ours: scores [B, N].
        truth: the same.
    """
    if ours.shape != truth.shape:
        return math.inf
    first, second = torch.triu_indices(truth.shape[1], truth.shape[1], offset=1, device=truth.device)
    a, b = (torch.sign(scores[:, first] - scores[:, second]) for scores in (ours, truth))
    pairs = int((b != 0).sum())  # the truth says nothing of ties
    return int(((a != b) & (b != 0)).sum()) / max(1, pairs)


def worst(values: Sequence[float]) -> float:
    """The largest; not a number where one of them is not."""
    return math.nan if any(math.isnan(value) for value in values) else max(values)


def _wide(values: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return values.cpu().double() if values.device.type == "mps" else values.double()


def _share(part: float, whole: float) -> float:
    if whole == 0:
        return 0.0 if part == 0 else math.inf
    return part / whole
