"""All runs on disk, whatever became of them, read fast: the files that are small and nothing else."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from colbert_lab.analysis.ledger.entries import (
    FAILED,
    KILLED,
    RUNNING,
    STATUSES,
    UNKNOWN,
    Entry,
    LedgerIndex,
    StudentValues,
)
from colbert_lab.base.errors import InputError, no_folder
from colbert_lab.base.outside import read_json_or, warn_once, warnings_kept
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.records.cost import PhaseCost, cost_of
from colbert_lab.records.identity import SHORT
from colbert_lab.records.lineage import ENVIRONMENT_FILE
from colbert_lab.records.owner import executing
from colbert_lab.records.records import RECORDS_FILE, read_objects
from colbert_lab.records.run_directory import STATUS_FILE
from colbert_lab.records.run_files import About, Environment, PhaseFacts, Status, phases_of, read_config

log = logging.getLogger(__name__)

UNTRAINED = ("before", "evaluate")
"""Phase names, in the records, of a student that the run did not train."""
FEW = 500  # runs that one process reads in the time that another one takes to start
CHUNK = 50  # runs that a process is given at once
DEEPEST = 4  # folders below the one that is looked into: a name with slashes, and the run


def read_ledger(folder: Path, cache_dir: Path | None = None, processes: int = 1) -> list[Entry]:
    """Read what every run below a folder says of itself. Damaged files are skipped with a logged warning.

    Args:
        folder: the runs' ``output_dir``, or a part of it.
        cache_dir: where what was read is kept, see :class:`colbert_lab.analysis.ledger.entries.LedgerIndex`: runs whose
            files are the same are then not read again; None reads everything and keeps nothing.
        processes: how many may read together where there are many runs. They are new ones, which import the caller's
            main module: a script needs ``if __name__ == "__main__"``.

    Returns:
        The runs, by path. Links (``latest``, ``sweeps/``) do not count.

    Raises:
        InputError: no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise InputError(f"output_dir: {no_folder(folder)}: {folder.absolute()}; runs are looked for there")
    with no_collection():
        index = None if cache_dir is None else LedgerIndex(cache_dir, folder)
        found: dict[str, Entry | None] = {}
        unread = []
        for inside in _find(folder, index=index):
            path = folder / inside
            found[inside] = None if index is None else index.get(inside, path)
            if found[inside] is None and (index is None or inside not in index or _is_run(path)):
                unread.append((path, inside))
        for (_, inside), (entry, phases, warnings) in zip(unread, _read_all(unread, processes), strict=True):
            found[inside] = entry
            for warning in warnings:
                warn_once(warning)
            if index is not None and not warnings:  # damage is told each time
                index.add(inside, entry, phases)
        entries = [entry for entry in found.values() if entry is not None]
        if index is not None:
            index.write()
    if not entries:
        raise InputError(
            f"output_dir: no runs below {folder.absolute()} (no {STATUS_FILE}); choose another with output_dir=DIR"
        )
    return entries


