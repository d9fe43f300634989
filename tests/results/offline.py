"""Read what W&B wrote offline, once it is all there."""

from __future__ import annotations

import time
from pathlib import Path

from colbert_lab.errors import InputError
from colbert_lab.results.wandb_file import WandbRun, read_wandb_file


def finished_run(path: Path, seconds: float = 60) -> WandbRun:
    """The run in a file; ``finish()`` returns before the records are on disk, on a busy machine long before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            run = read_wandb_file(path)
        except InputError:
            run = None
        if run is not None and run.finished:
            return run
        time.sleep(0.05)
    return read_wandb_file(path)
