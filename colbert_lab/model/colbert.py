"""The ColBERT model: a backbone, a head, one unit vector per token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F  # noqa: N812
from torch import nn

from colbert_lab.base.types import Embeddings, Tokens
from colbert_lab.model.heads import Head
from colbert_lab.model.projection import ProjectionHead

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ColBERT(nn.Module):
    """Contextual token embeddings for late interaction (Khattab & Zaharia 2020), or their dense twin.

    The dense twin pools the tokens into one vector; MaxSim of single vectors is their cosine, so it goes through the
    same training, search and tables.

    Args:
        backbone: any Hugging Face encoder with ``last_hidden_state``.
        head: maps hidden states [..., H] to embeddings [..., D].
        pooling: None for one vector a token; ``mean`` over attended tokens or ``cls`` for one vector a text.
    """

    def __init__(
        self, backbone: PreTrainedModel, head: Head | ProjectionHead, pooling: str | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.pooling = pooling

    @property
    def dim(self) -> int:
        """Dimensions of an embedding."""
        return self.head.out_features or int(self.backbone.config.hidden_size)

    def forward(self, tokens: Tokens) -> Embeddings:
        """Embed a padded batch.

        Args:
            tokens: ids and masks [N, L].

        Returns:
            Unit-length float32 embeddings [N, L, D] with the tokens' score mask, or [N, 1, D] when pooled. The norm is
            taken in float32 whatever the precision of the encoder.
        """
        hidden_NLH = self.backbone(
            input_ids=tokens.input_ids_NL, attention_mask=tokens.attention_mask_NL
        ).last_hidden_state
        if self.pooling is None:
            return Embeddings(F.normalize(self.head(hidden_NLH).float(), dim=-1), tokens.score_mask_NL)
        if self.pooling == "mean":
            mask_NL1 = tokens.attention_mask_NL.unsqueeze(-1)
            pooled_NH = (hidden_NLH.float() * mask_NL1).sum(dim=1) / mask_NL1.sum(dim=1)
        else:
            pooled_NH = hidden_NLH[:, 0]
        emb_ND = F.normalize(self.head(pooled_NH).float(), dim=-1)
        return Embeddings(emb_ND.unsqueeze(1), tokens.score_mask_NL.any(dim=1, keepdim=True))


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
