"""Attention for CPUs: plain matrix products where gradients are needed, PyTorch's fused kernel elsewhere.

The fused kernel is the faster one forward, and on a CPU with bf16 the much slower one backward. transformers' own
eager attention adds a float32 mask to the scores, so that with any padding all that follows is computed and kept in
float32, whatever the precision of the encoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, bidirectional_mask_function, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from colbert_lab.base.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "matmul"


def matmul_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1), as transformers calls it.

    Args:
        module: the attention layer.
        query: [N, heads, L, dim of a head].
        key: [N, heads (or a divisor of them), L, dim of a head].
        value: like ``key``.
        attention_mask: 0 where a token is attended to, the lowest number elsewhere, [N or 1, 1, L or 1, L]; None
            attends to everything.
        scaling: of the scores; None for one over the root of the head's dimensions.
        dropout: of the attention weights.
        position_bias: added to the scores.
        others: what other kinds of attention take; none of it may be set.

    Returns:
        [N, L, heads, dim of a head], and no weights.

    Raises:
        NotImplementedError: the backbone asks for a kind of attention that this is not.
    """
    unknown = [name for name in ("softcap", "s_aux") if others.get(name) is not None]
    if unknown:
        raise NotImplementedError(f"student.attention={NAME}: has no {unknown[0]}; set it to eager")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    # Float32's lowest number is -inf in bf16, and a token that attends to nothing would be NaN.
    lowest = torch.finfo(value.dtype).min
    mask = None if attention_mask is None else attention_mask.clamp(min=lowest).to(value.dtype)
    if not torch.is_grad_enabled():
        if position_bias is not None:
            mask = position_bias if mask is None else mask + position_bias
        out = nn.functional.scaled_dot_product_attention(query, key, value, mask, dropout, scale=scaling)
        return out.transpose(1, 2).contiguous(), None
    scores = torch.matmul(
        query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(2, 3)
    )
    for bias in (mask, position_bias):
        if bias is not None:
            scores += bias
    weights = nn.functional.dropout(scores.softmax(dim=-1), dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None


def make_mask(dtype: torch.dtype = torch.float32, **asked: Any) -> Tensor | None:
    """The mask of eager attention, with one row for all tokens of a text where they attend to the same ones.

    They do in encoders that look both ways, where only padding is left out: a mask of L rows would be made, clamped and
    read for every text and layer, and with few heads it is not much smaller than the scores.

    Args:
        dtype: of the mask.
        asked: what transformers asks a mask for (``sdpa_mask``).

    Returns:
        See :func:`matmul_attention`.
    """
    rows = {"q_length": 1} if asked["mask_function"] is bidirectional_mask_function else {}
    attended: Tensor | None = sdpa_mask(**asked | rows | {"allow_is_causal_skip": False})
    if attended is None:
        return None
    zero = torch.zeros((), dtype=dtype, device=attended.device)
    return torch.where(attended, zero, torch.finfo(dtype).min)


def can_be_chosen(backbone: PreTrainedModel) -> bool:
    """Whether a backbone asks transformers for its attention; MPNet, for one, has only its own."""
    return bool(backbone._supports_attention_backend)


def pick_attention(attention: str) -> str:
    """What to load a backbone with: for ``auto`` ``sdpa`` with a GPU and ``eager`` without.

    Raises:
        InputError: transformers knows none of this name, and it is not that of a kernel on the hub (``owner/name``).
    """
    known = ("auto", "eager", *sorted(ALL_ATTENTION_FUNCTIONS.valid_keys()))
    if attention not in known and "/" not in attention:
        raise InputError(f"student.attention={attention}: must be one of {', '.join(known)}")
    if attention != "auto":
        return attention
    return "sdpa" if torch.cuda.is_available() else "eager"


AttentionInterface.register(NAME, matmul_attention)
AttentionMaskInterface.register(NAME, make_mask)
