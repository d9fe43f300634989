"""Run the cells of a study, collect their rows, make its tables, and check its rows.

    python experiments/study.py run experiments/001_schedules           every run that is not there yet, then the tables
    python experiments/study.py run experiments/006_teachers --collections DIR
    python experiments/study.py collect experiments/001_schedules       rows of the runs that are below outputs/
    python experiments/study.py table [experiments/001_schedules]   pages and figures, from the rows alone
    python experiments/study.py commands experiments/001_schedules      what would be run
    python experiments/study.py check experiments/001_schedules --cells kd --seeds 1   makes a run once more, below
                                                                    OUTPUTS_again, and compares it with its rows

A run that is finished is not made again, and one that was killed goes on; a cell that fails stops no other one.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import print_tables
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.run.sweeping import finished_before
from colbert_lab.studies.answer import answer
from colbert_lab.studies.collecting import Check, check_table, collect
from colbert_lab.studies.pages import OVERVIEW, README, write_front, write_overview, write_readme
from colbert_lab.studies.reading import STUDY_FILE, read_study
from colbert_lab.studies.rows import read_rows, whole_rows, with_run, write_rows
from colbert_lab.studies.study import (
    NEUTRAL,
    Cell,
    Places,
    Study,
    needs_collections,
    overrides,
    preparations,
    shown,
)
from colbert_lab.tasks.composing import CONF, one_line

HERE = Path(__file__).resolve().parent
BAD_INPUT = (InputError, HydraException, OmegaConfBaseException)


def finished(given: list[str]) -> Path | None:
    """The finished run of a command line on this machine."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return finished_before(compose("config", given))


class Runner:
    """The runs of one study on this machine."""

    def __init__(self, study: Study, places: Places, more: list[str]) -> None:
        self.study, self.places, self.more = study, places, more

    def command(self, cell: Cell, seed: int, outputs: str | None = None) -> list[str] | str:
        """The overrides of a run below ``outputs`` (the usual place when left out); or why it cannot be made."""
        student = ""
        if cell.student_of:
            parent = self.study.cells[cell.student_of.cell]
            there = self.run_of(parent, seed)
            if there is None:
                return f"needs the student of {parent.name}, seed {seed}, which is not finished"
            student = str(there / (cell.student_of.phase or last_phase(there)) / "student")
        given = overrides(self.study, cell, seed, self.places, student)
        outputs = outputs or self.places.outputs
        given += [] if outputs == "outputs" else [f"output_dir={outputs}"]
        return [*given, *self.more]

    def python(self, cell: Cell) -> str | None:
        """The interpreter of a cell; None where its environment is not there."""
        if cell.environment is None:
            return sys.executable
        return os.environ.get(f"{cell.environment.upper()}_PYTHON")

    def run_of(self, cell: Cell, seed: int, outputs: str | None = None) -> Path | None:
        """The finished run of a cell and seed."""
        given = self.command(cell, seed, outputs)
        if isinstance(given, str):
            return None
        return finished([each for each in given if not each.startswith("-")])

    def collect(self, cell: Cell, seed: int) -> bool:
        """Put the rows of a run into the study; whether there is one."""
        found = self.run_of(cell, seed)
        if found is None:
            return False
        new = collect(self.study, cell, seed, found)
        write_rows(self.study, with_run(whole_rows(self.study), new))
        return True

    def prepare(self) -> None:
        """Make the data that the study's runs read."""
        for made, command in preparations(self.study, self.places, sys.executable):
            if not made.exists():
                print(f"$ {shlex.join(command)}", flush=True)
                if subprocess.run(command, check=False).returncode:
                    raise InputError(f"{made}: could not be made, see above")


def last_phase(run: Path) -> str:
    """The last phase of a finished run."""
    schedule = RunDirectory(run, run.name).status()["run"]["schedule"]
    return str(schedule[-1])


def chosen(study: Study, cells: list[str] | None, seeds: list[int] | None) -> list[tuple[Cell, int]]:
    """The part of the plan that is asked for."""
    for name in cells or []:
        if name not in study.cells:
            raise InputError(f"--cells {name}: no such cell; there are {', '.join(study.cells)}")
    found = [
        (cell, seed)
        for cell, seed in study.plan()
        if (not cells or cell.name in cells) and (not seeds or seed in seeds)
    ]
    if not found:
        raise InputError(f"--seeds {' '.join(map(str, seeds or []))}: no run has them")
    return found


def run(study: Study, runner: Runner, plan: list[tuple[Cell, int]]) -> int:
    """Make the runs one after another; how many could not be made."""
    runner.prepare()
    problems = []
    for number, (cell, seed) in enumerate(plan, start=1):
        title = f"[{number}/{len(plan)}] {cell.name}, seed {seed}"
        try:
            execute(runner, cell, seed, title)
            if not runner.collect(cell, seed):
                raise InputError("left no finished run, see above")
        except BAD_INPUT as error:
            problems.append(f"{title}: {one_line(error)}")
            print(problems[-1], flush=True)
    return told(problems)


