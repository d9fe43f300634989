"""How much memory is used at most, how much there is, and what to change where it does not suffice."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

from colbert_lab.errors import InputError
from colbert_lab.training.memory import GIB, free_bytes

CGROUPS = Path("/sys/fs/cgroup")


class Meter:
    """The most memory that this process held since :meth:`reset`: resident, and on the device.

    Args:
        device: where the student computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def reset(self) -> None:
        """Begin anew; where the system cannot forget a peak, later peaks include earlier ones."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int:
        """Resident bytes."""
        return _status("VmHWM") or _most_resident()

    def device_peak(self) -> int | None:
        """Bytes on the device; None on a CPU."""
        if self.device.type != "cuda":
            return None
        free, total = torch.cuda.mem_get_info(self.device)
        # What torch has not reserved is taken by the CUDA context and by others.
        outside = total - free - torch.cuda.memory_reserved(self.device)
        return int(torch.cuda.max_memory_reserved(self.device) + max(outside, 0))


def resident() -> int:
    """Bytes that this process holds now."""
    return _status("VmRSS") or _most_resident()


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
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if free is None:
        return None
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


def _status(name: str) -> int | None:
    """A line of this process' status, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _most_resident() -> int:
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)
