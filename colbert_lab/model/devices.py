"""What depends on the device: how much it has room for, the precision it computes in, copies that nobody waits for.

A GPU computes behind the program that commands it. The program waits for it where it reads a number of a result, where
the size of a result depends on numbers, and where memory that is not pinned is copied; meanwhile it commands nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

FULL, LOW = "32-true", "bf16-true"
"""Precisions in which an encoder computes everything in one type."""


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context of a Lightning precision name; disabled for those that are not mixed.

    Args:
        device: where it computes.
        precision: Lightning's name; ``auto`` is :func:`faster`.
    """
    precision = faster(device) if precision == "auto" else precision
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision.endswith("-mixed"))


def faster(device: torch.device) -> str:
    """The precision that a device is faster in, of bf16 autocast and float32."""
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else FULL
    return "bf16-mixed" if device.type == "cpu" and _cpu_is_faster_in_bf16() else FULL


def _cpu_is_faster_in_bf16() -> bool:
    """Whether the processor has a unit for bf16 matrices: AMX, or Arm's BF16 extension.

    AVX512-BF16 alone is none: on an Intel Xeon that hides its AMX, products of 2,048 x 2,048 ran at 0.16 TFLOP/s in
    bf16 and 0.30 in float32, and ``+experiment=colbert_zero task=plan`` predicted 1.3 to 1.7 times as long for the
    phases in bf16 as in float32 (two plans of each, taken in turn).
    """
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        found = capabilities()
        return any(found.get(name) for name in ("amx_bf16", "bf16"))
    # Before torch 2.12 there is no public query.
    return bool(torch.cpu._is_amx_tile_supported())


class _Rounded(torch.autograd.Function):
    """The rounded weights in the place of a network's own, which get the gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rounded: Tensor) -> Tensor:
        return rounded.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.float(), None


def lowered(network: nn.Module, precision: str, once: bool = False) -> Callable[..., Any]:
    """A network as a precision has it compute.

    With ``bf16-true`` it computes with weights that are rounded to bf16. All that it computes and keeps is bf16 then,
    also where autocast takes float32: norms, and the sum along the layers. The network itself keeps its float32
    weights: gradients reach them in float32, where those of all calls add up, and the optimizer updates them (master
    weights, Micikevicius et al. 2018, arXiv 1710.03740). With other precisions it is the network itself.

    Args:
        network: with float32 weights.
        precision: Lightning's name.
        once: round the weights now, for all calls before they change; otherwise each call rounds them.
    """
    if precision != LOW:
        return network
    own = dict(network.named_parameters())
    kept = {name: each.detach().to(torch.bfloat16) for name, each in own.items()} if once else None

    def call(*args: Any, **named: Any) -> Any:
        weights = (
            {name: each.to(torch.bfloat16) for name, each in own.items()} if kept is None else dict(kept)
        )
        if kept is not None and torch.is_grad_enabled():
            trained = {name: each for name, each in own.items() if each.requires_grad}
            weights |= {name: cast(Any, _Rounded).apply(each, kept[name]) for name, each in trained.items()}
        return functional_call(network, weights, args, named)

    return call


def rounded(network: nn.Module, precision: str) -> None:
    """Round a network's own weights where the precision is ``bf16-true``, for one that is not trained.

    Args:
        network: with float32 weights.
        precision: Lightning's name.
    """
    if precision == LOW:
        network.to(torch.bfloat16)


def works_behind(device: torch.device) -> bool:
    """Whether a device goes on with what it was commanded while the program does something else."""
    return device.type == "cuda"


def total_bytes(device: torch.device) -> int | None:
    """Memory of a GPU, used or not; None for other devices.

    It is the same at any moment and for equal GPUs in all processes, so that what is decided by it is too.
    """
    return int(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None


def room_for(device: torch.device, elsewhere: int, share: float, size: int) -> int:
    """How many values something may have.

    Args:
        device: where they are.
        elsewhere: what it is on other devices than GPUs, and at least.
        share: of a GPU's memory.
        size: bytes of a value.
    """
    total = total_bytes(device)
    return elsewhere if total is None else max(elsewhere, int(total * share) // size)


def upload(values: Tensor, device: torch.device) -> Tensor:
    """Values on a device, from pinned memory and without waiting for it; themselves where they are there already."""
    if works_behind(device) and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=device.type != "cpu")


def pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Memory of the machine that a GPU copies to by itself."""
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)


class Download:
    """Values on their way to the CPU; a device that works behind copies them when it has computed them.

    Args:
        values: on any device.
    """

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if not works_behind(values.device):
            self._values = values.cpu()
            return
        self._values = pinned(values.shape, values.dtype)
        self._values.copy_(values, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record()

    def wait(self) -> Tensor:
        """The values, once they are there."""
        if self._event is not None:
            self._event.synchronize()
        return self._values
