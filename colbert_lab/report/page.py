"""The page of runs as one HTML file."""

from __future__ import annotations

from pathlib import Path

from colbert_lab.base.pages import render
from colbert_lab.report.content import Report
from colbert_lab.report.queries import Queries

TEMPLATE = Path(__file__).with_name("runs.html.j2")
SCRIPT = Path(__file__).with_name("tables.js")


def to_html(report: Report, *, live: int = 0) -> str:
    """The page.

    Args:
        report: what it shows.
        live: seconds after which the page loads itself anew, while runs go on; 0 for never.
    """
    queries = report.queries if isinstance(report.queries, Queries) else None
    return render(
        TEMPLATE,
        script=SCRIPT.read_text(encoding="utf-8"),
        report=report,
        queries=queries,
        live=live,
        waiting="",
    )


def waiting_page(title: str, told: str, *, live: int) -> str:
    """The page while nothing is measured yet.

    Args:
        title: what it is about.
        told: what is known.
        live: seconds after which the page loads itself anew.
    """
    return render(TEMPLATE, title=title, waiting=told, live=live)
