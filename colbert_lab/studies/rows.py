"""The rows of a study on disk: records, what each run took and where, and every query's value.

``results.jsonl`` holds records as a run does, each with its ``cell``. ``runs.jsonl`` holds one line a run: factors,
phases and their cost, versions, machine. ``per_query.jsonl`` holds the values that the decision rule tests: first the
queries of the split, then one line for each student or baseline of a run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import lines_of, parse_json, problem
from colbert_lab.records.records import Record
from colbert_lab.studies.study import Study
from colbert_lab.studies.study_runs import (
    PER_QUERY,
    RESULTS,
    RUNS,
    Key,
    QueriesLine,
    RunLine,
    StudyRun,
    ValuesLine,
    checked_together,
    in_order,
)

log = logging.getLogger(__name__)
LONGEST_ROW = 2**28  # bytes: the values of all queries

DIGITS = 6
"""Decimals of a query's value in the file."""
SAME = 10.0**-DIGITS
"""A recorded mean and the mean of the values in the file are the same number up to this."""


def read_rows(study: Study) -> list[StudyRun]:
    """The runs that a study has, in the order of its plan; empty before the first one.

    Args:
        study: the study.

    Raises:
        InputError: a damaged or unknown line, rows without the others that belong to them, rows of another text or
            other rules of the split, or of other settings than the study has now; the message names files and runs.
    """
    facts, records, values, queries = _parts(study.folder)
    for name, there in ((RESULTS, records), (PER_QUERY, values)):
        if strange := sorted(set(there) ^ set(facts)):
            raise InputError(
                f"{study.folder}: run {strange[0]} is not in all of {RUNS}, {RESULTS} and {PER_QUERY} ({name}); "
                "collect it again"
            )
    return checked_together(
        study, [_run(study, facts[run], records[run], values[run], queries) for run in facts]
    )


def whole_rows(study: Study) -> list[StudyRun]:
    """The runs whose rows are whole, to put a new one beside them; those that a kill cut in two are left out.

    Whether they belong together is not asked, so that runs of an older study can be replaced one after another. A run
    that is left out is logged.

    Args:
        study: the study.

    Raises:
        InputError: a line that is no row.
    """
    facts, records, values, queries = _parts(study.folder)
    found = []
    for run in dict.fromkeys([*facts, *records, *values]):
        if not (run in facts and run in records and run in values):
            log.warning("%s: the rows of run %s are not whole and are left out", study.folder, run)
            continue
        try:
            found.append(_run(study, facts[run], records[run], values[run], queries))
        except InputError as error:
            log.warning("%s; left out", error)
    return found


Lines: TypeAlias = dict[str, list[dict[str, Any]]]
Queries: TypeAlias = dict[str, tuple[str, ...]]


def _parts(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, list[Record]], Lines, Queries]:
    """What the three files hold: facts, records and values by run, and the queries by fingerprint of their split."""
    facts: dict[str, dict[str, Any]] = {}
    for line in _lines(folder / RUNS, RunLine):
        if line["run_id"] in facts:
            raise InputError(
                f"{folder / RUNS}: run {line['run_id']} is there twice ({facts[line['run_id']]['cell']} and "
                f"{line['cell']}): cells must differ in what they set"
            )
        facts[line["run_id"]] = line
    records: dict[str, list[Record]] = {}
    for number, line in enumerate(_lines(folder / RESULTS, dict[str, Any]), start=1):
        try:
            record = Record.from_dict(line)
        except ValueError as error:
            raise InputError(f"{folder / RESULTS}, line {number}: no record: {error}") from error
        records.setdefault(record.run_id, []).append(record)
    queries: Queries = {}
    values: Lines = {}
    for line in _lines(folder / PER_QUERY, ValuesLine, ("query_ids", QueriesLine)):
        if "query_ids" in line:
            queries[line["split_fingerprint"]] = tuple(line["query_ids"])
        else:
            values.setdefault(line["run_id"], []).append(line)
    return facts, records, values, queries


