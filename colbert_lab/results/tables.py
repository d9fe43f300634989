"""The final tables of a run, built from its folder alone: results.jsonl, splits.json and the rankings."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from colbert_lab.metrics.measures import measure_title
from colbert_lab.metrics.significance import Interval
from colbert_lab.results.layout import Table, print_tables, to_markdown
from colbert_lab.results.phase_table import phase_table
from colbert_lab.results.records import EXACT, RECORDS_FILE, Record, read_records
from colbert_lab.results.rows import (
    DEV_NAMES,
    HEADLINE,
    LEVEL,
    Row,
    difference,
    difference_cell,
    rows_of,
    split_details,
    title_of,
    value_cell,
)
from colbert_lab.results.search_table import search_table

__all__ = ["Table", "print_tables", "run_tables", "to_markdown"]


def run_tables(run_dir: Path, phases: Collection[str] | None = None) -> list[Table]:
    """One table for each split of a run: test splits first, then dev splits; then what phases and searches cost.

    Rows are BM25, dense, teacher, the student before training and after each phase; after each phase come the
    paired differences to ``before`` and to the phase before it. Where several records say the same thing,
    the last one counts. A student that was searched in several ways has exact search of float32 (or the first way)
    in these tables, and all of them in a table of their own.

    Args:
        run_dir: the run's folder.
        phases: leave the students of other phases out; None takes all.

    Returns:
        The tables; none when nothing was recorded.
    """
    records = [
        record
        for record in read_records(run_dir / RECORDS_FILE)
        if phases is None or record.system != "student" or record.phase in phases
    ]
    known = split_details(run_dir)
    splits = dict.fromkeys(record.split for record in records)
    ordered = sorted(splits, key=lambda split: str(known.get(split, {}).get("split", split)) in DEV_NAMES)
    tables = []
    for split in ordered:
        mine, details = [r for r in records if r.split == split], known.get(split, {})
        variants = list(dict.fromkeys(record.variant for record in mine if record.system == "student"))
        main = EXACT if EXACT in variants else next(iter(variants), EXACT)
        shown = [r for r in mine if r.system != "student" or r.variant == main]
        tables.append(_table(run_dir, split, shown, details))
        if len(variants) > 1:
            tables.append(search_table(run_dir, split, mine, details))
    cost = phase_table(run_dir, records, phases)
    return [*tables, cost] if cost else tables


def _table(run_dir: Path, split: str, records: list[Record], details: dict[str, Any]) -> Table:
    measures = list(dict.fromkeys(record.measure for record in records))
    mean_of: dict[str, float] = details.get("mean_of", {})
    rows, notes = rows_of(run_dir, records, mean_of)
    cells: list[tuple[str, ...]] = []
    verdicts: list[str] = []
    headline = HEADLINE if HEADLINE in measures else measures[0]
    seen: list[Row] = []
    for row in rows:
        cells.append((row.label, *(value_cell(row, measure) for measure in measures)))
        if row.system != "student":
            continue
        students = list(seen)
        seen.append(row)
        # Differences to the first student, and to the one just before where that is another.
        for earlier in [students[0], *students[1:][-1:]] if students else ():
            differences = [difference(row, earlier, measure) for measure in measures]
            cells.append((f"  {row.phase} vs {earlier.phase}", *(difference_cell(d) for d in differences)))
            found = differences[measures.index(headline)]
            if earlier is students[0] and found is not None:
                verdicts.append(_verdict(row.phase, earlier.phase, headline, split, found))
            notes += _protocol_note(row, earlier, headline)
    compared = len(seen) > 1
    return Table(
        title=title_of(split, records, details),
        columns=("system", *(measure_title(measure) for measure in measures)),
        rows=tuple(cells),
        verdicts=tuple(reversed(verdicts)),
        notes=(*_how_to_read(compared, bool(mean_of)), *dict.fromkeys(notes)),
    )


def _verdict(phase: str, earlier: str, measure: str, split: str, found: Interval) -> str:
    bounds = f"[{found.low:+.4f}, {found.high:+.4f}]"
    what = "excludes 0" if found.excludes_zero else "includes 0, so no difference is shown"
    return (
        f"{phase}: {measure_title(measure)} {found.mean:+.4f} {bounds} over {earlier} on {split} "
        f"(n={found.n}): the interval {what}."
    )


def _protocol_note(row: Row, earlier: Row, measure: str) -> list[str]:
    a, b = row.records.get(measure), earlier.records.get(measure)
    if a is None or b is None or a.protocol_hash == b.protocol_hash:
        return []
    return [
        f"{row.phase} and {earlier.phase} were measured under different protocols (lengths, prompts, depth)."
    ]


def _how_to_read(compared: bool, mean: bool) -> list[str]:
    notes = [
        f"[low, high]: {LEVEL:.0%} bootstrap interval over queries; another training seed is not part of it."
    ]
    if mean:
        notes.append("A mean counts every member alike; its interval resamples queries within each split.")
    if compared:
        marks = "higher, lower: the interval excludes 0; unclear: it includes 0."
        notes.append(f"A vs B: A minus B, paired by query. {marks}")
    return notes
