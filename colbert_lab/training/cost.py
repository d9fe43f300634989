"""What training costs: arithmetic, how much of it the machine can do (the parts of MFU), and memory.

Memory is whether a step's activations fit, and the most that was in use.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.devices import total_bytes
from colbert_lab.training.optim import depths

SIDES = {"cpu": (512, 1024, 2048), "cuda": (8192,)}  # of the square matrices whose product is timed
SECONDS = 0.1  # that products of one side are repeated
LONG = 0.02  # seconds of a product after which no longer one is made
TRIES = 2  # at least; the first one warms up


@dataclass(frozen=True)
class EncoderFlops:
    """Floating-point operations of an encoder's training step, from the lengths of its texts.

    A token takes 2 operations for each weight of a matrix (Kaplan et al. 2020, arXiv 2001.08361, table 1), and
    attention takes 4 x width x span for each token of a text in each layer, where the span is what a token may attend
    to (PaLM, Chowdhery et al. 2022, arXiv 2204.02311, appendix B). The backward pass takes as much as the forward pass
    for the gradients of the weights that are trained, and once more for those of what comes out of each layer, down to
    the lowest layer in which something is trained; attention takes both there. As in PaLM's MFU, neither padding nor
    recomputed activations count; embeddings, norms and MaxSim are left out.

    Attributes:
        weights: weights of the matrices that a token goes through.
        width: of the attention, all heads together.
        spans: for each layer, the most tokens that a token attends to; None for all.
        trained: of the weights, those that are trained; None for all.
        reached: of the weights, those that gradients go through; None for all.
        reached_layers: number of the last layers that gradients go through; None for all.
    """

    weights: int
    width: int
    spans: tuple[int | None, ...]
    trained: int | None = None
    reached: int | None = None
    reached_layers: int | None = None

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
        depth = _depths(model)
        lowest = min((depth[id(p)] for p in model.parameters() if p.requires_grad), default=len(layers) + 3)
        weights = trained = reached = 0
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                continue
            for parameter in module.parameters(recurse=False):
                if parameter.ndim == 2:
                    weights += parameter.numel()
                    trained += parameter.numel() * parameter.requires_grad
                    reached += parameter.numel() * (depth[id(parameter)] >= lowest)
        return cls(weights, width, spans, trained, reached, sum(layer + 1 >= lowest for layer in layers))

    def training(self, lengths: Sequence[int]) -> float:
        """Operations of forward and backward pass over texts of these lengths in tokens."""
        trained = self.weights if self.trained is None else self.trained
        reached = self.weights if self.reached is None else self.reached
        operations = 2.0 * (self.weights + trained + reached) * sum(lengths)
        last = len(self.spans) if self.reached_layers is None else self.reached_layers
        for layer, span in enumerate(self.spans):
            times = 3 if layer >= len(self.spans) - last else 1
            pairs = sum(length * (length if span is None else min(length, span)) for length in lengths)
            operations += 4.0 * times * self.width * pairs
        return operations


def _depths(model: ColBERT) -> dict[int, int]:
    """Depth of every parameter by its id, see :func:`colbert_lab.training.optim.depths`; the head's is above.

    In a backbone without a list of layers all have 0.
    """
    try:
        names, layers = depths(model.backbone, "", "")
    except InputError:
        names, layers = {}, int(model.backbone.config.num_hidden_layers)
    found = {id(p): names.get(name, 0) for name, p in model.backbone.named_parameters()}
    return found | {id(parameter): layers + 2 for parameter in model.head.parameters()}


def matmul_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations per second of one device, the best of some products of square matrices.

    It is what MFU is a share of: a measured rate, so that it means the same on hardware without a data sheet. Short
    products are among them: where others compute on the machine as well, a long one is interrupted every time, and
    training would seem to be faster than the machine.

    Args:
        device: the device.
        precision: Lightning's name; a mixed one computes in 16 and in 32 bits, and the faster one counts.
    """
    short = {"bf16": [torch.bfloat16], "16": [torch.float16]}.get(precision.partition("-")[0], [])
    best = 0.0
    with torch.no_grad():
        for dtype in (torch.float32, *short):
            for side in SIDES.get(device.type, SIDES["cpu"]):
                matrix = _uneven(side, device).to(dtype)
                begun, tries, took = time.perf_counter(), 0, 0.0
                while tries < TRIES or time.perf_counter() - begun < SECONDS:
                    start = time.perf_counter()
                    product = matrix @ matrix
                    float(product[0, 0])  # waits for the device
                    took = time.perf_counter() - start
                    best, tries = max(best, 2.0 * side**3 / took), tries + 1
                if took > LONG:
                    break
    return best