def write_rows(study: Study, runs: Iterable[StudyRun]) -> None:
    """Replace the rows of a study.

    Args:
        study: the study.
        runs: all of its runs.
    """
    ordered = in_order(study, _alike_ordered(runs))
    results = [{"cell": run.cell, **record.to_dict()} for run in ordered for record in run.records]
    queries = {run.records[0].split_fingerprint: run.query_ids for run in ordered if run.records}
    per_query: list[dict[str, Any]] = [
        {"split_fingerprint": mark, "query_ids": list(ids)} for mark, ids in queries.items()
    ]
    for run in ordered:
        for key, found in run.values.items():
            shown = {"measure": study.measure, "values": [_short(value) for value in found.tolist()]}
            per_query.append({"run_id": run.run_id, **vars(key), **shown})
    facts = [dict(run.facts) for run in ordered]
    for name, lines in ((RESULTS, results), (RUNS, facts), (PER_QUERY, per_query)):
        between = (",", ":") if name == PER_QUERY else None
        texts = (json.dumps(line, ensure_ascii=False, separators=between) for line in lines)
        write_text(study.folder / name, "".join(f"{text}\n" for text in texts))


def _alike_ordered(runs: Iterable[StudyRun]) -> list[StudyRun]:
    """The runs with the queries of each split in one order, because the files keep one order a split."""
    import numpy as np

    known: dict[str, tuple[str, ...]] = {}
    found = []
    for run in runs:
        ids = known.setdefault(run.records[0].split_fingerprint, run.query_ids)
        if ids != run.query_ids:
            if sorted(ids) != sorted(run.query_ids):
                raise InputError(
                    f"run {run.run_id}: has other queries than the study's runs on the same text"
                )
            place = {query: n for n, query in enumerate(run.query_ids)}
            order = np.array([place[query] for query in ids])
            values = {key: each[order] for key, each in run.values.items()}
            run = replace(run, values=values, query_ids=ids)
        found.append(run)
    return found


def with_run(runs: Iterable[StudyRun], new: StudyRun) -> list[StudyRun]:
    """The runs with a new one in place of an older one of the same cell and seed."""
    kept = [run for run in runs if (run.cell, run.seed) != (new.cell, new.seed)]
    return [*kept, new]


def _short(value: float) -> float | int:
    rounded = round(value, DIGITS)
    return int(rounded) if rounded == int(rounded) else rounded


def _lines(path: Path, kind: Any, other: tuple[str, Any] = ("", None)) -> list[dict[str, Any]]:
    """The lines of a file, each of a kind, or of the other kind where it has that one's key."""
    if not path.exists():
        return []
    found: list[dict[str, Any]] = []
    for number, raw in lines_of(path, LONGEST_ROW):
        try:
            line = parse_json(raw.decode("utf-8", "surrogatepass"), dict[str, Any], "")
            if wrong := problem(line, other[1] if other[0] in line else kind):
                raise InputError(f": {wrong}")
        except ValueError as error:
            told = str(error).removeprefix(": ").removeprefix(", line 1: ")
            raise InputError(
                f"{path}, line {number}: no whole row ({told}); take the file's committed version, or remove the line "
                "and collect the run again"
            ) from error
        found.append(line)
    return found


def _run(
    study: Study,
    facts: Mapping[str, Any],
    records: Sequence[Record],
    lines: Iterable[Mapping[str, Any]],
    queries: Mapping[str, tuple[str, ...]],
) -> StudyRun:
    import numpy as np

    path, run_id = study.folder / PER_QUERY, facts["run_id"]
    if facts["cell"] not in study.cells:
        raise InputError(
            f"{study.folder / RUNS}: run {run_id} is of the cell {facts['cell']}, which the study does not have; "
            f"there are {', '.join(study.cells)}"
        )
    ids = queries.get(records[0].split_fingerprint, ())
    values = {}
    for line in lines:
        key = Key(line["system"], line["phase"], line["variant"])
        found = np.asarray(line["values"], dtype=np.float64)
        if line.get("measure") != study.measure:
            told = f"{line.get('measure')}, and the study is of {study.measure}"
            raise InputError(f"{path}: run {run_id} has {told}")
        if len(found) != len(ids):
            raise InputError(f"{path}: run {run_id} has {len(found)} values and {len(ids)} queries")
        values[key] = found
    run = StudyRun(facts["cell"], facts["seed"], run_id, facts, tuple(records), values, ids, study.main)
    for key, found in values.items():
        record = run.record(key, study.measure)
        if record is None or abs(record.value - float(found.mean())) > SAME:
            raise InputError(
                f"{path}: the values of run {run_id}, {key.system} {key.phase} {key.variant}, are not those of the "
                f"recorded mean in {RESULTS}; collect it again"
            )
    return run
