"""The runs of the ledger: what the files of each say, and those that were read before, kept in the cache."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from colbert_lab.base.atomic import remove_abandoned_text, write_text
from colbert_lab.base.outside import json_value
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.records.cost import PhaseCost, device_hours
from colbert_lab.records.lineage import ENVIRONMENT_FILE
from colbert_lab.records.records import RECORDS_FILE
from colbert_lab.records.run_directory import STATUS_FILE
from colbert_lab.records.run_files import read_config

FINISHED, FAILED, RUNNING, UNKNOWN = "finished", "failed", "running", "unknown"
INTERRUPTED, KILLED, PRUNED = "interrupted", "killed", "pruned"
STATUSES = (FINISHED, FAILED, RUNNING, INTERRUPTED, KILLED, PRUNED, UNKNOWN)


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


EXACT = {"mode": "exact", "storage": "float32", "pool_factor": 1, "dim": None}
"""What a record says of exact search of float32 embeddings, and what it means where it says nothing."""


class StudentValues:
    """What a run's records say of its students, one record after the other: a file may hold very many."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self.phases: dict[str, None] = {}
        self._found: dict[str, dict[str, float]] = {}
        self._ways: dict[tuple[str, str], tuple[Any, ...]] = {}

    def add(self, record: dict[str, Any]) -> None:
        """Take a student's record into account."""
        self.last = record
        value, phase = record["value"], record.get("phase", "")
        if phase:
            self.phases[phase] = None
        if value is None or not math.isfinite(value):
            return
        key = f"{record['split']}/{record['measure']}"
        by_phase = self._found.setdefault(key, {})
        way = tuple(record.get(name, default) for name, default in EXACT.items())
        first = self._ways.setdefault((key, phase), way)
        if way == (exact := tuple(EXACT.values())):
            self._ways[key, phase] = first = exact
        if way == first:  # as Run.record takes it
            by_phase[phase] = float(value)

    def values(self) -> dict[str, Measured]:
        """The values before training and after the last phase."""
        last = next(reversed(self.phases), "before")
        return {
            key: Measured(None if last == "before" else by_phase.get(last), by_phase.get("before"))
            for key, by_phase in self._found.items()
        }


@dataclass(frozen=True, eq=False)
class Entry:
    """One run, as its files say; what they do not say is None or empty.

    Attributes:
        path: its folder.
        name: its name.
        run_id: the folder's name.
        task: ``train`` or ``evaluate``.
        status: ``finished``, ``failed``, ``running``, ``interrupted`` (by Ctrl-C or SIGTERM), ``killed`` (it says
            running, and its process is gone), ``pruned`` (a trial that its search stopped) or ``unknown`` (without a
            readable ``status.json``).
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


def files_of(phases: Iterable[str]) -> list[str]:
    """The files in a run's folder that an entry is read from.

    Args:
        phases: the run's.
    """
    return [
        STATUS_FILE,
        RECORDS_FILE,
        ENVIRONMENT_FILE,
        "config.yaml",
        *(f"{phase}/{PHASE_FILE}" for phase in phases),
    ]


log = logging.getLogger(__name__)
VERSION = "2"  # of the file, and of what an entry says; raise when either changes
SETTLED = 2.0
"""Seconds after which a change of a file certainly has another time than the one before it."""
PLAIN = tuple(each.name for each in fields(Entry) if each.name not in ("path", "values", "costs"))
Stamp = list[list[int] | None]


class LedgerIndex:
    """Entries of the runs below one folder, each with the sizes and times of the files it was read from.

    A damaged index is made anew without a word, and so is one of another version. It lies in the cache and not beside
    the runs: those may come from somebody else, and numbers are read from the runs' own files.

    Args:
        cache_dir: the cache.
        folder: where the runs are.
    """

    def __init__(self, cache_dir: Path, folder: Path) -> None:
        name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.file = cache_dir / "ledger" / f"{name}.json"
        self._began = time.time()
        remove_abandoned_text(self.file)
        self._known = self._read()
        self._kept: dict[str, Any] = {}
        self._changed = False

    def __contains__(self, inside: str) -> bool:
        """Whether that is a run that was read before.

        Args:
            inside: its place in the folder, with ``/``; empty for the folder itself.
        """
        return inside in self._known

    def get(self, inside: str, run: Path) -> Entry | None:
        """The entry of a run whose files are the same; None where it has to be read.

        Args:
            inside: its place in the folder.
            run: its folder.
        """
        known = self._known.get(inside)
        if known is None or known["files"] != _stamp(run, known["phases"]):
            return None
        self._kept[inside] = known
        plain = dict(zip(PLAIN, known["plain"], strict=True))
        return Entry(
            path=run,
            values={name: Measured(*pair) for name, pair in known["values"].items()},
            costs={phase: PhaseCost(*cost) for phase, cost in known["costs"].items()},
            **plain,
        )

    def add(self, inside: str, entry: Entry, phases: list[str]) -> None:
        """Keep an entry that was just read, unless it may say something else the next time.

        Args:
            inside: the run's place in the folder.
            entry: what was read.
            phases: whose files were looked for.
        """
        if entry.status == RUNNING:
            return
        files = _stamp(entry.path, phases)
        if any(each is not None and each[1] > (self._began - SETTLED) * 1e9 for each in files):
            return
        self._changed = True
        self._kept[inside] = {
            "files": files,
            "phases": phases,
            "plain": [getattr(entry, name) for name in PLAIN],
            "values": {name: [each.after, each.before] for name, each in entry.values.items()},
            "costs": {phase: astuple(cost) for phase, cost in entry.costs.items()},
        }

    def write(self) -> None:
        """Keep what was read for the next time; nothing happens where the cache cannot be written."""
        if not self._changed and len(self._kept) == len(self._known):
            return
        body = json.dumps(self._kept, separators=(",", ":"))
        try:
            write_text(self.file, f"{_mark(body.encode()).decode()}\n{body}")
        except OSError as problem:
            log.debug("%s cannot be written: %s", self.file, problem)

    def _read(self) -> dict[str, Any]:
        try:
            mark, _, body = self.file.read_bytes().partition(b"\n")
            found: dict[str, Any] = json_value(body) if mark == _mark(body) else {}
        except (OSError, ValueError):
            return {}
        return found


def _mark(body: bytes) -> bytes:
    return f"{VERSION} {hashlib.sha256(body).hexdigest()}".encode()


def _stamp(run: Path, phases: list[str]) -> Stamp:
    """Size and times of each file that an entry is read from; None for one that is not there."""
    return list(_stats(str(run), phases))


def _stats(run: str, phases: list[str]) -> Iterator[list[int] | None]:
    for name in files_of(phases):
        try:
            about = os.stat(f"{run}/{name}")  # noqa: PTH116
        except OSError:
            yield None
        else:
            yield [about.st_size, about.st_mtime_ns, about.st_ctime_ns]
