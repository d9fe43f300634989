"""What training costs in arithmetic, and how much of it the machine can do: the parts of MFU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from colbert_lab.student.colbert import ColBERT

FORWARD_AND_BACKWARD = 3  # the backward pass computes two products for each one of the forward pass
SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices whose product is timed
TRIES = 5


@dataclass(frozen=True)
class EncoderFlops:
    """Floating-point operations of an encoder's training step, from the lengths of its texts.

    A token takes 2 operations for each weight of a matrix (Kaplan et al. 2020, arXiv 2001.08361, table 1), and
    attention takes 4 x width x span for each token of a text in each layer, where the span is what a token may attend
    to (PaLM, Chowdhery et al. 2022, arXiv 2204.02311, appendix B). The backward pass takes twice the forward pass. As
    in PaLM's MFU, neither padding nor recomputed activations count; embeddings, norms and MaxSim are left out.

    Attributes:
        weights: weights of the matrices that a token goes through.
        width: of the attention, all heads together.
        spans: for each layer, the most tokens that a token attends to; None for all.
    """

    weights: int
    width: int
    spans: tuple[int | None, ...]

    @classmethod
    def of(cls, model: ColBERT) -> EncoderFlops:
        """The counts of a student. A layer whose weights are shared by several counts once."""
        config = model.backbone.config
        heads = config.num_attention_heads
        width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
        layers = range(config.num_hidden_layers)
        kinds = getattr(config, "layer_types", None) or ["full_attention" for _ in layers]
        # ModernBERT's sliding_window is one side of its local_attention.
        window = getattr(config, "local_attention", None) or getattr(config, "sliding_window", None)
        spans = tuple(window if "full" not in kinds[layer] else None for layer in layers)
        weights = 0
        for module in model.modules():
            if not isinstance(module, nn.Embedding):
                weights += sum(p.numel() for p in module.parameters(recurse=False) if p.ndim == 2)
        return cls(weights, width, spans)

    def training(self, lengths: Sequence[int]) -> float:
        """Operations of forward and backward pass over texts of these lengths in tokens."""
        operations = 2.0 * self.weights * sum(lengths)
        for span in self.spans:
            reached = sum(length * (length if span is None else min(length, span)) for length in lengths)
            operations += 4.0 * self.width * reached
        return FORWARD_AND_BACKWARD * operations


def matmul_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations per second of one device, the best of a few products of square matrices.

    2048 x 2048 on a CPU, 8192 x 8192 on a GPU. It is what MFU is a share of: a measured rate, so that it means the same
    on hardware without a data sheet.

    Args:
        device: the device.
        precision: Lightning's name; 16-bit ones are measured in 16 bits.
    """
    dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(precision.partition("-")[0], torch.float32)
    side = SIDE.get(device.type, SIDE["cpu"])
    matrix = torch.ones(side, side, dtype=dtype, device=device)  # no random numbers are drawn
    best = float("inf")
    with torch.no_grad():
        for _ in range(TRIES + 1):  # the first one warms up
            start = time.perf_counter()
            product = matrix @ matrix
            float(product[0, 0])  # waits for the device
            best = min(best, time.perf_counter() - start)
    return 2.0 * side**3 / best
