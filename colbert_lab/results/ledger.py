"""All runs on disk, whatever became of them, read fast: the files that are small and nothing else."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from colbert_lab.errors import InputError
from colbert_lab.results.cost import PhaseCost, cost_of, device_hours
from colbert_lab.results.identity import SHORT
from colbert_lab.results.lineage import PHASE_FILE
from colbert_lab.results.records import RECORDS_FILE
from colbert_lab.results.run_directory import STATUS_FILE, executing
from colbert_lab.results.run_files import read_config, read_object, read_results

log = logging.getLogger(__name__)

FINISHED, FAILED, RUNNING, KILLED, UNKNOWN = "finished", "failed", "running", "killed", "unknown"
STATUSES = (FINISHED, FAILED, RUNNING, KILLED, UNKNOWN)
UNTRAINED = ("before", "evaluate")
"""Phase names, in the records, of a student that the run did not train."""
DEEPEST = 4  # folders below the one that is looked into: a name with slashes, and the run


@dataclass(frozen=True)
class Measured:
    """A measure on a split.

    Attributes:
        after: after the last phase that was measured, or of the student of ``task=evaluate``; None before that.
        before: of the untrained student; None where there is none.
    """

    after: float | None
    before: float | None

    @property
    def change(self) -> float | None:
        """What training changed."""
        return None if self.after is None or self.before is None else self.after - self.before


@dataclass(frozen=True, eq=False)
class Entry:
    """One run, as its files say; what they do not say is None or empty.

    Attributes:
        path: its folder.
        name: its name.
        run_id: the folder's name.
        task: ``train`` or ``evaluate``.
        status: ``finished``, ``failed``, ``running``, ``killed`` (it says running, and its process is gone) or
            ``unknown`` (without a readable ``status.json``).
        error: what a failed run failed with.
        host: the machine, where a running one is on another and cannot be asked whether it lives.
        started: of the last execution, seconds since 1970.
        ended: its end; of a killed run, when its files were last written.
        config_hash: identity of the config, at least its first digits.
        seed: its seed.
        factors: its overrides, by config key.
        headline: the value that it is about, such as ``dev/ndcg@10``.
        phase: the last phase that was measured.
        values: by ``<split>/<measure>``, of exact search, or of the first way to search where that is not among them.
        costs: what its finished phases took, by name, also those that it took over from other runs.
        processes: that trained together, one a device.
        hardware: on what.
        commit: of the code.
        dirty: whether that was changed.
    """

    path: Path
    name: str
    run_id: str
    task: str | None
    status: str
    error: str | None
    host: str | None
    started: float | None
    ended: float | None
    config_hash: str
    seed: int | None
    factors: Mapping[str, str]
    headline: str | None
    phase: str | None
    values: Mapping[str, Measured]
    costs: Mapping[str, PhaseCost]
    processes: int | None
    hardware: str | None
    commit: str | None
    dirty: bool | None

    @property
    def seconds(self) -> float | None:
        """Wall time of the last execution, until now when it is running."""
        end = time.time() if self.status == RUNNING else self.ended
        return None if self.started is None or end is None else end - self.started

    @property
    def own_costs(self) -> list[PhaseCost]:
        """Of the phases that it trained itself."""
        return [cost for cost in self.costs.values() if cost.reused_from is None]

    @property
    def seconds_train(self) -> float:
        """Wall time of the training steps of the phases that it trained itself."""
        return sum(cost.seconds for cost in self.own_costs)

    @property
    def seconds_reused(self) -> float:
        """The same of phases that it took over from other runs."""
        return sum(cost.seconds for cost in self.costs.values() if cost.reused_from is not None)

    @property
    def device_hours(self) -> float | None:
        """Training time of the run itself, over all devices."""
        return None if self.processes is None else device_hours(self.seconds_train, self.processes)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The resolved config; empty where it cannot be read. Reading it takes some milliseconds."""
        return read_config(self.path)


