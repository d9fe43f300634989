"""The runs of a study: what each measured and took, every query's value, and whether the runs belong together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.measures import own_kind
from colbert_lab.records.identity import factors
from colbert_lab.records.records import EXACT, RECORDS_FILE, Record
from colbert_lab.records.run_files import SplitFacts
from colbert_lab.studies.study import NEUTRAL, PLACEHOLDERS, Study

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
    beside: dict[str, dict[str, float]]
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


PATH_WITHIN = re.compile(r"""(?<=[:=,\[{'" ])(?:/|~/)[^,}\]'"\s]*""")
"""A machine's path within a value, such as that of a split in braces."""


def without_folders(value: Any) -> Any:
    """A setting as rows keep it: of a machine's path the last part alone, also of those within a list or mapping."""
    if not isinstance(value, str):
        return value
    if value.startswith(("/", "~")):
        return Path(value).name
    return PATH_WITHIN.sub(lambda found: Path(found[0]).name, value)


def checked_together(study: Study, runs: Sequence[StudyRun]) -> list[StudyRun]:
    """The runs in the order of the study's plan, if their numbers belong together.

    Args:
        study: the study.
        runs: what its files hold.

    Raises:
        InputError: two runs of a cell and seed, another split, other rules of the split, or other settings than
            the study has now.
    """
    seen: dict[tuple[str, int], str] = {}
    for run in runs:
        if other := seen.get((run.cell, run.seed)):
            raise InputError(
                f"{study.folder / RUNS}: runs {other} and {run.run_id} are both {run.cell}, seed {run.seed}"
            )
        seen[run.cell, run.seed] = run.run_id
    ordered = in_order(study, runs)
    for run in ordered:
        first = ordered[0]
        for what, mine, theirs in (
            ("text (split fingerprint)", marks(run), marks(first)),
            ("protocol of the split", run.facts.get("rules"), first.facts.get("rules")),
        ):
            if mine != theirs:
                here, there = (f"{r.cell}, seed {r.seed} ({r.run_id})" for r in (run, first))
                raise InputError(
                    f"{study.folder / RESULTS}: {here} was measured on another {what} than {there}: {_told(mine)} and "
                    f"{_told(theirs)}; run one of them again"
                )
        if changed := _changed(study, run):
            raise InputError(
                f"{study.folder / RUNS}: {run.cell}, seed {run.seed} ({run.run_id}) was made with {changed}; "
                "run it again"
            )
    protocols: dict[tuple[str, Key, str], str] = {}
    for run in ordered:
        for record in run.records:
            mark = run.cell, key_of(record), own_kind(record.measure)
            known = protocols.setdefault(mark, record.protocol_hash)
            if known != record.protocol_hash:
                raise InputError(
                    f"{study.folder / RESULTS}: {run.cell}, seed {run.seed} ({run.run_id}), {record.phase} was "
                    f"searched by other rules ({record.variant}) than with another seed; run it again"
                )
    return ordered


def _changed(study: Study, run: StudyRun) -> str:
    """What a run set otherwise than the study does now; "" for nothing."""
    now, then = factors([*study.fixed, *study.cells[run.cell].overrides]), run.facts.get("factors", {})
    for key in dict.fromkeys([*now, *then]):
        mine, theirs = without_folders(now.get(key)), then.get(key)
        if key in NEUTRAL or mine == theirs:
            continue
        if mine is not None and theirs is not None and any(f"{{{name}}}" in mine for name in PLACEHOLDERS):
            continue
        told = f"{key}={theirs}" if theirs is not None else f"no {key}"
        return f"{told}, and the study has {f'{key}={mine}' if mine is not None else 'no such setting'}"
    return ""


def marks(run: StudyRun) -> list[str]:
    """Fingerprints of the split that a run was measured on."""
    return sorted({record.split_fingerprint for record in run.records})


def _told(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def in_order(study: Study, runs: Iterable[StudyRun]) -> list[StudyRun]:
    """The runs by cell, as the study lists them, and by seed."""
    cells = list(study.cells)
    return sorted(runs, key=lambda run: (cells.index(run.cell), run.seed))
