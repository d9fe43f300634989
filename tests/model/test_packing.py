"""Encoding without padding gives what padded encoding gives: embeddings, gradients, and steps of a phase."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.attention import varlen
from transformers import AutoModel, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Tokens
from colbert_lab.certify.as_trained import FULL, implementations
from colbert_lab.model.colbert import ColBERT, Head, head_shapes
from colbert_lab.model.packing import (
    NAME,
    Packed,
    _by_kernel,
    _has_kernel,
    check_packing,
    computed_tokens,
    packed_attention,
)

SMALL: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 64,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "bert": {},
    "modernbert": {"local_attention": 6, "global_attn_every_n_layers": 2, "pad_token_id": 0},
    "roberta": {"pad_token_id": 1},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
}


def backbone(kind: str, attention: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**SMALL | KINDS[kind])
    for rate in (
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "attn_pdrop",
        "embd_pdrop",
        "resid_pdrop",
    ):
        if hasattr(config, rate):
            setattr(config, rate, 0.0)
    made: PreTrainedModel = AutoModel.from_config(config, attn_implementation=attention)
    return made


def texts(lengths: list[int]) -> Tokens:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 60, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Tokens(ids.where(mask, 0), mask.long(), mask)


def embedded(
    kind: str, attention: str, tokens: Tokens, pooling: str | None = None
) -> tuple[Any, dict[str, Any]]:
    network = backbone(kind, attention)
    model = ColBERT(network, Head(head_shapes(32, 8)), pooling).train()
    found = model(tokens)
    weight = torch.rand(found.emb_NLD.shape, generator=torch.Generator().manual_seed(2))
    (found.emb_NLD * weight * found.mask_NL.unsqueeze(-1)).sum().backward()
    slopes = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found.emb_NLD.detach() * found.mask_NL.unsqueeze(-1), slopes


@pytest.mark.parametrize("pooling", [None, "mean", "cls"])
@pytest.mark.parametrize("kind", ["bert", "modernbert", "qwen3", "gpt2"])
def test_embeddings_and_gradients_are_those_of_padded_texts(kind: str, pooling: str | None) -> None:
    """Texts longer than ModernBERT's window, two of one length, none as long as positions go."""
    tokens = texts([5, 17, 3, 17, 30, 9])
    torch.manual_seed(3)
    plain, slopes = embedded(kind, "eager", tokens, pooling)
    torch.manual_seed(3)
    found, others = embedded(kind, NAME, tokens, pooling)
    torch.testing.assert_close(found, plain, atol=2e-6, rtol=1e-5)
    assert slopes.keys() == others.keys()
    for name, slope in slopes.items():
        torch.testing.assert_close(others[name], slope, atol=2e-5, rtol=1e-4)


def by_loop(q: Any, k: Any, v: Any, ends: Any, ends_k: Any, most: int, most_k: int, **asked: Any) -> Any:
    """In the place of PyTorch's kernel, which has no CPU: what its documentation says, text by text."""
    assert torch.equal(ends, ends_k)
    assert ends.dtype == torch.int32
    left, right = asked["window_size"]
    out = []
    for start, end in pairwise(ends.tolist()):
        assert end - start <= most == most_k
        at = torch.arange(end - start)
        apart = at[:, None] - at
        far = (apart > left) & (left >= 0) | (-apart > right) & (right >= 0)
        scale = q.shape[-1] ** -0.5 if asked["scale"] is None else asked["scale"]
        scores = torch.einsum("thd,shd->hts", q[start:end], k[start:end]) * scale
        weights = scores.masked_fill(far, -torch.inf).softmax(dim=-1)
        out.append(torch.einsum("hts,shd->thd", weights, v[start:end]))
    return torch.cat(out)


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [4, 2])
def test_the_kernel_is_asked_for_the_same(
    heads: int, causal: bool, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", by_loop)
    packed = Packed.of(texts([5, 17, 3, 17, 9]))
    assert packed is not None
    generator = torch.Generator().manual_seed(4)
    q, k, v = (torch.rand(1, n, 51, 8, generator=generator) for n in (4, heads, heads))
    kernel = _by_kernel(packed, (q, k, v), 0.3, window, causal)
    module: Any = SimpleNamespace(is_causal=causal, training=False)
    with packed._attended():
        plain, _ = packed_attention(module, q, k, v, None, scaling=0.3, sliding_window=window)
    torch.testing.assert_close(kernel[None], plain)


def test_only_attended_tokens_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = backbone("bert", NAME)
    seen: list[tuple[int, ...]] = []
    network.encoder.layer[0].register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    model = ColBERT(network, Head(head_shapes(32, 8)))
    model(texts([5, 17, 3]))
    model(texts([4, 4]))
    assert seen == [(1, 25, 32), (2, 4, 32)]


def test_tokens_that_score_and_are_not_attended_keep_their_padding() -> None:
    tokens = texts([5, 17, 3])
    expanded = Tokens(tokens.input_ids_NL, tokens.attention_mask_NL, torch.ones_like(tokens.score_mask_NL))
    assert Packed.of(expanded) is None
    plain, _ = embedded("bert", "eager", expanded)
    found, _ = embedded("bert", NAME, expanded)
    torch.testing.assert_close(found, plain, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "modernbert", "qwen3", "gpt2"])
def test_these_can(kind: str) -> None:
    check_packing(backbone(kind, NAME), 30)


def test_a_backbone_that_counts_positions_in_its_own_way_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^student\.attention=packed: RobertaModel does not encode texts that lie"
    ):
        check_packing(backbone("roberta", NAME), 30)
    check_packing(backbone("roberta", "sdpa"), 30)


def test_a_window_that_only_the_mask_has_is_met_by_texts_that_are_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = backbone("modernbert", NAME)
    for layer in network.layers:
        layer.attn.sliding_window = None  # as of a backbone that does not tell its attention
    check_packing(network, 3)
    with pytest.raises(InputError, match="does not encode texts that lie end to end"):
        check_packing(network, 30)


def test_under_autocast_float32_queries_and_keys_are_cast() -> None:
    packed = Packed.of(texts([5, 17, 3]))
    assert packed is not None
    q, k, v = (torch.rand(1, 2, 25, 8) for _ in range(3))
    module: Any = SimpleNamespace(is_causal=False, training=False)
    with torch.autocast("cpu", torch.bfloat16), packed._attended():
        assert packed_attention(module, q, k, v, None)[0].dtype == torch.bfloat16


def test_what_is_computed_is_counted() -> None:
    tokens = texts([5, 17, 3])
    assert computed_tokens(tokens) == 25
    expanded = Tokens(tokens.input_ids_NL, tokens.attention_mask_NL, torch.ones_like(tokens.score_mask_NL))
    assert computed_tokens(expanded) == 51


def test_a_gpu_packs_what_its_kernel_computes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network, gpu = backbone("bert", NAME).eval(), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert not _has_kernel(network, gpu)
    assert "texts are padded, since the student computes in torch.float32" in caplog.text
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: True)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda _: torch.bfloat16)
    assert _has_kernel(network, gpu)
    network.config.attention_probs_dropout_prob = 0.1
    assert _has_kernel(network, gpu)
    assert not _has_kernel(network.train(), gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not _has_kernel(network.eval(), gpu)


def test_a_certificate_has_the_kernel_in_the_precision_of_the_config() -> None:
    model = ColBERT(backbone("bert", NAME), Head(head_shapes(32, 8)))
    assert implementations(model, "bf16-mixed", torch.device("cuda"))[NAME] == "bf16-mixed"
    assert implementations(model, "bf16-mixed", torch.device("cpu"))[NAME] == FULL