@contextmanager
def no_collection() -> Iterator[None]:
    """Do not look for circles of references meanwhile.

    Python does it again and again while many objects are made. Entries and their cells hold none.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _is_run(folder: Path) -> bool:
    return (folder / STATUS_FILE).exists() or (folder / RECORDS_FILE).exists()


def _find(folder: Path, inside: str = "", depth: int = 0, index: LedgerIndex | None = None) -> Iterator[str]:
    """Run folders, each by its place in the first one; those in the index are not looked into."""
    if depth and index is not None and inside in index:
        yield inside
        return
    here = folder / inside
    try:
        with os.scandir(here) as scanned:
            there = sorted(
                (each for each in scanned if not each.name.startswith(".")), key=lambda each: each.name
            )
        below = [each.name for each in there if each.is_dir(follow_symlinks=False)]
    except OSError as problem:
        log.warning("%s is skipped, it cannot be read: %s", here, problem.strerror)
        return
    if {STATUS_FILE, RECORDS_FILE} & {each.name for each in there}:
        yield inside
    elif depth < DEEPEST:
        for each in below:
            yield from _find(folder, f"{inside}/{each}".lstrip("/"), depth + 1, index)


def _read_all(
    runs: Sequence[tuple[Path, str]], processes: int
) -> Iterator[tuple[Entry, list[str], list[str]]]:
    """Each run's entry, the phases that it is said to have, and what is to be warned of.

    Several processes read where there are many runs.
    """
    workers = min(len(runs) // FEW, processes)
    if workers < 2:
        yield from map(_read_quietly, runs)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_read_quietly, runs, chunksize=CHUNK)


def _read_quietly(run: tuple[Path, str]) -> tuple[Entry, list[str], list[str]]:
    path, inside = run
    name = inside.rpartition("/")[0] or path.absolute().parent.name
    with warnings_kept() as warnings:
        return *_read(path, name), warnings


def _read(path: Path, name: str) -> tuple[Entry, list[str]]:
    """A run's entry, and the phases that it is said to have."""
    status = read_json_or(path / STATUS_FILE, Status)
    if not (path / STATUS_FILE).exists():
        warn_once(f"{path / STATUS_FILE} is missing; the run is listed as unknown")
    about = status.get("run", About())
    students = StudentValues()
    for record in read_objects(path / RECORDS_FILE):
        if record["system"] == "student":
            students.add(record)
    last, phases = students.last, list(students.phases)
    environment = Environment() if last else read_json_or(path / ENVIRONMENT_FILE, Environment)
    schedule = phases_of(about) or [phase for phase in phases if phase not in UNTRAINED]
    what, host = _status(status, path)
    _, _, seed = path.name.partition("-r")[0].rpartition("-s")
    factors = about.get("factors", last.get("factors")) or {}
    entry = Entry(
        path=path,
        name=str(last.get("name") or name),
        run_id=path.name,
        task=about.get("task"),
        status=what,
        error=status.get("error") if what == FAILED else None,
        host=host,
        started=_number(status.get("started")),
        ended=_last_sign(path) if what == KILLED else _number(status.get("ended")),
        config_hash=about.get("config_hash") or last.get("config_hash") or path.name[:SHORT],
        seed=about.get("seed", last.get("seed", int(seed) if seed.isdigit() else None)),
        factors={key: str(value) for key, value in factors.items()},
        headline=about["headline"] if "headline" in about else _headline(path),
        phase=phases[-1] if phases else None,
        values=students.values(),
        costs=_costs(path, schedule),
        processes=about.get("processes"),
        hardware=last.get("hardware") or environment.get("hardware"),
        commit=last.get("commit") or environment.get("commit"),
        dirty=last["dirty"] if "dirty" in last else environment.get("dirty"),
    )
    return entry, schedule


def _status(status: Status, path: Path) -> tuple[str, str | None]:
    """What became of a run, and the other machine that it is said to run on."""
    known = status.get("status")
    if known == RUNNING:
        alive = executing(status, path)
        if alive is None:
            return RUNNING, str(status.get("host") or "an unknown machine")
        return (RUNNING if alive else KILLED), None
    return (known if known in STATUSES else UNKNOWN), None


def _costs(path: Path, phases: Iterable[str]) -> dict[str, PhaseCost]:
    """What the finished phases took."""
    found = {}
    for phase in phases:
        facts = read_json_or(path / phase / PHASE_FILE, PhaseFacts)
        if "seconds" in facts:
            found[phase] = cost_of({"steps": 0, "tokens": 0, **facts})
    return found


def _headline(path: Path) -> str | None:
    """``evaluation.headline`` of a run whose ``status.json`` does not have it, as in those of older versions."""
    found = read_config(path).get("evaluation", {}).get("headline")
    return None if found is None else str(found)


def _last_sign(path: Path) -> float | None:
    """When the run's files were last written to."""
    times = []
    for name in (STATUS_FILE, RECORDS_FILE, "run.log"):
        try:
            times.append((path / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
