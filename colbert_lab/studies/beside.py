"""What the students of a study reach on other splits than the one that its claims are about."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from colbert_lab.analysis.rows import SYSTEM_TITLES
from colbert_lab.base.layout import NONE, Table
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.records.records import Record
from colbert_lab.studies.evidence import BASELINES, runs_of
from colbert_lab.studies.study import Study
from colbert_lab.studies.study_runs import STUDENT, StudyRun


def values_beside(study: Study, records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """The study's measure on each of its other splits: of the student after its last phase, and of baselines.

    Args:
        study: the study.
        records: all that a run measured.
    """
    found: dict[str, dict[str, float]] = {}
    for record in records:
        if record.split in study.beside and record.measure == study.measure and record.variant == study.main:
            found.setdefault(record.split, {})[record.system] = record.value  # the last phase's are the last
    return found


def beside_table(study: Study, runs: Sequence[StudyRun]) -> Table | None:
    """Every cell on the other splits; None where nothing was measured there.

    Args:
        study: the study.
        runs: its rows.
    """
    measured = {run.run_id: run.facts.get("beside") or {} for run in runs}
    if not any(measured.values()):
        return None
    rows = []
    for system in BASELINES:
        values = [
            [m[split][system] for m in measured.values() if system in m.get(split, {})]
            for split in study.beside
        ]
        if any(values):
            rows.append(
                (SYSTEM_TITLES.get(system, system), *(f"{each[0]:.4f}" if each else NONE for each in values))
            )
    for cell in study.cells.values():
        mine = [measured[run.run_id] for run in runs_of(runs, cell.name)]
        values = [[m[split][STUDENT] for m in mine if STUDENT in m.get(split, {})] for split in study.beside]
        rows.append((cell.title, *map(_told, values)))
    columns = ("cell", *study.beside)
    note = f"{measure_title(study.measure)}: mean over seeds ± standard deviation over seeds; no claim is about these."
    return Table("On other splits, after the last phase", columns, tuple(rows), (), (note,))


def _told(values: Sequence[float]) -> str:
    if not values:
        return NONE
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"