def _uneven(side: int, device: torch.device) -> Tensor:
    """A square matrix of many different numbers, without drawing random ones.

    A GPU multiplies matrices of equal numbers faster than others, as fewer of its switches change.
    """
    return torch.arange(side * side, dtype=torch.float32, device=device).sin_().view(side, side)


log = logging.getLogger(__name__)
SHARE = 0.5  # of a GPU's memory, or of what is free of a machine's, that activations may take
GIB = 2**30
STATUS, MACHINE = Path("/proc/self/status"), Path("/proc/meminfo")
"""Of this process, and of the machine."""
CGROUPS = Path("/sys/fs/cgroup")


def activation_bytes(config: Any, padded_tokens: int, longest: int, low_precision: bool) -> int:
    """Estimate what a forward pass keeps for the backward pass.

    The formula is Korthikanti et al. 2022 (arXiv 2205.05198), equation 1: a transformer layer keeps
    ``tokens * hidden * (34 + 5 * heads * length / hidden)`` bytes in 16-bit precision; twice that in 32 bits. The
    attention term falls away in fused attention, so this is an upper bound there; so it is where the lowest layers are
    frozen, which keep nothing.

    Args:
        config: the backbone's Hugging Face configuration.
        padded_tokens: tokens of the batch with padding.
        longest: longest text in tokens.
        low_precision: whether the encoder runs in 16-bit autocast.
    """
    layer = config.hidden_size * (34 + 5 * config.num_attention_heads * longest / config.hidden_size)
    return int(padded_tokens * config.num_hidden_layers * layer * (1 if low_precision else 2))


def free_bytes(device: torch.device) -> int | None:
    """Free memory of the device, or None where it cannot be told.

    A CPU stands for the machine's memory, within the limits of the process' control group.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = system_bytes(MACHINE, "MemAvailable") if device.type == "cpu" else None
    return None if free is None else min([free, *_group_rooms()])


def _group_rooms() -> list[int]:
    """Free bytes of the control groups (version 2) that this process is in; those without a limit are left out."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if path is None:
        return []
    folder, rooms = CGROUPS / path.lstrip("/"), []
    for group in (folder, *folder.parents):
        with contextlib.suppress(OSError, ValueError):
            most = int((group / "memory.max").read_text())
            rooms.append(max(0, most - int((group / "memory.current").read_text())))
        if group == CGROUPS:
            break
    return rooms


def system_bytes(file: Path, field: str) -> int | None:
    """A size that Linux tells in KiB, in bytes; None on other systems.

    Args:
        file: ``STATUS`` or ``MACHINE``.
        field: such as ``VmRSS``, see proc(5).
    """
    if not file.is_file():
        return None
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def needs_recompute(phase: str, needed: int, device: torch.device, beside: int = 1) -> bool:
    """Decide between plain backward and recomputation by chunk, and say so.

    A GPU counts with all of its memory: what is free of it differs from moment to moment, and between processes.

    Args:
        phase: the phase's name.
        needed: what :func:`activation_bytes` said of one process.
        device: where it runs.
        beside: processes on this machine; they share its memory, but each has a GPU of its own.
    """
    there = total_bytes(device) or free_bytes(device)
    if there is None:
        log.info("%s: free memory is unknown here: recomputing activations chunk by chunk (GradCache)", phase)
        return True
    if device.type == "cpu":
        there //= beside
    too_much = needed > SHARE * there
    log.info(
        "%s: about %.1f GiB of activations a micro-batch, %.1f GiB %s: %s",
        phase,
        needed / GIB,
        there / GIB,
        "free" if device.type == "cpu" else "of memory",
        "recomputing them chunk by chunk (GradCache)" if too_much else "plain backward",
    )
    return too_much


def reset_peak(device: torch.device) -> None:
    """Begin to look for the highest use of memory, of this process and of its GPU.

    Where the system cannot forget the highest use so far (it is not Linux), :func:`peak_bytes` is that of the whole
    process.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM
    except OSError:
        log.debug("the peak of memory counts from the start of the process")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes() -> int:
    """Highest resident memory of this process since :func:`reset_peak`."""
    highest = system_bytes(STATUS, "VmHWM")
    if highest is not None:
        return highest
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)  # bytes on macOS, KiB elsewhere


def peak_device_bytes(device: torch.device) -> int | None:
    """Highest memory that tensors took on a GPU since :func:`reset_peak`; None on other devices."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else None
