"""How much memory is used, how much there is, and what to change where it does not suffice."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from colbert_lab.errors import InputError
from colbert_lab.training.memory import GIB, STATUS, free_bytes, peak_bytes, system_bytes

CGROUPS = Path("/sys/fs/cgroup")


def resident() -> int:
    """Bytes that this process holds now; where the system does not tell, the most that it has held."""
    held = system_bytes(STATUS, "VmRSS")
    return peak_bytes() if held is None else held


def room(device: torch.device, limit: float | None) -> int | None:
    """Bytes that this process may hold at most on a device, its present ones included.

    Args:
        device: a CPU stands for the machine's memory, within the limits of the process' control group.
        limit: GiB to take instead.

    Returns:
        None where that cannot be told.
    """
    if limit is not None:
        return int(limit * GIB)
    free = free_bytes(device)
    if free is None:
        return None
    if device.type == "cuda":
        return free + torch.cuda.memory_reserved(device)
    return resident() + min([free, *_group_rooms()])


def refusal(what: str, needed: float, there: int, key: str, advice: str) -> InputError:
    """What does not fit, and which settings would change that.

    Args:
        what: part of the run.
        needed: predicted bytes.
        there: bytes that there are.
        key: what the prediction is about, as a setting.
        advice: what to change.
    """
    return InputError(
        f"{key}: {what} would need about {needed / GIB:.1f} GiB of memory at its peak, and {there / GIB:.1f} GiB are "
        f"there; {advice}"
    )


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