def read_ledger(folder: Path) -> list[Entry]:
    """Read what every run below a folder says of itself. Damaged files are skipped with a logged warning.

    Args:
        folder: the runs' ``output_dir``, or a part of it.

    Returns:
        The runs, by path. Links (``latest``, ``sweeps/``) do not count.

    Raises:
        InputError: no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise InputError(f"output_dir: no such folder: {folder.absolute()}; runs are looked for there")
    entries = [_read(path, name) for path, name in _find(folder)]
    if not entries:
        raise InputError(
            f"output_dir: no runs below {folder.absolute()} (no {STATUS_FILE}); choose another with output_dir=DIR"
        )
    return entries


def _find(folder: Path, name: str = "", depth: int = 0) -> Iterator[tuple[Path, str]]:
    """Run folders, each with the folders between it and the first one."""
    try:
        with os.scandir(folder) as scanned:
            inside = sorted(
                (each for each in scanned if not each.name.startswith(".")), key=lambda each: each.name
            )
        below = [each.name for each in inside if each.is_dir(follow_symlinks=False)]
    except OSError as problem:
        log.warning("%s is skipped, it cannot be read: %s", folder, problem.strerror)
        return
    if {STATUS_FILE, RECORDS_FILE} & {each.name for each in inside}:
        yield folder, os.path.dirname(name) or folder.absolute().parent.name  # noqa: PTH120
    elif depth < DEEPEST:
        for each in below:
            yield from _find(folder / each, f"{name}/{each}".lstrip("/"), depth + 1)


def _read(path: Path, name: str) -> Entry:
    status = read_object(path / STATUS_FILE)
    about = status.get("run")
    about = about if isinstance(about, dict) else {}
    students = [record for record in read_results(path / RECORDS_FILE) if record["system"] == "student"]
    last = students[-1] if students else {}
    environment = {} if last else read_object(path / "environment.json", needed=False)
    phases = [phase for phase in dict.fromkeys(r.get("phase") for r in students) if phase]
    schedule = about.get("schedule") or [phase for phase in phases if phase not in UNTRAINED]
    what, host = _status(status)
    _, _, seed = path.name.partition("-r")[0].rpartition("-s")
    factors = about.get("factors", last.get("factors")) or {}
    return Entry(
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
        values=_values(students, phases),
        costs=_costs(path, schedule),
        processes=about.get("processes"),
        hardware=last.get("hardware") or environment.get("hardware"),
        commit=last.get("commit") or environment.get("commit"),
        dirty=last["dirty"] if "dirty" in last else environment.get("dirty"),
    )


def _status(status: Mapping[str, Any]) -> tuple[str, str | None]:
    """What became of a run, and the other machine that it is said to run on."""
    known = status.get("status")
    if known == RUNNING:
        alive = executing(status)
        if alive is None:
            return RUNNING, str(status.get("host") or "an unknown machine")
        return (RUNNING if alive else KILLED), None
    return (known if known in STATUSES else UNKNOWN), None


def _values(students: Iterable[Mapping[str, Any]], phases: list[str]) -> dict[str, Measured]:
    found: dict[str, dict[str, tuple[bool, float]]] = {}
    for record in students:
        value = record["value"]
        if value is None or not math.isfinite(value):
            continue
        by_phase = found.setdefault(f"{record['split']}/{record['measure']}", {})
        way = record.get("mode", "exact"), record.get("storage", "float32"), record.get("pool_factor", 1)
        exact, phase = way == ("exact", "float32", 1), record.get("phase", "")
        if exact or phase not in by_phase:
            by_phase[phase] = exact, float(value)
    last = phases[-1] if phases and phases[-1] != "before" else None
    nothing = (True, None)
    return {
        key: Measured(by_phase.get(last or "", nothing)[1], by_phase.get("before", nothing)[1])
        for key, by_phase in found.items()
    }


def _costs(path: Path, phases: Iterable[str]) -> dict[str, PhaseCost]:
    """What the finished phases took."""
    found = {}
    for phase in phases:
        facts = read_object(path / phase / PHASE_FILE, needed=False)
        if "seconds" in facts:
            found[phase] = cost_of({"steps": 0, "tokens": 0} | facts)
    return found


def _headline(path: Path) -> str | None:
    """``evaluation.headline`` of a run whose ``status.json`` does not have it, as in those of older versions."""
    evaluation = read_config(path).get("evaluation")
    found = evaluation.get("headline") if isinstance(evaluation, dict) else None
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
