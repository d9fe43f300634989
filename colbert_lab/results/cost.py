"""What training cost: time, devices, tokens, arithmetic, memory; as ``phase.json`` has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbert_lab.results.lineage import PHASE_FILE


@dataclass(frozen=True)
class PhaseCost:
    """What a phase took, whichever run trained it.

    Attributes:
        steps: optimizer steps.
        seconds: wall time of training steps.
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
        return None if self.devices is None else self.seconds * self.devices / 3600

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: the share of ``matmul_rate`` that the encoder's arithmetic reached."""
        if self.flops is None or self.matmul_rate is None or self.devices is None or self.seconds <= 0:
            return None
        return self.flops / (self.seconds * self.devices * self.matmul_rate)


NEWER = ("devices", "flops", "matmul_rate", "peak_memory_bytes", "peak_device_bytes")


def read_cost(phase: Path) -> PhaseCost | None:
    """What a phase took; None where its ``phase.json`` is missing or unreadable.

    Args:
        phase: the phase's folder in a run directory.
    """
    try:
        return cost_of(json.loads((phase / PHASE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError):
        return None


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
