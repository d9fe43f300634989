"""Memory of training: whether a step's activations fit, and the most that was in use."""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)
SHARE = 0.5  # of the free memory that activations may take
GIB = 2**30
STATUS, MACHINE = Path("/proc/self/status"), Path("/proc/meminfo")
"""Of this process, and of the machine."""


def activation_bytes(config: Any, padded_tokens: int, longest: int, low_precision: bool) -> int:
    """Estimate what a forward pass keeps for the backward pass.

    The formula is Korthikanti et al. 2022 (arXiv 2205.05198), equation 1: a transformer layer keeps
    ``tokens * hidden * (34 + 5 * heads * length / hidden)`` bytes in 16-bit precision; twice that in 32 bits. The
    attention term falls away in fused attention, so this is an upper bound there.

    Args:
        config: the backbone's Hugging Face configuration.
        padded_tokens: tokens of the batch with padding.
        longest: longest text in tokens.
        low_precision: whether the encoder runs in 16-bit autocast.
    """
    layer = config.hidden_size * (34 + 5 * config.num_attention_heads * longest / config.hidden_size)
    return int(padded_tokens * config.num_hidden_layers * layer * (1 if low_precision else 2))


def free_bytes(device: torch.device) -> int | None:
    """Free memory of the device, or None where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return system_bytes(MACHINE, "MemAvailable") if device.type == "cpu" else None


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


def needs_recompute(phase: str, needed: int, device: torch.device) -> bool:
    """Decide between plain backward and recomputation by chunk, and say so.

    Args:
        phase: the phase's name.
        needed: what :func:`activation_bytes` said.
        device: where it runs.
    """
    free = free_bytes(device)
    if free is None:
        log.info("%s: free memory is unknown here: recomputing activations chunk by chunk (GradCache)", phase)
        return True
    too_much = needed > SHARE * free
    log.info(
        "%s: about %.1f GiB of activations a micro-batch, %.1f GiB free: %s",
        phase,
        needed / GIB,
        free / GIB,
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
