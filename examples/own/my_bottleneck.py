"""A head: through a narrow layer, with a gate that is learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from colbert_lab.model.projection import Projection
from colbert_lab.settings.allowed import whole


class Gated(nn.Module):
    """Hidden states to embeddings, each token by itself."""

    def __init__(self, inputs: int, width: int, dim: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(inputs, width), nn.Linear(width, dim)
        self.gate = nn.Parameter(torch.zeros(dim))

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., inputs] to [..., dim]."""
        embedded: Tensor = self.up(self.down(hidden).tanh()) * (1 + self.gate)
        return embedded


@dataclass(frozen=True, kw_only=True)
class Bottleneck(Projection):
    """See :class:`Gated`.

    Args:
        width: of the narrow layer.
    """

    width: int = whole(1, default=8)

    def layers(self, inputs: int, dim: int) -> nn.Module:
        """The module that is trained."""
        return Gated(inputs, self.width, dim)
