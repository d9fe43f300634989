"""The command line: ``python -m colbert_lab``. Heavy imports wait until there is a config to run."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colbert_lab.base.atomic import TEMPORARY, UNFINISHED, no_room
from colbert_lab.base.errors import CheckFailed, InputError
from colbert_lab.base.logs import captured_warnings, process_rank
from colbert_lab.base.outside import printable
from colbert_lab.base.stopping import cause, end_processes, exit_status, say_stopped, stopped_by_signals
from colbert_lab.run.cells import told_cell
from colbert_lab.run.sweeping import end_sweep, in_sweep, reset_sweep, run_cell
from colbert_lab.tasks.arguments import bounded_configs, readable
from colbert_lab.tasks.composing import CONF, execute, one_line
from colbert_lab.tasks.listing import told
from colbert_lab.tasks.registry import TASKS

LEAST = 2**20
"""Free bytes below which a place counts as full."""
FULL_ERROR = "HYDRA_FULL_ERROR"
USERS = os.environ.get(FULL_ERROR)
WANTS_TRACE = USERS not in (None, "0", "")


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def _run(cfg: DictConfig) -> float | None:
    with full_error(USERS):  # processes that a task starts get what the user has set
        if in_sweep():
            return run_cell(cfg, _execute)
        try:
            return _execute(cfg)
        except InputError as error:
            # Hydra would print a second line before it passed the error on.
            stop(error)
        except CheckFailed as error:
            stop(error, status=1)


@contextmanager
def full_error(value: str | None) -> Iterator[None]:
    """Set what Hydra reads of the environment to choose between an error itself and a report of its own.

    Args:
        value: "1" for the error itself; None for what Hydra does by default.
    """
    before = os.environ.get(FULL_ERROR)
    try:
        _set_full_error(value)
        yield
    finally:
        _set_full_error(before)


def _set_full_error(value: str | None) -> None:
    if value is None:
        os.environ.pop(FULL_ERROR, None)
    else:
        os.environ[FULL_ERROR] = value


def _execute(cfg: DictConfig) -> float | None:
    try:
        return execute(cfg, list(HydraConfig.get().overrides.task))
    except InputError:
        raise
    except Exception as error:
        if (lost := cause(error)) is not error:
            raise lost from error
        problem = no_room(error)
        if problem is None:
            raise
        raise InputError(full_place(problem, cfg)) from error


def full_place(problem: OSError, cfg: DictConfig) -> str:
    """Which file could not be written for want of room, and the setting that says where it lies.

    Args:
        problem: what :func:`colbert_lab.base.atomic.no_room` found.
        cfg: what Hydra composed.
    """
    named = {key: OmegaConf.select(cfg, key) for key in ("out", "compare.output", "cache_dir", "output_dir")}
    places = {key: Path(str(value)).expanduser().absolute() for key, value in named.items() if value}
    file = None if problem.filename is None else Path(os.fsdecode(problem.filename)).absolute()
    if file is None:
        # Which write it was is not known; a place that is full is known by its file system.
        keys = [key for key, place in places.items() if _free(place) < LEAST] or list(places)
    else:
        holding = [key for key, place in places.items() if _holds(place, file)]
        keys = sorted(holding, key=lambda key: len(str(places[key])))[-1:]
    where = " or ".join(f"{key}={named[key]}" for key in keys)
    what = " ".join(each for each in (f"{where}:" if where else "", f"{file}:" if file else "") if each)
    again = " or ".join(f"{key}=..." for key in keys)
    return f"{what} {problem.strerror}; the same command goes on once there is room" + (
        f", or choose another place with {again}" if again else ""
    )


def _holds(place: Path, file: Path) -> bool:
    """Whether a file is in a place, or in a folder that takes its name once it is whole."""
    if file.is_relative_to(place) or not file.is_relative_to(place.parent):
        return file.is_relative_to(place)
    name = file.relative_to(place.parent).parts[0]
    temporary = TEMPORARY.fullmatch(name)
    return name == place.name + UNFINISHED or (temporary is not None and temporary[1] == place.name)


def _free(place: Path) -> float:
    """Free bytes of the file system that holds a place; endless where that cannot be known."""
    there = next((each for each in (place, *place.parents) if each.exists()), Path("/"))
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return math.inf


def stop(error: Exception, status: int = 2) -> NoReturn:
    """End with one line and an exit status; with a traceback when the user set HYDRA_FULL_ERROR=1."""
    if WANTS_TRACE:
        raise error
    print(f"error: {printable(one_line(error, sys.argv[1:]))}", file=sys.stderr)
    sys.exit(status)


def main() -> None:
    """Run the command line; mistakes of the user end in one line and exit status 2.

    A sweep ends in a table of its cells, see :func:`colbert_lab.run.sweeping.end_sweep`, whatever became of them.
    SIGTERM and Ctrl-C end in one line that says how to go on, and exit status 143 and 130. Processes that were started
    to work with this one end with it.
    """
    with stopped_by_signals(first=process_rank() == 0), captured_warnings():
        try:
            _main()
        except BaseException:
            end_processes()
            raise


def _main() -> None:
    again = shlex.join(["python", "-m", "colbert_lab", *sys.argv[1:]])
    try:
        if (answer := told(sys.argv[1:])) is not None:
            print(answer)
            return
        sys.argv = [sys.argv[0], *readable(sys.argv[1:], CONF, TASKS)]
    except InputError as error:
        stop(error)
    reset_sweep()
    bounded_configs()
    try:
        with full_error("1"):  # errors come through to us
            _run()
    except (HydraException, OmegaConfBaseException, InputError) as error:
        end_sweep(again)
        stop(error)
    except KeyboardInterrupt as stopped:
        end_processes()
        end_sweep(again)
        if process_rank() == 0:
            say_stopped(stopped)
            if told_cell() is None:
                requeue(stopped)
        sys.exit(exit_status(stopped))
    except Exception as error:
        if end_sweep(again) is None:
            raise
        # Of the launcher: errors of cells are kept from the sweep.
        print(printable(f"error: {type(error).__name__}: {error}"), file=sys.stderr)
        sys.exit(1)
    if status := end_sweep(again):
        sys.exit(status)


def requeue(stopped: KeyboardInterrupt) -> None:
    """Have SLURM start this job again, which goes on, where its SIGUSR1 ended it; say whether SLURM will.

    Args:
        stopped: what ended the command.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or exit_status(stopped) != 128 + signal.SIGUSR1:
        return
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False
        )
        problem = done.stderr.strip() or f"exit status {done.returncode}" if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    print(
        f"SLURM will start job {job} again"
        if problem is None
        else f"SLURM will not start job {job} again (scontrol requeue: {problem}); submit it once more",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
