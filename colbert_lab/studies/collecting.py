"""From a run's folder to its lean rows in a study, and whether a run made once more has the numbers of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_lab.analysis.alike import OF_SPLIT
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import NONE
from colbert_lab.base.outside import read_json
from colbert_lab.records.rankings import ranking_path, read_per_query
from colbert_lab.records.records import Record, read_records
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.records.run_files import Environment, PhaseFacts, SplitFacts, phases_of, read_protocols
from colbert_lab.studies.beside import values_beside
from colbert_lab.studies.study import Cell, Study, Term
from colbert_lab.studies.study_runs import STUDENT, Key, StudyRun, key_of, without_folders

if TYPE_CHECKING:
    import numpy as np

import math
from dataclasses import dataclass

from colbert_lab.base.layout import Table
from colbert_lab.evaluation.measures import measure_title

PHASE_FACTS = (
    *("phase_hash", "steps", "seconds", "queries", "tokens", "devices", "flops", "matmul_rate"),
    *("peak_memory_bytes", "peak_device_bytes", "teacher_entropy", "reused_from"),
)
"""What of ``phase.json`` goes into the rows."""
PACKAGES = (
    *("colbert-lab", "torch", "pytorch-lightning", "transformers", "tokenizers", "numpy", "scipy"),
    *("faiss-cpu", "fast-plaid"),
)
SPLIT_FACTS = ("dataset", "split", "fingerprint", "documents", "queries")


def collect(study: Study, cell: Cell, seed: int, folder: Path) -> StudyRun:
    """Read a finished run.

    Args:
        study: the study.
        cell: the cell that the run is of.
        seed: its seed.
        folder: the run's folder.

    Raises:
        InputError: the run is not finished, did not measure what the study is about, or a file of it is missing.
    """
    if not RunDirectory(folder, folder.name).finished:
        raise InputError(f"{folder}: is not a finished run; run {cell.name}, seed {seed} again")
    every = read_records(folder / "results.jsonl")
    records = [_lean(r) for r in every if r.split == study.split]
    if not any(r.measure == study.measure and r.system == STUDENT for r in records):
        raise InputError(f"{folder}: has no {study.measure} of a student on the split {study.split}")
    records = _last(records)
    values: dict[Key, np.ndarray] = {}
    query_ids: tuple[str, ...] = ()
    for record in records:
        key = key_of(record)
        if record.measure != study.measure or not _needed(study, cell, key, records):
            continue
        found = read_per_query(ranking_path(folder, key.system, key.phase, study.split, key.variant))
        if query_ids not in ((), found.query_ids):
            order = {query: n for n, query in enumerate(found.query_ids)}
            values[key] = found.values[study.measure][[order[query] for query in query_ids]]
            continue
        query_ids = found.query_ids
        values[key] = found.values[study.measure]
    facts = _facts(study, cell, seed, folder, records)
    if beside := values_beside(study, every):
        facts["beside"] = beside
    return StudyRun(cell.name, seed, folder.name, facts, tuple(records), values, query_ids, study.main)


def _lean(record: Record) -> Record:
    """A record without what belongs to the machine's folders."""
    factors = {key: without_folders(value) for key, value in record.factors.items()}
    return Record.from_dict({**record.to_dict(), "factors": factors})


def _last(records: list[Record]) -> list[Record]:
    """One record for each number, the last one."""
    found: dict[tuple[Key, str], Record] = {}
    for record in records:
        found[key_of(record), record.measure] = record
    return list(found.values())


def _needed(study: Study, cell: Cell, key: Key, records: list[Record]) -> bool:
    """Whether every query's value is kept: the main search mode's, other modes' after the last phase or in a claim."""
    if key.system != STUDENT or key.variant == study.main:
        return True
    last = [r.phase for r in records if r.system == STUDENT][-1]
    named = {Term(cell.name, key.phase, key.variant)}
    return key.phase == last or any(term in named for claim in study.claims for term in claim.weights)


