import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from colbert_lab.student.colbert import ColBERT
from colbert_lab.student.heads import Head, head_shapes
from colbert_lab.student.student import build_student
from colbert_lab.training.cost import EncoderFlops, matmul_rate
from colbert_lab.types import Tokens
from tests.backbones import make_tiny_decoder, make_tiny_modernbert


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
    model = build_student(**student_settings).model
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
