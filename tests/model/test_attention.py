from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from colbert_lab.base.errors import InputError
from colbert_lab.model.attention import NAME, matmul_attention
from colbert_lab.model.backbone import backbone_from_config, load_backbone
from tests.backbones import make_tiny_decoder, make_tiny_modernbert
from tests.tiny import make_tiny_bert

MAKERS: dict[str, Callable[[Path], object]] = {
    "bert": make_tiny_bert,
    "modernbert": make_tiny_modernbert,
    "qwen3": make_tiny_decoder,
}


def batch() -> tuple[Tensor, Tensor]:
    """Texts of 20, 7 and 3 tokens, and another random one that needs no padding."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 20, (4, 20), generator=generator)
    mask = (torch.arange(20)[None] < torch.tensor([20, 7, 3, 20])[:, None]).long()
    return ids, mask


def outputs(backbone: PreTrainedModel, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states of the attended tokens, and all gradients of their weighted sum."""
    ids, mask = batch()
    hidden = backbone(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    ((hidden * weights)[mask.bool()]).sum().backward()
    gradients = [p.grad.flatten() for p in backbone.parameters() if p.grad is not None]
    return hidden[mask.bool()].detach(), torch.cat(gradients)


@pytest.mark.parametrize("kind", MAKERS)
def test_equals_eager_attention_with_gradients_and_without(kind: str, tmp_path: Path) -> None:
    MAKERS[kind](tmp_path)
    ours = load_backbone(str(tmp_path), attention="auto").eval()
    eager = load_backbone(str(tmp_path), attention="eager").eval()
    assert ours.config._attn_implementation == NAME
    weights = torch.randn(4, 20, 32, generator=torch.Generator().manual_seed(2))
    mine, theirs = outputs(ours, weights), outputs(eager, weights)
    torch.testing.assert_close(mine[0], theirs[0], atol=1e-5, rtol=1e-5)
    assert float((mine[1] - theirs[1]).norm() / theirs[1].norm()) < 1e-5
    ids, mask = batch()
    with torch.inference_mode():
        fused = ours(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
    torch.testing.assert_close(fused, theirs[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", MAKERS)
def test_bf16_has_no_nan_where_a_token_attends_to_nothing(kind: str, tmp_path: Path) -> None:
    MAKERS[kind](tmp_path)
    backbone = load_backbone(str(tmp_path), attention=NAME).eval()
    reference = outputs(load_backbone(str(tmp_path), attention="eager").eval(), torch.ones(4, 20, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden, gradient = outputs(backbone, torch.ones(4, 20, 32))
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(hidden, reference[0], atol=0.1, rtol=0.1)
    ids, mask = batch()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.isfinite(backbone(input_ids=ids, attention_mask=mask).last_hidden_state).all()


def test_low_precision_keeps_nothing_in_float32(tmp_path: Path) -> None:
    """What eager attention keeps in float32 when there is padding: scores and weights [N, heads, L, L]."""
    make_tiny_bert(tmp_path)
    backbone = load_backbone(str(tmp_path), attention=NAME).eval()
    ids, mask = batch()
    kept: list[Tensor] = []
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t),  # type: ignore[func-returns-value]
    ):
        backbone(input_ids=ids, attention_mask=mask)
    square = [t.dtype for t in kept if t.ndim >= 3 and t.shape[-2:] == (20, 20)]
    assert square
    assert set(square) == {torch.bfloat16}


@pytest.mark.parametrize(("kind", "rows"), [("bert", 1), ("qwen3", 20)])
def test_padding_alone_makes_a_mask_of_one_row(
    kind: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MAKERS[kind](tmp_path)
    backbone = load_backbone(str(tmp_path), attention=NAME).eval()
    shapes = []

    def seen(*given: Any, **others: Any) -> Any:
        shapes.append(given[4].shape)
        return matmul_attention(*given, **others)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, NAME, seen)
    ids, mask = batch()
    backbone(input_ids=ids, attention_mask=mask)
    assert set(shapes) == {(4, 1, rows, 20)}


def test_dropout_is_drawn_while_training(tmp_path: Path) -> None:
    make_tiny_bert(tmp_path)
    backbone = load_backbone(str(tmp_path), attention=NAME, dropout=0.0)
    for module in backbone.modules():
        if type(module).__name__ == "BertSelfAttention":
            module.dropout.p = 0.5
    ids, mask = batch()
    different = [backbone.train()(input_ids=ids, attention_mask=mask).last_hidden_state for _ in range(2)]
    same = [backbone.eval()(input_ids=ids, attention_mask=mask).last_hidden_state for _ in range(2)]
    assert not torch.equal(*different)
    assert torch.equal(*same)


def test_a_position_bias_counts_with_gradients_and_without() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 2, 5, 4, generator=generator) for _ in range(3))
    bias = torch.randn(1, 2, 5, 5, generator=generator)
    expected = (query @ key.transpose(2, 3) / 2 + bias).softmax(dim=-1) @ value
    found, _ = matmul_attention(nn.Module(), query, key, value, None, position_bias=bias)
    with torch.no_grad():
        fused, _ = matmul_attention(nn.Module(), query, key, value, None, position_bias=bias)
    torch.testing.assert_close(found.transpose(1, 2), expected)
    torch.testing.assert_close(fused.transpose(1, 2), expected, atol=1e-5, rtol=1e-5)


def test_other_kinds_of_attention_are_refused() -> None:
    some = torch.zeros(1, 1, 2, 2)
    with pytest.raises(NotImplementedError, match=r"student\.attention=matmul: has no softcap"):
        matmul_attention(nn.Module(), some, some, some, None, softcap=30.0)


def test_backbones_with_attention_of_their_own_stay_eager(tmp_path: Path) -> None:
    from transformers import MPNetConfig

    config = MPNetConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    AutoModel.from_config(config).save_pretrained(tmp_path)
    assert backbone_from_config(tmp_path, "auto").config._attn_implementation == "eager"
    with pytest.raises(
        InputError, match=r"student\.attention=matmul: MPNetModel has only its own; set it to"
    ):
        backbone_from_config(tmp_path, NAME)


def test_an_unknown_attention_is_refused_by_its_key(tiny_bert: Path) -> None:
    with pytest.raises(
        InputError, match=r"^student\.attention=foo: must be one of auto, eager, .*matmul.*sdpa"
    ):
        load_backbone(str(tiny_bert), attention="foo")