def _facts(study: Study, cell: Cell, seed: int, folder: Path, records: list[Record]) -> dict[str, Any]:
    again = "run it again with reuse=false"
    environment = read_json(folder / "environment.json", Environment, again)
    splits = read_json(folder / "splits.json", dict[str, SplitFacts], again)
    split: Mapping[str, Any] = splits.get(study.split, {})
    phases = {}
    status = RunDirectory(folder, folder.name).status()
    started, ended = status.get("started"), status.get("ended")
    for phase in phases_of(status.get("run", {})):
        path = folder / phase / "phase.json"
        if path.is_file():
            done = read_json(path, PhaseFacts, again)
            phases[phase] = {key: value for key, value in done.items() if key in PHASE_FACTS}
    told = read_protocols(folder)
    students = [r for r in records if r.system == STUDENT]
    asked = [r for r in students if r.measure == study.measure]  # measures of one's own have other protocols
    protocol = told.get(asked[-1].protocol_hash, {})
    packages = environment.get("packages", {})
    return {
        "run_id": folder.name,
        "cell": cell.name,
        "seed": seed,
        "factors": students[-1].factors,
        "config_hash": students[-1].config_hash,
        "phases": phases,
        "split": {key: split[key] for key in SPLIT_FACTS if key in split},
        "rules": {key: protocol[key] for key in OF_SPLIT if key in protocol},
        **{key: environment.get(key) for key in ("commit", "dirty", "hardware", "python")},
        "packages": {name: packages[name] for name in PACKAGES if packages.get(name)},
        "time": students[-1].time,
        **({} if started is None or ended is None else {"seconds": ended - started}),
    }


SAME = 1e-9
"""Two numbers are the same up to this: less than one query's change of rank makes, more than float64 rounds."""
MADE_WITH = ("config_hash", "hardware", "python", "packages", "commit", "dirty")
"""Facts of a run that may be why its numbers are other ones."""


@dataclass(frozen=True)
class Check:
    """A run's rows beside those of the same run made once more.

    Attributes:
        row: what the study has.
        again: what was made now.
    """

    row: StudyRun
    again: StudyRun

    @property
    def numbers(self) -> dict[tuple[Key, str], tuple[float | None, float | None]]:
        """Every number of the two, by whose it is and measure; None where one of them does not have it."""
        rows, now = ({(key_of(r), r.measure): r.value for r in run.records} for run in (self.row, self.again))
        return {key: (rows.get(key), now.get(key)) for key in dict.fromkeys([*rows, *now])}

    @property
    def others(self) -> list[tuple[Key, str]]:
        """The numbers that did not come out again."""
        return [key for key, (row, now) in self.numbers.items() if not _same(row, now)]

    @property
    def made_otherwise(self) -> dict[str, tuple[Any, Any]]:
        """What the two were made with, where it differs."""
        both = ((key, self.row.facts.get(key), self.again.facts.get(key)) for key in MADE_WITH)
        return {key: (row, now) for key, row, now in both if row != now}

    @property
    def verdict(self) -> str:
        """In one sentence."""
        told = f"{self.row.cell}, seed {self.row.seed}"
        count, others = len(self.numbers), self.others
        if not others:
            return f"{told}: all {count} numbers came out again"
        pairs = [self.numbers[key] for key in others]
        gaps = [abs(row - now) for row, now in pairs if row is not None and now is not None]
        largest = f"; the largest difference is {max(gaps):.4f}" if gaps else ""
        return f"{told}: {len(others)} of {count} numbers did not come out again{largest}"


def check_table(study: Study, check: Check) -> Table:
    """The study's measure in both runs, what they were made with where that differs, and the verdict.

    Args:
        study: the study.
        check: the two runs.
    """
    rows = []
    for (key, measure), (row, now) in check.numbers.items():
        if measure == study.measure:
            gap = NONE if row is None or now is None else "same" if _same(row, now) else f"{now - row:+.6f}"
            rows.append((key.system, key.phase, key.variant, _shown(row), _shown(now), gap))
    title = f"{measure_title(study.measure)} of {check.row.run_id} ({study.cells[check.row.cell].title})"
    notes = [f"{key}: {_told(row, now)}" for key, (row, now) in check.made_otherwise.items()]
    columns = ("system", "phase", "search", "row", "again", "difference")
    return Table(title, columns, tuple(rows), (check.verdict,), tuple(notes))


def _same(row: float | None, now: float | None) -> bool:
    if row is None or now is None:
        return False
    return math.isclose(row, now, rel_tol=0, abs_tol=SAME)


def _shown(value: float | None) -> str:
    return NONE if value is None else f"{value:.6f}"


def _told(row: Any, now: Any) -> str:
    if isinstance(row, dict) and isinstance(now, dict):
        keys = [key for key in dict.fromkeys([*row, *now]) if row.get(key) != now.get(key)]
        return ", ".join(f"{key} {row.get(key, NONE)} in the row, {now.get(key, NONE)} now" for key in keys)
    return f"{row} in the row, {now} now"
