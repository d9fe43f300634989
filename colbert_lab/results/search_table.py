"""The table of a run's ways to search: what each loses and costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from colbert_lab.metrics.measures import measure_title
from colbert_lab.results.layout import Table
from colbert_lab.results.records import EXACT, Record
from colbert_lab.results.rows import HEADLINE, LEVEL, difference, difference_cell, rows_of, title_of


def search_table(run_dir: Path, split: str, records: list[Record], details: dict[str, Any]) -> Table:
    """What each way to search costs and loses against exact search of float32, for each student."""
    students = [record for record in records if record.system == "student"]
    measures = list(dict.fromkeys(record.measure for record in students))
    deepest = max(
        (m for m in measures if m.startswith("recall@")), key=lambda m: int(m[7:]), default=measures[-1]
    )
    shown = list(dict.fromkeys([HEADLINE if HEADLINE in measures else measures[0], deepest]))
    rows, notes = rows_of(run_dir, students, details.get("mean_of", {}))
    cells = []
    for row in rows:
        exact = next((r for r in rows if r.phase == row.phase and r.variant == EXACT), None)
        student = {"before": "before", "evaluate": "student"}.get(row.phase, f"after {row.phase}")
        line = [student, row.variant]
        for measure in shown:
            line.append(f"{row.records[measure].value:.4f}" if measure in row.records else "-")
            compared = exact is not None and exact is not row
            line.append(difference_cell(difference(row, exact, measure)) if compared and exact else "-")
        cells.append((*line, *_search_cost(next(iter(row.records.values())))))
    columns = ["student", "search"]
    for measure in shown:
        columns += [measure_title(measure), "against exact"]
    return Table(
        title=f"Ways to search: {title_of(split, students, details)}",
        columns=(*columns, "bytes/document", "index s", "ms/query"),
        rows=tuple(cells),
        verdicts=(),
        notes=(
            "against exact: minus exact search of the same student's float32 embeddings, paired by query, "
            f"[low, high]: {LEVEL:.0%} bootstrap interval.",
            "bytes/document: everything that is searched; index s: making it from the embeddings; ms/query: searching, "
            "without encoding the query. What several ways share counts in the first.",
            *dict.fromkeys(notes),
        ),
    )


def _search_cost(record: Record) -> tuple[str, str, str]:
    """Bytes a document, seconds of indexing, milliseconds a query."""
    size = record.index_bytes and record.n_documents and record.index_bytes / record.n_documents
    index, seconds, n = record.seconds_index, record.seconds_search, record.n_queries
    return (
        f"{size:,.0f}" if size else "-",
        "-" if index is None else f"{index:.1f}",
        "-" if seconds is None or not n else f"{1000 * seconds / n:.1f}",
    )
