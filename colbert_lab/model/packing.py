"""Encoding without padding: the texts of a batch lie end to end in one row, and each attends to itself alone.

``student.attention=packed``. All layers compute real tokens alone. On a GPU it takes PyTorch's kernel for texts of
unequal lengths (``torch.nn.attention.varlen``); where that cannot be had (float32, dropout of attention), a warning
says so and texts are padded. Elsewhere texts of one length are computed together, by ``matmul_attention``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import warn_once
from colbert_lab.base.types import Tokens
from colbert_lab.model.attention import make_mask, matmul_attention
from colbert_lab.model.devices import upload

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "packed"
DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "attn_dropout")
"""Names that configurations have for the dropout of attention weights."""
SAME = 1e-4
"""Hidden states of a text, packed and alone, differ by less than this share of the largest: rounding is far below."""


@dataclass(frozen=True)
class Packed:
    """The attended tokens of a padded batch, text after text, the shortest first.

    Attributes:
        shape: of the padded batch, N texts and L tokens.
        lengths: attended tokens of each text, rising.
        places: where each token is in the padded batch, [T].
        positions: of each token in its text, [T].
        ends: where texts begin and end, int32 [N + 1].
    """

    shape: tuple[int, int]
    lengths: tuple[int, ...]
    places: Tensor
    positions: Tensor
    ends: Tensor

    @classmethod
    def of(cls, tokens: Tokens) -> Packed | None:
        """A batch without its padding; a device is waited for once.

        Returns:
            None where there is none, or where a token scores that is not attended (``student.expansion=unattended``).
        """
        device = tokens.attention_mask_NL.device
        attended, scored = torch.stack([tokens.attention_mask_NL.bool(), tokens.score_mask_NL]).cpu()
        if bool(attended.all()) or bool((scored & ~attended).any()):
            return None
        n, width = attended.shape
        lengths_N = attended.sum(dim=1)
        order = lengths_N.argsort(stable=True)
        rows, columns = attended[order].nonzero(as_tuple=True)
        ends = torch.cat([lengths_N.new_zeros(1), lengths_N[order].cumsum(0)])
        return cls(
            (n, width),
            tuple(lengths_N[order].tolist()),
            upload(order[rows] * width + columns, device),
            upload(torch.arange(len(rows)) - ends[rows], device),
            upload(ends.to(torch.int32), device),
        )

    def hidden_states(self, backbone: PreTrainedModel, tokens: Tokens) -> Tensor:
        """A backbone's hidden states of the padded batch [N, L, H], zero where there is padding."""
        ids = tokens.input_ids_NL.flatten()[self.places]
        with self._attended():
            found = backbone(input_ids=ids[None], attention_mask=None, position_ids=self.positions[None])
        hidden_TH: Tensor = found.last_hidden_state[0]
        n, width = self.shape
        empty = hidden_TH.new_zeros(n * width, hidden_TH.shape[1])
        return empty.index_copy(0, self.places, hidden_TH).view(n, width, -1)

    @contextmanager
    def _attended(self) -> Iterator[None]:
        token = _packed.set(self)
        try:
            yield
        finally:
            _packed.reset(token)