def execute(runner: Runner, cell: Cell, seed: int, title: str, outputs: str | None = None) -> None:
    """Make one run.

    Raises:
        InputError: it cannot be made, or it failed.
        KeyboardInterrupt: it was interrupted.
    """
    given, python = runner.command(cell, seed, outputs), runner.python(cell)
    if isinstance(given, str):
        raise InputError(given)
    if python is None:
        raise InputError(f"set {str(cell.environment).upper()}_PYTHON")
    command = [python, "-m", "colbert_lab", *given]
    print(f"{title}\n$ {shlex.join(command)}", flush=True)
    start = time.perf_counter()
    status = subprocess.run(command, check=False).returncode
    if status == 130:
        raise KeyboardInterrupt
    print(f"{title}: {time.perf_counter() - start:.0f} s", flush=True)
    if status:
        raise InputError(f"exit status {status}, see above")


def check(study: Study, runner: Runner, plan: list[tuple[Cell, int]]) -> int:
    """Make runs once more and compare them with their rows; how many did not come out again."""
    rows = {(each.cell, each.seed): each for each in read_rows(study)}
    if not (plan := [(cell, seed) for cell, seed in plan if (cell.name, seed) in rows]):
        raise InputError(f"{study.name}: none of these cells and seeds has rows to compare with")
    runner.prepare()
    outputs, problems = f"{runner.places.outputs}_again", []
    for number, (cell, seed) in enumerate(plan, start=1):
        title = f"[{number}/{len(plan)}] {cell.name}, seed {seed}"
        try:
            execute(runner, cell, seed, title, outputs)
            folder = runner.run_of(cell, seed, outputs)
            if folder is None:
                raise InputError("left no finished run, see above")
            found = Check(rows[cell.name, seed], collect(study, cell, seed, folder))
        except BAD_INPUT as error:
            problems.append(f"{title}: {one_line(error)}")
            continue
        print_tables([check_table(study, found)])
        problems += [found.verdict] if found.others else []
    return told(problems)


def collect_all(study: Study, runner: Runner, plan: list[tuple[Cell, int]], outputs: str) -> int:
    """Put the rows of all finished runs into the study; for how many none can be looked for."""
    there, problems = 0, []
    for cell, seed in plan:
        try:
            there += runner.collect(cell, seed)
        except BAD_INPUT as error:
            problems.append(f"{cell.name}, seed {seed}: {one_line(error)}")
    print(f"{study.name}: {there} of {len(plan)} runs are below {outputs}")
    return told(problems)


def told(problems: list[str]) -> int:
    """Say each; how many there are."""
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return len(problems)


def main() -> int:
    """The command line; bad input ends in one line and exit status 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("run", "collect", "table", "commands", "check"))
    parser.add_argument("studies", nargs="*", type=Path, help="folders of studies; table: all when left out")
    parser.add_argument("--cells", nargs="+", help="these cells alone")
    parser.add_argument("--seeds", nargs="+", type=int, help="these seeds alone")
    parser.add_argument(
        "--collections", help="folder of collections in BEIR layout, for studies that need one"
    )
    parser.add_argument("--outputs", default="outputs", help="output_dir of the runs")
    parser.add_argument("--tracking", default="off", help="tracking of the runs: off, offline or wandb")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help=f"more of {', '.join(NEUTRAL)}"
    )
    given = parser.parse_args()
    try:
        return work(given)
    except BAD_INPUT as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:  # what is printed is cut off, as by | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0 if given.action == "commands" else 141


def work(given: argparse.Namespace) -> int:
    """Do what was asked; the exit status."""
    committed = sorted(path.parent for path in HERE.glob(f"*/{STUDY_FILE}"))
    folders = given.studies or (committed if given.action == "table" else [])
    if not folders:
        raise InputError(f"{given.action}: give the folder of a study")
    if other := [each for each in given.set if not each.startswith(NEUTRAL)]:
        raise InputError(
            f"--set {other[0]}: would make other runs than the study's; change its study.yaml instead"
        )
    failed = 0
    for folder in folders:
        study = read_study(folder)
        if given.action != "table":
            failed += with_runs(study, given)
        if given.action not in ("commands", "check"):
            found = answer(study)
            write_readme(found)
            print(f"{study.name}: {len(found.runs)} of {len(study.plan())} runs. {found.verdict}")
    if given.action not in ("commands", "check") and {each.resolve() for each in folders} & set(committed):
        answers = [answer(read_study(each)) for each in committed]
        write_overview(answers, HERE.parent / OVERVIEW)
        write_front(answers, HERE.parent / README)
    return 1 if failed else 0


def with_runs(study: Study, given: argparse.Namespace) -> int:
    """Run, collect or show; how many runs could not be made."""
    if given.collections is None and needs_collections(study) and given.action != "commands":
        raise InputError(f"{study.name} needs collections: give --collections DIR")
    places = Places(given.outputs, *([given.collections] if given.collections else []))
    runner = Runner(study, places, [f"tracking={given.tracking}", *given.set])
    plan = chosen(study, given.cells, given.seeds)
    if given.action == "run":
        return run(study, runner, plan)
    if given.action == "check":
        return check(study, runner, plan)
    if given.action == "collect":
        return collect_all(study, runner, plan, given.outputs)
    for cell, seed in plan:
        print(shown(study, cell, [seed]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
