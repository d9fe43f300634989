"""What of the machine this process may use, and which of its processes this one is."""

from __future__ import annotations

import os


def cores() -> int:
    """Processor cores that this process may run on, where the system tells; else those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_rank() -> int:
    """Number of this process among those of a run on this machine, as torchrun, Lightning or SLURM say; 0 alone."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))
