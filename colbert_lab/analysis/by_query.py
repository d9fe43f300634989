"""Every query's value before and after a phase, as a table that trackers keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import NONE, Table
from colbert_lab.evaluation.measures import PerQuery, measure_title
from colbert_lab.records.rankings import ranking_path, read_per_query
from colbert_lab.records.records import EXACT, Record
from colbert_lab.records.runs import BEFORE, STUDENT
from colbert_lab.records.texts import read_texts

MOST = 1000
"""Rows of a split: those of the largest changes."""


def query_table(run_dir: Path, phase: str, records: Sequence[Record]) -> Table | None:
    """Each query with its text, its value at the start and after a phase, and the change; the largest changes first.

    Args:
        run_dir: the run's folder.
        phase: as in the records; ``evaluate`` has no start.
        records: what the run measured until now. The first measure is taken, in exact search of whole embeddings.

    Returns:
        None where the student was not measured after the phase, or its rankings are gone.
    """
    own = [r for r in records if (r.system, r.phase, r.variant) == (STUDENT, phase, EXACT)]
    if not own:
        return None
    measure, rows = own[0].measure, []
    for record in (r for r in own if r.measure == measure):
        after, before = (_values(run_dir, each, record.split, measure) for each in (phase, BEFORE))
        if after is None:
            continue
        texts = read_texts(run_dir, record.split, record.split_fingerprint).queries
        then = dict(zip(before.query_ids, before.values[measure], strict=True)) if before is not None else {}
        found = [
            (query, float(value), then.get(query))
            for query, value in zip(after.query_ids, after.values[measure], strict=True)
        ]
        found.sort(key=lambda row: (-abs(row[1] - (row[1] if row[2] is None else float(row[2]))), row[0]))
        for query, value, start in found[:MOST]:
            told = (NONE, NONE) if start is None else (f"{start:.4f}", f"{value - start:+.4f}")
            rows.append((record.split, query, texts.get(query, ""), told[0], f"{value:.4f}", told[1]))
    if not rows:
        return None
    columns = ("split", "query", "text", "before training", f"after {phase}", "change")
    notes = (f"{measure_title(measure)}; of a split the {MOST:,} queries that changed most.",)
    return Table("by query", columns, tuple(rows), (), notes)


def _values(run_dir: Path, phase: str, split: str, measure: str) -> PerQuery | None:
    try:
        found = read_per_query(ranking_path(run_dir, STUDENT, phase, split, EXACT))
    except InputError:
        return None
    return found if measure in found.values and all(map(math.isfinite, found.values[measure])) else None
