"""Choose precision and prepare torch for the machine at hand."""

from __future__ import annotations

import torch

from colbert_lab.student.student import pick_device


def pick_precision(accelerator: str) -> str:
    """What ``trainer.precision=auto`` means here: bf16 autocast where the hardware has it, float32 elsewhere.

    Args:
        accelerator: Lightning's accelerator name.

    Returns:
        ``bf16-mixed`` or ``32-true``.
    """
    device = pick_device(accelerator)
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return "bf16-mixed" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "32-true"
    return "32-true"


def prepare_torch(threads: int | None) -> None:
    """Process-wide settings: CPU threads, and denormal numbers flushed to zero.

    Softmax gradients at low temperatures go denormal, which slows CPU matrix products by 4 to 5 times.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
