"""The cells of a sweep: what became of each, as files and as one table, and a cell as a command of its own.

Training with several processes starts them once in the life of a process, and each repeats the command of the first:
the cells of a sweep would get into each other's way. So such a cell is a new process, which runs that cell alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from colbert_lab.analysis.configurations import short_names
from colbert_lab.analysis.ledger.columns import clock
from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import NONE, Table
from colbert_lab.base.logs import lightning_as_ours
from colbert_lab.base.outside import parse_json, read_json, warn_once
from colbert_lab.base.stopping import PARENT
from colbert_lab.records.owner import executing

STOPPED, FINISHED, BEFORE = "stopped", "finished", "finished before"
FAILED, BAD_INPUT, PRUNED = "failed", "bad input", "pruned"


@dataclass(frozen=True)
class Cell:
    """One job of a sweep.

    Attributes:
        number: its place in the sweep, from 0.
        factors: what the sweep varies, by config key.
        status: ``stopped`` from its begin until one of ``finished``, ``finished before``, ``failed`` (by an error of
            the program or the machine), ``bad input`` (which the user can mend) and ``pruned`` (a trial that its search
            stopped, as others are better) takes its place.
        headline: what the value is, such as ``dev/ndcg@10``.
        value: the headline value; None where there is none.
        seconds: that it took.
        run: its run directory; None where there is none, as after bad input.
        error: one line; None without an error.
        journal: the file of the search that it is a trial of.
    """

    number: int
    factors: Mapping[str, str] = field(default_factory=dict)
    status: str = STOPPED
    headline: str | None = None
    value: float | None = None
    seconds: float | None = None
    run: str | None = None
    error: str | None = None
    journal: str | None = None

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.status in (FINISHED, BEFORE, PRUNED)

    @property
    def named(self) -> list[tuple[str, str]]:
        """Its factors by short names."""
        names = short_names(list(self.factors))
        return [(names[key], value) for key, value in self.factors.items()]

    @property
    def label(self) -> str:
        """Its factors in one line."""
        return ",".join(f"{name}={value}" for name, value in self.named) or str(self.number)


def cell_text(cell: Cell) -> str:
    """A cell as one line, for a file or another process."""
    return json.dumps(asdict(cell))


def cell_from_text(text: str, where: str = "cell") -> Cell:
    """What :func:`cell_text` returned, as a cell; fields of another version are left out.

    Raises:
        InputError: it is damaged.
    """
    return parse_json(text, Cell, where)


def write_cell(folder: Path, cell: Cell) -> None:
    """Write what is known of a cell; processes of one sweep write one file each."""
    write_text(folder / f"{cell.number:05d}.json", cell_text(cell) + "\n")


def read_cells(folder: Path) -> list[Cell]:
    """The cells that :func:`write_cell` wrote, in their order; damaged files are skipped with a warning."""
    cells = []
    for path in sorted(folder.glob("*.json")):
        try:
            cells.append(read_json(path, Cell))
        except InputError as problem:
            warn_once(f"{problem}; the file is skipped")
    return cells


def sweep_table(cells: Sequence[Cell], where: str) -> Table:
    """One row a cell: its factors, what became of it, the headline value and the run.

    Args:
        cells: in their order.
        where: the folder of the sweep's runs.
    """
    keys = list(dict.fromkeys(key for cell in cells for key in cell.factors))
    names = short_names(keys)
    headlines = list(dict.fromkeys(cell.headline for cell in cells if cell.headline))
    value = headlines[0] if len(headlines) == 1 else "headline"
    columns = ("cell", *(names[key] for key in keys), "status", value, "took", "run")
    rows = [
        (
            str(cell.number),
            *(cell.factors.get(key, NONE) for key in keys),
            cell.status,
            NONE if cell.value is None else f"{cell.value:.4f}",
            NONE if cell.seconds is None else clock(cell.seconds),
            NONE if cell.run is None else Path(cell.run).name,
        )
        for cell in cells
    ]
    pruned = sum(cell.status == PRUNED for cell in cells)
    done = sum(cell.done for cell in cells) - pruned
    became = f"{done} of {len(cells)} cells finished" + (f", {pruned} pruned" if pruned else "")
    notes = [f"{_together(alike)}: {error}" for error, alike in _by_error(cells).items()]
    if any(cell.status == STOPPED for cell in cells):
        notes.append("stopped: its process ended before it did; it goes on from its last checkpoint.")
    return Table(f"Sweep: {became}, runs in {where}", columns, tuple(rows), (), tuple(notes))


def _by_error(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells that ended in the same error."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.error:
            found.setdefault(cell.error, []).append(cell)
    return found


def _together(cells: Sequence[Cell]) -> str:
    """Some cells in a few words: their number, and what they have in common."""
    if len(cells) == 1:
        return cells[0].label
    common = set(cells[0].named).intersection(*(cell.named for cell in cells))
    shared = ",".join(f"{name}={value}" for name, value in cells[0].named if (name, value) in common)
    numbers = ", ".join(str(cell.number) for cell in cells[:10]) + (", ..." if len(cells) > 10 else "")
    return f"{len(cells)} cells{f' with {shared}' if shared else ''} ({numbers})"


STARTED_OUTSIDE = ("LOCAL_RANK", "SLURM_PROCID")
"""Set where SLURM or torchrun started all processes already."""
CELL = "COLBERT_LAB_CELL"
"""Tells such a process which cell it is."""
PLUGINS = {"hydra_joblib_launcher": "joblib", "hydra_submitit_launcher": "submitit"}
"""Packages of launchers, and the extras of this project that bring them."""
EXIT_OF_BAD_INPUT = 2
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

    with lightning_as_ours():  # nothing is logged yet, so it would show its own lines
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


def run_alone(command: Sequence[str], cell: str | None = None) -> None:
    """Run a command, and pass on what it prints.

    Args:
        command: what :func:`cell_command` returned.
        cell: what the command is told of the cell that it is, see :func:`told_cell`; None where it is none.

    Raises:
        InputError: it ended with exit status 2; the message is its own.
        RuntimeError: it ended with another status than 0.
    """
    last = ""
    environment = os.environ | {PARENT: str(os.getpid())} | ({} if cell is None else {CELL: cell})
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
    if process.returncode == EXIT_OF_BAD_INPUT:
        raise InputError(last.removeprefix(ERROR))
    if process.returncode:
        raise RuntimeError(f"its process ended with status {process.returncode}: {last}")


def counted(cells: Sequence[Cell]) -> str:
    """How many cells are not done, by what became of them: ``1 failed, 2 bad input``."""
    counts = {status: sum(cell.status == status for cell in cells) for status in (FAILED, BAD_INPUT, STOPPED)}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def shown_path(path: Path) -> str:
    """A path as it is shortest from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def remove_leftovers(folder: Path) -> None:
    """Remove the files of sweeps whose process is gone, and the folder when nothing is left in it."""
    for each in folder.glob("*-*-*"):
        host, pid, begun = each.name.rsplit("-", 2)
        if executing({"host": host, "pid": int(pid), "started": int(begun) / 1e9}) is False:
            shutil.rmtree(each, ignore_errors=True)
    try:
        folder.rmdir()
    except OSError:
        return  # not there, or of another sweep


def pruned(cell: Cell) -> Path | None:
    """The run of a trial that its search has stopped; None of any other cell."""
    if cell.journal is None:
        return None
    from colbert_lab.tuning.trial import pruned_run  # imports numpy, which --help would wait for

    return pruned_run(cell.journal, cell.number)