_packed: ContextVar[Packed | None] = ContextVar("packed", default=None)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention of each text with itself, as transformers calls it.

    Args:
        module: the attention layer.
        query: [1, heads, T, dim of a head], of texts end to end; where a batch is padded, [N, heads, L, dim].
        key: [1, heads (or a divisor of them), T, dim of a head], or padded.
        value: like ``key``.
        attention_mask: None, or that of a padded batch.
        scaling: of the scores; None for one over the root of the head's dimensions.
        dropout: of the attention weights.
        sliding_window: one more than the farthest token that a token attends to; None for all of its text.
        others: see :func:`colbert_lab.model.attention.matmul_attention`.

    Returns:
        [1, T, heads, dim of a head], or padded, and no weights.

    Raises:
        NotImplementedError: the backbone asks for a kind of attention that this is not.
    """
    texts, kind = _packed.get(), query.device.type
    if texts is None:
        other = matmul_attention if kind == "cpu" else ALL_ATTENTION_FUNCTIONS["sdpa"]
        found: tuple[Tensor, None] = other(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout,
            sliding_window=sliding_window, **others,
        )  # fmt: skip
        return found
    if unknown := [name for name in ("position_bias", "softcap", "s_aux") if others.get(name) is not None]:
        raise NotImplementedError(f"student.attention={NAME}: has no {unknown[0]}")
    causal = bool(getattr(module, "is_causal", True))
    if torch.is_autocast_enabled(kind):
        # Positions may have made float32 of them, which sdpa casts and the kernel does not take.
        query, key, value = (part.to(torch.get_autocast_dtype(kind)) for part in (query, key, value))
    if kind == "cuda":
        return _by_kernel(texts, (query, key, value), scaling, sliding_window, causal)[None], None
    out = []
    start = 0
    for length, same in groupby(texts.lengths):
        n = len(list(same))
        end = start + n * length
        q, k, v = (
            part[0, :, start:end].unflatten(1, (n, length)).transpose(0, 1) for part in (query, key, value)
        )
        bias = _bias(length, sliding_window, causal, query)
        out.append(matmul_attention(module, q, k, v, bias, scaling, dropout)[0].flatten(0, 1))
        start = end
    return torch.cat(out)[None], None


def _bias(length: int, window: int | None, causal: bool, like: Tensor) -> Tensor | None:
    """0 where a token attends to another one of its text, the lowest number elsewhere [1, 1, L, L]; None for all."""
    if not causal and (window is None or window >= length):
        return None
    apart = torch.arange(length)[:, None] - torch.arange(length)
    far = torch.zeros_like(apart, dtype=torch.bool) if window is None else apart.abs() >= window
    far |= (apart < 0) & causal
    bias = torch.zeros(far.shape, dtype=like.dtype).masked_fill(far, torch.finfo(like.dtype).min)
    return upload(bias[None, None], like.device)


def _by_kernel(
    texts: Packed, parts: Sequence[Tensor], scaling: float | None, window: int | None, causal: bool
) -> Tensor:
    """PyTorch's own [T, heads, dim of a head], of query, key and value."""
    from torch.nn.attention.varlen import varlen_attn

    heads = parts[0].shape[1]
    q_THD, k_THD, v_THD = (
        part[0].repeat_interleave(heads // part.shape[1], dim=0).transpose(0, 1).contiguous()
        for part in parts
    )
    ends, longest, far = texts.ends, texts.lengths[-1], -1 if window is None else window - 1
    found = varlen_attn(
        q_THD,
        k_THD,
        v_THD,
        ends,
        ends,
        longest,
        longest,
        scale=scaling,
        window_size=(far, 0 if causal else far),
    )
    assert isinstance(found, Tensor)
    return found


def _mask(**asked: Any) -> Tensor | None:
    """The mask of a padded batch; none for texts that lie end to end."""
    return make_mask(**asked) if _packed.get() is None else None


def computed_tokens(tokens: Tokens) -> int:
    """Tokens of a padded batch that a backbone computes which packs."""
    attended = tokens.attention_mask_NL.bool()
    return attended.numel() if bool((tokens.score_mask_NL & ~attended).any()) else int(attended.sum())


def hidden_states(backbone: PreTrainedModel, tokens: Tokens) -> Tensor:
    """A backbone's hidden states of a padded batch [N, L, H]; zero, where it packs, in the place of padding."""
    packed = (
        Packed.of(tokens) if packs(backbone) and _has_kernel(backbone, tokens.input_ids_NL.device) else None
    )
    if packed is not None:
        return packed.hidden_states(backbone, tokens)
    ids_NL, mask_NL = tokens.input_ids_NL, tokens.attention_mask_NL
    found: Tensor = backbone(input_ids=ids_NL, attention_mask=mask_NL).last_hidden_state
    return found


def _has_kernel(backbone: PreTrainedModel, device: torch.device) -> bool:
    """Whether texts can be packed here; a CPU computes them length by length, a GPU needs the kernel."""
    if device.type != "cuda":
        return True
    config = backbone.config
    autocast = torch.is_autocast_enabled("cuda")
    dtype = torch.get_autocast_dtype("cuda") if autocast else next(backbone.parameters()).dtype
    dropout = any(getattr(config, name, 0.0) for name in DROPOUT)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    wrong = {
        f"computes in {dtype}": dtype not in (torch.float16, torch.bfloat16),
        "drops attention weights": backbone.training and dropout,
        f"has heads of {width} dimensions": width % 8 or width > 256,
        "is on a GPU older than Ampere": torch.cuda.get_device_capability(device) < (8, 0),
    }
    if found := [why for why, there in wrong.items() if there]:
        warn_once(f"student.attention={NAME}: texts are padded, since the student {found[0]}")
    return not found


def packs(backbone: PreTrainedModel) -> bool:
    """Whether a backbone encodes without padding."""
    return bool(backbone.config._attn_implementation == NAME)


@torch.no_grad()
def check_packing(backbone: PreTrainedModel, longest: int) -> None:
    """Whether a backbone gives texts that lie end to end the hidden states that each has alone.

    One that counts positions in its own way, or mixes tokens outside of attention, does not.

    Args:
        backbone: the student's.
        longest: tokens of the longest text that it is to read: windows may be beyond the shorter ones.

    Raises:
        InputError: it does not.
    """
    if not packs(backbone):
        return
    training = backbone.training
    backbone.eval()
    device = next(backbone.parameters()).device
    lengths = (3, max(longest, 4), max(longest // 2, 2))
    ids_NL = torch.arange(3 * lengths[1], device=device).view(3, -1) % int(backbone.config.vocab_size)
    mask_NL = torch.arange(lengths[1], device=device) < torch.tensor(lengths, device=device)[:, None]
    tokens = Tokens(ids_NL, mask_NL.long(), mask_NL)
    packed = Packed.of(tokens)
    assert packed is not None
    try:
        found = packed.hidden_states(backbone, tokens)
        off = largest = 0.0
        for row, length in enumerate(lengths):
            alone = backbone(input_ids=ids_NL[row : row + 1, :length]).last_hidden_state[0]
            off = max(off, float((found[row, :length] - alone).abs().max()))
            largest = max(largest, float(alone.abs().max()))
    except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{_TOLD.format(type(backbone).__name__)} ({' '.join(str(error).split())[:200]})"
        ) from error
    finally:
        backbone.train(training)
    if not off <= SAME * largest:
        raise InputError(_TOLD.format(type(backbone).__name__))


_TOLD = (
    f"student.attention={NAME}: {{}} does not encode texts that lie end to end as it encodes each alone; "
    "set it to auto"
)

AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, _mask)
