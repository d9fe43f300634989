"""Find and read runs, for analysis: what was measured, what it cost, the curves. Read-only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import read_json_or
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.records.by_query import ByQuery, recorded_values
from colbert_lab.records.cost import PhaseCost, read_cost
from colbert_lab.records.identity import SHORT
from colbert_lab.records.owner import executing, owned
from colbert_lab.records.records import EXACT, RECORDS_FILE, Record, read_records
from colbert_lab.records.run_directory import STATUS_FILE, RunDirectory
from colbert_lab.records.run_files import Status, read_curves

STUDENT = "student"
"""The final student of a run; also the name of that system in the records."""
FINISHED, RUNNING = "finished", "running"
BEFORE = "before"
"""Phase name of the untrained student in the records."""
SWEEPS = "sweeps"
"""Folder beside the runs with links to those of a sweep."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        run_id: its identity, also the folder's name.
        seed: its seed; None in records that have none.
        config_hash: identity of its config; equal for the seeds of one configuration.
        factors: the overrides that make it differ, by config key.
        records: what was measured, in the order of the file; not empty.
    """

    path: Path
    run_id: str
    seed: int | None
    config_hash: str
    factors: Mapping[str, str]
    records: tuple[Record, ...]

    @cached_property
    def phases(self) -> tuple[str, ...]:
        """The student's measured phases in their order, without ``before``."""
        found = dict.fromkeys(record.phase for record in self.records if record.system == "student")
        return tuple(phase for phase in found if phase != BEFORE)

    @property
    def trained(self) -> tuple[str, ...]:
        """The phases that trained the student, as scheduled, also those after which it was not measured."""
        about = RunDirectory(self.path, self.run_id).status().get("run") or {}
        planned = [
            phase for phase in about.get("schedule") or () if (self.path / phase / PHASE_FILE).is_file()
        ]
        return tuple(dict.fromkeys([*planned, *self.phases]))

    @property
    def logged(self) -> tuple[str, ...]:
        """The phases that have curves, as scheduled: the measured ones, others, and one that is being trained."""
        there = sorted(file.parent.name for file in self.path.glob("*/metrics.csv"))
        known = set(self.phases) | set(there)
        about = RunDirectory(self.path, self.run_id).status().get("run") or {}
        planned = [phase for phase in about.get("schedule") or () if phase in known]
        return tuple(dict.fromkeys([*planned, *self.phases, *there]))

    @cached_property
    def splits(self) -> dict[str, str]:
        """Fingerprint of each split that the student was measured on."""
        return {r.split: r.split_fingerprint for r in self.records if r.system == "student"}

    def record(self, phase: str, split: str, measure: str, system: str = STUDENT) -> Record | None:
        """A system's record, the last one where there are several; None when it has no number.

        It is that of exact search of float32 embeddings, or where there is none, of the first way to search.
        """
        found = [
            record
            for record in self.records
            if (record.system, record.phase, record.split, record.measure) == (system, phase, split, measure)
        ]
        way = EXACT if any(record.variant == EXACT for record in found) else found[0].variant if found else ""
        found = [record for record in found if record.variant == way]
        return found[-1] if found and math.isfinite(found[-1].value) else None

    def value(self, phase: str, split: str, measure: str) -> float | None:
        """The recorded mean over queries, or None."""
        record = self.record(phase, split, measure)
        return None if record is None else record.value

    def by_query(self, phase: str, split: str, measure: str, system: str = STUDENT) -> ByQuery | None:
        """The values of each query; None where the file is missing, unreadable or not of the recorded mean."""
        record = self.record(phase, split, measure, system)
        found = None if record is None else recorded_values(self.path, record)
        return None if found is None else ByQuery(found[0].query_ids, found[0].values[measure], found[1])

    def cost(self, phase: str) -> PhaseCost | None:
        """What a phase took; None for ``before``, and where ``phase.json`` is missing or unreadable."""
        return read_cost(self.path / phase)

    def curves(self, phase: str) -> dict[str, list[tuple[int, float]]]:
        """Everything logged while a phase was trained: (step, value) pairs by name, such as ``train/loss``."""
        found: dict[str, list[tuple[int, float]]] = {}
        for step, _, name, value in read_curves(self.path / phase / "metrics.csv"):
            found.setdefault(name, []).append((step, value))
        return found


@dataclass(frozen=True)
class FoundRuns:
    """The runs that were looked for.

    Attributes:
        runs: the finished ones that measured a student.
        left_out: one sentence for each run that is there and is not used, and why.
    """

    runs: tuple[Run, ...]
    left_out: tuple[str, ...]


def find_runs(outputs: Path, name: str) -> FoundRuns:
    """Read the finished runs below ``<outputs>/<name>``.

    A run that was trained anew (``-r2``, ``-r3``) takes the place of the one before it: the same seed twice
    is not two seeds. The oldest run comes first.

    Args:
        outputs: the runs' ``output_dir``.
        name: the runs' ``name``.

    Raises:
        InputError: no such folder, or no finished run in it.
    """
    folder = outputs / name
    if not folder.is_dir():
        names = sorted(path.parent.parent.name for path in outputs.glob(f"*/latest/{STATUS_FILE}"))
        there = f"there are {', '.join(names)}" if names else "there are no runs"
        raise InputError(f"{folder}: no such folder; in {outputs} {there}")
    found = _chosen(path for path in _runs_in(folder) if not path.is_symlink())
    if not found.runs:
        raise InputError(f"{folder}: no finished run with measurements. {' '.join(found.left_out)}".rstrip())
    return FoundRuns(tuple(sorted(found.runs, key=_begun)), found.left_out)


