"""A cell of a sweep as a command of its own.

Training with several processes starts them once in the life of a process, and each repeats the command of the first:
the cells of a sweep would get into each other's way. So such a cell is a new process, which runs that cell alone.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.stopping import PARENT

STARTED_OUTSIDE = ("LOCAL_RANK", "SLURM_PROCID")
"""Set where SLURM or torchrun started all processes already."""
CELL = "COLBERT_LAB_CELL"
"""Tells such a process which cell it is."""
PLUGINS = {"hydra_joblib_launcher": "joblib", "hydra_submitit_launcher": "submitit"}
"""Packages of launchers, and the extras of this project that bring them."""
BAD_INPUT = 2
ERROR = "error: "


def check_launcher(target: str) -> None:
    """Whether the package of a launcher is installed.

    Args:
        target: the launcher's class, ``hydra.launcher._target_``.

    Raises:
        InputError: it is not; the message names the command that installs it.
    """
    package = next((part for part in target.split(".") if part in PLUGINS), None)
    if package is not None and importlib.util.find_spec(f"hydra_plugins.{package}") is None:
        raise InputError(
            f"hydra/launcher: {package.replace('_', '-')} is not installed; pip install "
            f"'colbert-lab[{PLUGINS[package]}]'"
        )


def needs_process(trainer: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a cell computes with several processes that it has to start itself.

    Args:
        trainer: settings of its trainer.
        environment: variables of this process.

    Raises:
        InputError: its trainer cannot be had here.
    """
    if any(name in environment for name in STARTED_OUTSIDE):
        return False
    from colbert_lab.training.strategy import count_processes  # imports torch, which --help would wait for

    return str(trainer["strategy"]) != "auto" or count_processes(trainer) > 1


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
    environment = os.environ | {CELL: cell, PARENT: str(os.getpid())}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
        except KeyboardInterrupt:
            process.terminate()  # a signal may have reached this process alone
            sys.stderr.write(process.communicate()[1])
            raise
    if process.returncode == BAD_INPUT:
        raise InputError(last.removeprefix(ERROR))
    if process.returncode:
        raise RuntimeError(f"its process ended with status {process.returncode}: {last}")
