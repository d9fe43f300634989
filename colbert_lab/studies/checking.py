"""Whether a run that is made once more has the numbers of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from colbert_lab.metrics.measures import measure_title
from colbert_lab.results.layout import Table
from colbert_lab.studies.study import Study
from colbert_lab.studies.study_run import Key, StudyRun, key_of
from colbert_lab.studies.tables import NONE

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