def newest_run(outputs: Path, running: bool = False) -> Path:
    """The run below an ``output_dir`` that was begun last.

    Args:
        outputs: the runs' ``output_dir``.
        running: take one that is not finished too, where its process is executing it.

    Raises:
        InputError: there is none.
    """
    wanted = (FINISHED, RUNNING) if running else (FINISHED,)
    found = [
        (read_json_or(file, Status).get("started") or 0.0, file.parent)
        for depth in ("*/*", "*/*/*")
        for file in outputs.glob(f"{depth}/{STATUS_FILE}")
        if not file.parent.is_symlink()
        and file.parent.parent.name != SWEEPS
        and _status(file.parent) in wanted
    ]
    if not found:
        raise InputError(f"runs: no finished run in {outputs}; give runs=[DIR], or output_dir=DIR")
    return max(found)[1]


class RunsNotMeasured(InputError):
    """No run of those that were asked for has measured a student yet."""


def running_runs(folders: Sequence[Path]) -> list[Path]:
    """The runs in some folders that a process is executing.

    Args:
        folders: as :func:`read_runs` takes them.
    """
    return [path for folder in folders for path in _runs_of(folder) if _status(path) == RUNNING]


def _runs_of(folder: Path) -> list[Path]:
    whole = (folder / STATUS_FILE).is_file()
    return [folder.resolve()] if whole else [path.resolve() for path in _runs_in(folder)]


def read_runs(folders: Sequence[Path], key: str = "runs", running: bool = False) -> FoundRuns:
    """Read the finished runs that folders hold, in the order of the folders.

    Args:
        folders: run directories, ``.../latest``, or folders of runs such as ``outputs/<name>`` and
            ``outputs/<name>/sweeps``. A run that several of them hold counts once.
        key: the setting that names the folders, for messages.
        running: take runs that are not finished too, where a process is executing them, with what they measured so far.

    Returns:
        The runs, those of one folder from the oldest to the newest; a repetition (``-r2``) takes the place
        of the run before it.

    Raises:
        InputError: a folder that is no run and holds none, or that holds no finished run.
    """
    place: dict[Path, int] = {}
    for number, folder in enumerate(folders):
        here = _runs_of(folder)
        if not here:
            inside = sorted(str(path.parent.parent) for path in folder.glob(f"*/latest/{STATUS_FILE}"))
            raise InputError(
                f"{key}: {folder} is no run and holds none; give outputs/NAME/latest, outputs/NAME/RUN_ID or a "
                f"folder of runs{f' such as {inside[0]}' if inside else ''}"
            )
        known = {path.name: _status(path) for path in here}
        if not {FINISHED, *([RUNNING] if running else [])} & {*known.values()}:
            statuses = ", ".join(f"{name}: {status}" for name, status in known.items())
            hint = "; task=report shows it with report.live=true" if RUNNING in known.values() else ""
            raise InputError(f"{key}: {folder} has no finished run ({statuses}){hint}")
        place = dict.fromkeys(here, number) | place
    found = _chosen(place, running)
    if not found.runs:
        raise RunsNotMeasured(f"{key}: no finished run with measurements. {' '.join(found.left_out)}")
    ordered = sorted(found.runs, key=lambda run: (place[run.path], _begun(run)))
    return FoundRuns(tuple(ordered), found.left_out)


def _runs_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{STATUS_FILE}"))


def _chosen(paths: Iterable[Path], running: bool = False) -> FoundRuns:
    """The finished runs among these, in their order, without those that another one repeats."""
    runs: list[Run] = []
    left_out: list[str] = []
    for path in paths:
        status = _status(path)
        if status != FINISHED and not (running and status == RUNNING):
            left_out.append(f"{path.name} is left out: it is not finished (its status is {status}).")
            continue
        run = _read(path)
        if run is None:
            left_out.append(f"{path.name} is left out: it measured no student.")
        else:
            runs.append(run)
    kept: dict[tuple[str, int | None, str], Run] = {}
    for run in sorted(runs, key=_repeat):
        # Other text under the same command is another measurement, not a repetition.
        key = (run.config_hash, run.seed, json.dumps(run.splits, sort_keys=True))
        if key in kept:
            left_out.append(f"{kept[key].run_id} is left out: {run.run_id} repeats it.")
        kept[key] = run
    chosen = {run.path for run in kept.values()}
    return FoundRuns(tuple(run for run in runs if run.path in chosen), tuple(left_out))


def _status(path: Path) -> str:
    status = RunDirectory(path, path.name).status()
    if status.get("status") == "running" and executing(status, path) is False and not owned(path):
        return "killed"
    return status.get("status", "unknown")


def _read(path: Path) -> Run | None:
    records = read_records(path / RECORDS_FILE)
    students = [record for record in records if record.system == "student"]
    if not students:
        return None
    first = students[0]
    factors = {key: str(value) for key, value in first.factors.items()}
    return Run(path, path.name, first.seed, first.config_hash or path.name[:SHORT], factors, tuple(records))


def _repeat(run: Run) -> int:
    _, marker, number = run.run_id.rpartition("-r")
    return int(number) if marker and number.isdigit() else 1


def _begun(run: Run) -> tuple[float, str]:
    return run.records[0].time or 0.0, run.run_id
