"""What training cost: time, devices, tokens, arithmetic, memory; as ``phase.json`` has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbert_lab.base.outside import read_json_or
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.records.run_files import PhaseFacts

BUSY = (
    "the device was slower while its matrix product was measured than in training, as others computed on it"
)
"""Why there is no MFU where it would be above 1."""


@dataclass(frozen=True)
class PhaseCost:
    """What a phase took, whichever run trained it.

    Attributes:
        steps: optimizer steps.
        seconds: wall time of training with the wait for data, without evaluations.
        tokens: tokens processed, without padding.
        reused_from: the run that trained the phase, when this run took it over; None when it trained it.
        devices: processes that trained together, each on a device; this and what follows is None in older files.
        flops: floating-point operations of the encoder over all devices.
        matmul_rate: floating-point operations per second of a large matrix product on one device.
        peak_memory_bytes: most resident memory of the first process.
        peak_device_bytes: most memory of its GPU; None on a CPU.
    """

    steps: int
    seconds: float
    tokens: int
    reused_from: str | None
    devices: int | None = None
    flops: float | None = None
    matmul_rate: float | None = None
    peak_memory_bytes: int | None = None
    peak_device_bytes: int | None = None

    @property
    def device_hours(self) -> float | None:
        """Hours of training, times devices."""
        return None if self.devices is None else device_hours(self.seconds, self.devices)

    @property
    def possible(self) -> float | None:
        """Floating-point operations that the devices could have done in that time."""
        if self.matmul_rate is None or self.devices is None:
            return None
        return self.seconds * self.devices * self.matmul_rate

    @property
    def mfu(self) -> float | None:
        """See :func:`mfu`."""
        return mfu([self])

    @property
    def peak(self) -> int | None:
        """Most memory that was in use, of the GPU where there is one."""
        return self.peak_device_bytes or self.peak_memory_bytes

    def told(self) -> str:
        """What the phase took, as a line of a log; what an older file does not say is left out."""
        seconds = max(self.seconds, 1e-9)
        parts = [f"{self.steps:,} steps in {self.seconds:.0f} s"]
        if self.devices is not None:
            parts.append(f"{self.tokens / seconds / self.devices:,.0f} tokens a second and device")
        if self.flops is not None:
            parts.append(f"{self.flops / 1e12:,.2f} TFLOP")
        share = self.mfu
        if share is not None and self.matmul_rate is not None:
            rate = self.matmul_rate / 1e12
            parts.append(f"{share:.1%} of the {rate:.2f} TFLOP/s of a large matrix product (MFU)")
        elif self.flops is not None and self.possible:
            parts.append(f"MFU not measurable ({BUSY})")
        if self.peak is not None:
            parts.append(
                f"peak memory {self.peak / 2**30:.2f} GiB{' of the GPU' if self.peak_device_bytes else ''}"
            )
        return ", ".join(parts)


def device_hours(seconds: float, devices: int) -> float:
    """Hours of some devices together."""
    return seconds * devices / 3600


def mfu(costs: Sequence[PhaseCost]) -> float | None:
    """Model FLOPs utilisation of some phases: the encoder's arithmetic as a share of what the devices could have done.

    Returns:
        None where a part of that is not known, or took no time; or where it would be above 1: then the product was
        measured while the device was slower than in training, and bounds nothing.
    """
    flops = total(cost.flops for cost in costs)
    possible = total(cost.possible for cost in costs)
    share = flops / possible if flops is not None and possible else None
    return None if share is None or share > 1 else share


def total(values: Iterable[float | None]) -> float | None:
    """The sum; None where there is nothing to add, or one part is not known."""
    known = list(values)
    return None if not known or None in known else float(sum(value for value in known if value is not None))


NEWER = ("devices", "flops", "matmul_rate", "peak_memory_bytes", "peak_device_bytes")


def read_cost(phase: Path) -> PhaseCost | None:
    """What a phase took; None where its ``phase.json`` is missing or unreadable.

    Args:
        phase: the phase's folder in a run directory.
    """
    facts = read_json_or(phase / PHASE_FILE, PhaseFacts)
    return cost_of(facts) if all(key in facts for key in ("steps", "seconds", "tokens")) else None


def cost_of(facts: Mapping[str, Any]) -> PhaseCost:
    """The same from the content of ``phase.json``.

    Raises:
        KeyError: steps, seconds or tokens are missing.
    """
    return PhaseCost(
        facts["steps"],
        facts["seconds"],
        facts["tokens"],
        facts.get("reused_from"),
        *(facts.get(name) for name in NEWER),
    )
