"""A cell of a sweep as a command of its own.

Training with several processes starts them once in the life of a process, and each repeats the command of the first:
the cells of a sweep would get into each other's way. So such a cell is a new process, which runs that cell alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from omegaconf import DictConfig

from colbert_lab.errors import InputError

STARTED_OUTSIDE = ("LOCAL_RANK", "SLURM_PROCID")
"""Set where SLURM or torchrun started all processes already."""
CELL = "COLBERT_LAB_CELL"
"""Tells such a process which cell it is."""
BAD_INPUT = 2
ERROR = "error: "


def needs_process(cfg: DictConfig, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a cell trains with several processes that it has to start itself."""
    return str(cfg.trainer.strategy) != "auto" and not any(name in environment for name in STARTED_OUTSIDE)


def cell_command(arguments: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The command that runs one cell alone.

    Args:
        arguments: of the sweep's command.
        overrides: of the cell, Hydra's own too.
    """
    kept = [each for each in arguments if each not in ("-m", "--multirun")]
    options = [
        each
        for number, each in enumerate(kept)
        if each.startswith("-") or (number and kept[number - 1].startswith("-") and "=" not in each)
    ]
    hydras = [
        each
        for each in overrides
        if not each.startswith(("hydra.mode=", "hydra/launcher=", "hydra.launcher."))
    ]
    return [sys.executable, "-m", "colbert_lab", *options, *hydras, "hydra.mode=RUN"]


def told_cell() -> str | None:
    """What the sweep told this process of the cell that it is; None where it is none."""
    return os.environ.get(CELL)


def run_alone(command: Sequence[str], cell: str) -> None:
    """Run a command, and pass on what it prints.

    Args:
        command: what :func:`cell_command` returned.
        cell: what the command is told of the cell that it is, see :func:`told_cell`.

    Raises:
        InputError: it ended with exit status 2; the message is its own.
        RuntimeError: it ended with another status than 0.
    """
    last = ""
    # The command line sets it for itself; in a child it would ask for tracebacks.
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    environment[CELL] = cell
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            last = line.strip() or last
    if process.returncode == BAD_INPUT:
        raise InputError(last.removeprefix(ERROR))
    if process.returncode:
        raise RuntimeError(f"its process ended with status {process.returncode}: {last}")
