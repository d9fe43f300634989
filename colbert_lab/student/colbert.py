"""The ColBERT model: a backbone, a head, one unit vector per token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F  # noqa: N812
from torch import nn

from colbert_lab.types import Embeddings, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ColBERT(nn.Module):
    """Contextual token embeddings for late interaction (Khattab & Zaharia 2020).

    Args:
        backbone: any Hugging Face encoder with ``last_hidden_state``.
        head: maps hidden states [..., H] to embeddings [..., D].
    """

    def __init__(self, backbone: PreTrainedModel, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, tokens: Tokens) -> Embeddings:
        """Embed a padded batch.

        Args:
            tokens: ids and masks [N, L].

        Returns:
            Unit-length float32 embeddings [N, L, D] with the tokens' score mask. The norm is taken in
            float32 whatever the precision of the encoder.
        """
        hidden_NLH = self.backbone(
            input_ids=tokens.input_ids_NL, attention_mask=tokens.attention_mask_NL
        ).last_hidden_state
        return Embeddings(F.normalize(self.head(hidden_NLH).float(), dim=-1), tokens.score_mask_NL)
