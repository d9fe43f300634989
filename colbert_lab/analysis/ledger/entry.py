"""One run of the ledger: what its files say, and what its records say of its students."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from colbert_lab.records.cost import PhaseCost, device_hours
from colbert_lab.records.run_files import read_config

FINISHED, FAILED, RUNNING, UNKNOWN = "finished", "failed", "running", "unknown"
INTERRUPTED, KILLED = "interrupted", "killed"
STATUSES = (FINISHED, FAILED, RUNNING, INTERRUPTED, KILLED, UNKNOWN)


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


class StudentValues:
    """What a run's records say of its students, one record after the other: a file may hold very many."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self.phases: dict[str, None] = {}
        self._found: dict[str, dict[str, float]] = {}

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
        way = record.get("mode", "exact"), record.get("storage", "float32"), record.get("pool_factor", 1)
        if way == ("exact", "float32", 1) or phase not in by_phase:
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
            running, and its process is gone) or ``unknown`` (without a readable ``status.json``).
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
