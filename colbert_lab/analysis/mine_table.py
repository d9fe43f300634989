"""The table of a mining report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from colbert_lab.base.layout import Table

REASONS = {
    "kept": "kept",
    "relevant": "relevant",
    "out_of_range": "out of range",
    "empty": "empty",
    "copy_of_relevant": "copy of relevant",
    "copy_of_query": "copy of query",
    "copy": "copy",
    "chosen_already": "chosen already",
    "max_score": "max_score",
    "ratio": "ratio",
    "margin": "margin",
    "not_needed": "not needed",
}
"""What can become of a document that a retriever finds, and its heading."""
ALWAYS = ("kept", "relevant", "out_of_range", "copy_of_relevant", "copy", "chosen_already", "not_needed")


def mine_tables(report: Mapping[str, Any]) -> list[Table]:
    """The tables of ``report.json``.

    Args:
        report: its content.
    """
    found = report["retrievers"]
    shown = [key for key in REASONS if key in ALWAYS or any(row[key] for row in found.values())]
    rows = [
        (name, f"{row['share']:.3g}", f"{row['quota']}", *(f"{row[key]:,}" for key in ("found", *shown)))
        for name, row in found.items()
    ]
    total = [f"{sum(row[key] for row in found.values()):,}" for key in ("found", *shown)]
    rows.append(("all", "1", f"{report['settings']['negatives']}", *total))
    counts, seconds = report["counts"], report["seconds"]
    teacher = report["settings"]["filter"]["teacher"]
    notes = [
        "found: documents of a retriever's list down to the last rank; each is in one of the columns that follow.",
        "not needed: candidates that nobody had to look at, as the query had its negatives by then.",
        f"teacher: {teacher or 'none, so no false negative was filtered'}",
        f"seconds: {', '.join(f'{name} {value:.1f}' for name, value in seconds.items())}",
    ]
    notes += [
        f"{name} finds nothing for {row['queries_without_hit']:,} queries, as no document has a word of theirs."
        for name, row in found.items()
        if row["queries_without_hit"]
    ]
    if counts["fewest_negatives"] < report["settings"]["negatives"]:
        notes.append(
            f"data=triples uses as many negatives as the row with the fewest has: {counts['fewest_negatives']}; "
            "mine.short=drop leaves such queries out."
        )
    summary = (
        f"{counts['rows']:,} rows of {counts['queries']:,} queries with {counts['negatives']:,} negatives; "
        f"{counts['queries_short']:,} queries have fewer than {report['settings']['negatives']}, "
        f"{counts['queries_short_left_out']:,} of them left out; "
        f"{counts['queries_without_relevant_document']:,} have no relevant document"
    )
    title = f"Negatives mined from {report['settings']['data']['name']}"
    headings = ("retriever", "share", "quota", "found", *(REASONS[key] for key in shown))
    return [Table(title, headings, tuple(rows), (summary,), tuple(notes))]
