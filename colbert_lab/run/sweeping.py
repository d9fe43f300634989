"""Sweeps (Hydra multirun): each cell runs whatever becomes of the others, and one table says what became of all.

A cell writes a small file when it begins and when it ends, so that this works in whatever processes or machines a
launcher puts cells, and after a kill. The sweep's own process reads them at the end. Imports no torch.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from colbert_lab.base import logs
from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import print_tables, to_markdown
from colbert_lab.base.outside import printable
from colbert_lab.records.identity import asked_hash, asked_where
from colbert_lab.records.read_back import headline
from colbert_lab.records.run_directory import check_writable, find_finished
from colbert_lab.run.cells import (
    BAD_INPUT,
    BEFORE,
    FAILED,
    FINISHED,
    PRUNED,
    Cell,
    cell_command,
    cell_from_text,
    cell_text,
    check_launcher,
    counted,
    needs_process,
    pruned,
    read_cells,
    remove_leftovers,
    run_alone,
    shown_path,
    sweep_table,
    told_cell,
    write_cell,
)
from colbert_lab.settings import check_name, command_of
from colbert_lab.tuning.storage import check_installed

log = logging.getLogger("colbert_lab")
FOLDER = ".cells"
TABLE = "table.md"
HERE = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
"""The launcher that runs one cell after the other in this process."""
SEARCHER = "hydra_plugins.colbert_lab_optuna.OptunaSweeper"
"""The sweeper of ``hydra/sweeper=optuna``."""


@dataclass
class _State:
    """Of this process: the sweep that it leads, the cell that it executes, and the newest run of either."""

    sweep: Sweep | None = None
    folder: Path | None = None
    cell: Cell | None = None
    run: Path | None = None


_state = _State()


class Sweep(Callback):
    """What Hydra calls around a sweep and around each of its cells; launchers take it along to other processes."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.swept: tuple[str, ...] = ()
        self.journal: str | None = None  # the file of a search, whose trials the cells are

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a process of a launcher: warnings of Python go to run.log alone, as in the sweep's own."""
        logging.captureWarnings(True)
        self.__dict__.update(state)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Make the folder of the cells' files; a launcher or Optuna that is not installed ends the command here.

        Raises:
            SystemExit: with status 2 after one line (Hydra turns any other error of a callback into a warning).
        """
        try:
            check_launcher(str(config.hydra.launcher._target_))
            if str(config.hydra.sweeper._target_) == SEARCHER:
                check_installed()
            check_name(str(config.name))
            folder = Path(config.hydra.sweep.dir).expanduser().absolute()
            config.hydra.sweep.dir = str(folder)
            check_writable(folder)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        self.swept = swept_keys(config)
        remove_leftovers(folder / FOLDER)
        self.folder = folder / FOLDER / f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        _state.sweep = self

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Say which cell this process executes now; outside a sweep there is none."""
        _state.folder, _state.cell = self.folder, None
        if self.folder is None:
            told = told_cell()
            _state.cell = None if told is None else cell_from_text(told)
            return
        pairs = [str(each).lstrip("+").partition("=") for each in config.hydra.overrides.task]
        chosen = [pair for pair in pairs if pair[0] in self.swept] or pairs
        number = OmegaConf.select(config, "hydra.job.num" if self.journal is None else "hydra.sweeper.trial")
        _state.cell = Cell(int(number or 0), {key: value for key, _, value in chosen}, journal=self.journal)


def swept_keys(config: DictConfig) -> tuple[str, ...]:
    """Config keys that have several values in a sweep, from the command line and from ``hydra.sweeper.params``.

    Args:
        config: of the sweep as Hydra composed it, with its ``hydra`` part.
    """
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    given = [f"{key}={value}" for key, value in params.items()]
    given += [str(each) for each in config.hydra.overrides.task]
    last = {each.get_key_element(): each for each in OverridesParser.create().parse_overrides(given)}
    return tuple(key.lstrip("+") for key, each in last.items() if each.is_sweep_override())


def current_sweep() -> Sweep | None:
    """The sweep that this process leads."""
    return _state.sweep


def current_cell() -> Cell | None:
    """The cell that this process executes, or is (see :mod:`colbert_lab.run.cells`); None outside a sweep."""
    return _state.cell


def in_sweep() -> bool:
    """Whether this process executes a cell of a sweep, and writes down what becomes of it."""
    return _state.folder is not None


def note_run(path: Path) -> None:
    """Tell the cell's row in the table, and :func:`noted_run`, where the run is."""
    _state.run = path
    if _state.cell is not None:
        _state.cell = replace(_state.cell, run=str(path))


