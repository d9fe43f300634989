"""One run of a study: what was measured, what its phases took, and every query's value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from colbert_lab.records.records import EXACT, RECORDS_FILE, Record
from colbert_lab.records.run_files import SplitFacts

if TYPE_CHECKING:
    import numpy as np

RESULTS, RUNS, PER_QUERY = RECORDS_FILE, "runs.jsonl", "per_query.jsonl"
"""The files of a study's rows."""
STUDENT = "student"


class PhaseRow(TypedDict):
    """A phase of a run."""

    phase_hash: str
    steps: int
    seconds: float
    tokens: int


class _Run(TypedDict):
    run_id: str
    cell: str
    seed: int


class RunLine(_Run, total=False):
    """A line of ``runs.jsonl``, see :mod:`colbert_lab.studies.collecting`."""

    factors: dict[str, Any]
    config_hash: str
    phases: dict[str, PhaseRow]
    split: SplitFacts
    rules: dict[str, Any]
    commit: str | None
    dirty: bool | None
    hardware: str | None
    python: str | None
    packages: dict[str, str]
    time: float | None


class QueriesLine(TypedDict):
    """A line of ``per_query.jsonl`` with the queries of a split."""

    split_fingerprint: str
    query_ids: list[str]


class ValuesLine(TypedDict):
    """A line of it with their values."""

    run_id: str
    system: str
    phase: str
    variant: str
    measure: str
    values: list[float]


@dataclass(frozen=True, order=True)
class Key:
    """Whose values they are: system, phase (of a student) and search."""

    system: str
    phase: str
    variant: str = EXACT


@dataclass(frozen=True, eq=False)
class StudyRun:
    """One run of a study.

    Attributes:
        cell: name of its cell.
        seed: its seed.
        run_id: its identity.
        facts: what ``runs.jsonl`` says of it.
        records: what was measured on the study's split.
        values: of the study's measure, in the order of ``query_ids``.
        query_ids: the judged queries.
        main: the search mode that is meant where none is named.
    """

    cell: str
    seed: int
    run_id: str
    facts: Mapping[str, Any]
    records: tuple[Record, ...]
    values: Mapping[Key, np.ndarray]
    query_ids: tuple[str, ...]
    main: str = EXACT

    @property
    def phases(self) -> tuple[str, ...]:
        """The student's measured phases in their order, without ``before``."""
        found = dict.fromkeys(record.phase for record in self.records if record.system == STUDENT)
        return tuple(phase for phase in found if phase != "before")

    @property
    def last(self) -> str:
        """The student's last phase; ``before`` where nothing was trained."""
        return self.phases[-1] if self.phases else "before"

    def record(self, key: Key, measure: str) -> Record | None:
        """The last record of that; None when there is none."""
        found = [r for r in self.records if key_of(r) == key and r.measure == measure]
        return found[-1] if found else None

    def keys(self) -> list[Key]:
        """Everything that was measured, in the order of the records."""
        return list(dict.fromkeys(key_of(record) for record in self.records))


def key_of(record: Record) -> Key:
    """Whose value a record holds."""
    return Key(record.system, record.phase if record.system == STUDENT else "baselines", record.variant)


def without_folders(value: Any) -> Any:
    """A setting as rows keep it: of a machine's path the last part alone."""
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value
