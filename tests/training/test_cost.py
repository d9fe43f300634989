"""Operations of training, and what the system says of memory."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from colbert_lab.base.types import Tokens
from colbert_lab.model.colbert import ColBERT, Head, head_shapes
from colbert_lab.plan.peaks import resident
from colbert_lab.training import cost
from colbert_lab.training.cost import (
    STATUS,
    EncoderFlops,
    activation_bytes,
    free_bytes,
    matmul_rate,
    needs_recompute,
    peak_bytes,
    system_bytes,
)
from tests.backbones import make_tiny_decoder, make_tiny_modernbert
from tests.toy import new_student


def counted(model: ColBERT, length: int) -> int:
    """What torch counts in the products of one forward and backward pass over two texts without padding."""
    ids = torch.randint(5, 50, (2, length))
    with FlopCounterMode(display=False) as counter:
        model.train()(
            Tokens(ids, torch.ones_like(ids), torch.ones_like(ids, dtype=torch.bool))
        ).emb_NLD.sum().backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("length", [3, 30])
def test_flops_are_those_that_torch_counts(student_settings: dict[str, Any], length: int) -> None:
    model = new_student(**student_settings).model
    assert EncoderFlops.of(model).training([length, length]) == counted(model, length)


@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
def test_flops_of_decoders(tmp_path: Path, model_type: str) -> None:
    backbone = AutoModel.from_pretrained(make_tiny_decoder(tmp_path, model_type), attn_implementation="eager")
    model = ColBERT(backbone, Head(head_shapes(32, 8, bias=False)))
    assert EncoderFlops.of(model).training([20, 20]) == pytest.approx(counted(model, 20), rel=0.02)


def test_local_attention_reaches_only_its_window(tmp_path: Path) -> None:
    backbone = AutoModel.from_pretrained(make_tiny_modernbert(tmp_path), attn_implementation="eager")
    flops = EncoderFlops.of(ColBERT(backbone, Head(head_shapes(32, 8, bias=False))))
    assert sorted(flops.spans, key=str) == [4, 4, None]
    fewer = EncoderFlops(flops.weights, flops.width, (None, None, None)).training([20]) - flops.training([20])
    assert fewer == 3 * 2 * 4 * 32 * 20 * (20 - 4)


def test_the_rate_of_a_product_is_that_of_another_shape() -> None:
    rate = matmul_rate(torch.device("cpu"), "32-true")
    matrix = torch.ones(1024, 1024)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    assert 0.1 < rate / (2 * 1024**3 / min(seconds)) < 10  # a wrong unit or count is off by far more


def test_the_rate_is_that_of_different_numbers_and_draws_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "SIDES", {"cpu": (64,)})
    seen: list[torch.Tensor] = []
    uneven = cost._uneven

    def kept(side: int, device: torch.device) -> torch.Tensor:
        seen.append(uneven(side, device))
        return seen[-1]

    monkeypatch.setattr(cost, "_uneven", kept)
    before = torch.get_rng_state()
    assert matmul_rate(torch.device("cpu"), "bf16-mixed") > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert len(seen) == 2  # float32 and bf16
    assert all(len(matrix.to(torch.bfloat16).unique()) > 50 for matrix in seen)


def test_a_size_is_read_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "status"
    file.write_bytes(b"Name:\tVmRSS:\xff\nVmHWM:\t     900 kB\nVmRSS:\t     800 kB\n")
    assert system_bytes(file, "VmHWM") == 900 * 1024
    assert system_bytes(file, "VmRSS") == 800 * 1024
    assert system_bytes(file, "VmSwap") is None
    assert system_bytes(tmp_path / "missing", "VmRSS") is None


@pytest.mark.skipif(not STATUS.is_file(), reason="only Linux tells what a process holds now")
def test_a_process_holds_no_more_than_its_peak() -> None:
    assert 2**20 < resident() <= peak_bytes()


def test_where_the_system_does_not_tell_the_peak_of_the_process_stands_for_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cost, "STATUS", tmp_path / "missing")
    monkeypatch.setattr("colbert_lab.plan.peaks.STATUS", tmp_path / "missing")
    assert 2**20 < resident() <= peak_bytes()


def test_activations_of_a_bert_base_by_hand() -> None:
    """Korthikanti et al.'s formula: 12 layers of 768 x 34 + 5 x 12 heads x 300 bytes a token in 16 bits."""
    config = SimpleNamespace(hidden_size=768, num_attention_heads=12, num_hidden_layers=12)
    assert activation_bytes(config, 1000, 300, low_precision=True) == 529_344_000
    assert activation_bytes(config, 1000, 300, low_precision=False) == 1_058_688_000


@pytest.mark.parametrize(
    ("device", "beside", "most"), [("cpu", 1, 500), ("cpu", 2, 250), ("cuda", 1, 500), ("cuda", 2, 500)]
)
def test_more_than_half_of_a_process_share_is_too_much(
    device: str, beside: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes share what is free of a machine's memory; each has a GPU of its own, of which all counts."""
    monkeypatch.setattr(cost, "free_bytes", lambda device: 1000 if device.type == "cpu" else 7)
    monkeypatch.setattr(cost, "total_bytes", lambda device: None if device.type == "cpu" else 1000)
    assert not needs_recompute("distill", most, torch.device(device), beside)
    assert needs_recompute("distill", most + 1, torch.device(device), beside)


@pytest.mark.skipif(not STATUS.is_file(), reason="only Linux tells what is free")
def test_what_a_container_may_not_use_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_group_rooms", lambda: [7, 9])
    assert free_bytes(torch.device("cpu")) == 7