def noted_run() -> Path | None:
    """The folder of the run that the command executed, or found finished; None before there is one."""
    return _state.run


def run_cell(cfg: DictConfig, execute: Callable[[DictConfig], float | None]) -> float | None:
    """Execute a cell, and keep its errors from the other cells.

    A finished run is recognised before anything heavy is imported.

    Args:
        cfg: what Hydra composed for the cell.
        execute: what executes a config.

    Returns:
        The headline value (for sweepers); None also when the cell failed.
    """
    assert _state.cell is not None
    assert _state.folder is not None
    start = time.perf_counter()
    write_cell(_state.folder, _state.cell)
    status, value, error = FINISHED, None, None
    if str(HydraConfig.get().launcher._target_) != HERE:
        cfg.progress = False  # bars of several processes would overwrite each other
        logs.prefix = f"[{_state.cell.label}] "
    try:
        known = finished_before(cfg)
        if known is not None:
            status = BEFORE
        elif needs_process(cfg.trainer):
            overrides = HydraConfig.get().overrides
            command = cell_command(sys.argv[1:], [*overrides.task, *overrides.hydra])
            run_alone(command, cell_text(_state.cell))
            known = finished_before(cfg)
        else:
            value = execute(cfg)
        if known is not None:
            note_run(known)
            if cfg.evaluation.headline is not None:
                last = cfg.schedule[-1] if cfg.schedule else "evaluate"
                value = headline(known, cfg.evaluation.headline, last)
        elif (stopped := pruned(_state.cell)) is not None:
            status = PRUNED
            note_run(stopped)
    except InputError as problem:
        status, error = BAD_INPUT, str(problem)
    except Exception as problem:
        status, error = FAILED, " ".join(f"{type(problem).__name__}: {problem}".split())
        traceback.print_exc()
    finally:
        logs.prefix = ""
    if logs.process_rank() > 0:
        return value  # the first process speaks for all
    if error is not None:
        print(printable(f"error: {_state.cell.label}: {error}"), file=sys.stderr)
    write_cell(
        _state.folder,
        replace(
            _state.cell,
            status=status,
            headline=OmegaConf.select(cfg, "evaluation.headline"),
            value=value,
            seconds=time.perf_counter() - start,
            error=error,
        ),
    )
    return value


def finished_before(cfg: DictConfig) -> Path | None:
    """The finished run of a config on this machine, found without loading what a run needs.

    Args:
        cfg: what Hydra composed.

    Returns:
        None when there is none, and where it would be made anew (``reuse=false``) or is no run.

    Raises:
        InputError: the config has an unknown key or a wrong value.
    """
    if cfg.task not in ("train", "evaluate") or not cfg.reuse:
        return None
    from colbert_lab.records.contents import contents_of  # takes half a second, which --help would wait for
    from colbert_lab.text.passes import remember_below

    command = command_of(cfg, targets=False)
    config, settings = command.config, command.settings
    remember_below(settings.cache)
    asked = asked_hash(config, contents_of(config), asked_where(config))
    return find_finished(settings.outputs, settings.name, settings.seed, asked)


def reset_sweep() -> None:
    """Forget what an earlier command of this process left."""
    _state.sweep = _state.folder = _state.cell = _state.run = None


def end_sweep(again: str) -> int | None:
    """Print the table of the sweep that this process led, and save it as ``sweeps/table.md``.

    Args:
        again: the command that runs the sweep again.

    Returns:
        The exit status: 0 when every cell is finished, 2 when those that are not all have bad input, else 1; None when
        there was no sweep, or none of its cells began.
    """
    if _state.sweep is None or _state.sweep.folder is None:
        return None
    folder, where, journal = _state.sweep.folder, _state.sweep.folder.parents[1], _state.sweep.journal
    reset_sweep()
    cells = read_cells(folder)
    shutil.rmtree(folder, ignore_errors=True)
    remove_leftovers(folder.parent)
    if not cells:
        return None
    table = sweep_table(cells, shown_path(where.parent))
    write_text(where / TABLE, to_markdown([table]))
    print_tables([table])
    if journal is not None:
        from colbert_lab.tuning.trial import show_search  # imports numpy, which --help would wait for

        show_search(Path(journal), where, again)
    left = [cell for cell in cells if not cell.done]
    if not left:
        return 0
    bad = [cell for cell in left if cell.status == BAD_INPUT]
    mended = "once the input is mended, " if bad else ""
    print(
        f"error: {counted(left)} of {len(cells)} cells; {mended}the same command skips the finished ones and takes up "
        f"the others: {again}",
        file=sys.stderr,
    )
    return 2 if len(bad) == len(left) else 1
