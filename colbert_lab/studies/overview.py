"""What all studies say, as one table for the project's README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from colbert_lab.atomic import write_text
from colbert_lab.metrics.measures import measure_title
from colbert_lab.results.layout import Table, to_markdown
from colbert_lab.studies.answer import Answer
from colbert_lab.studies.readme import between

TITLE = "What the studies say"
COLUMNS = ("question", "claim", "difference", "queries x seeds", "verdict")


def overview_table(answers: Sequence[Answer], root: Path) -> Table | None:
    """One row for each claim that was tested; None where no study has rows yet.

    Args:
        answers: of the studies, in order.
        root: folder that the links start from.
    """
    rows = []
    measures: dict[str, None] = {}
    for each in answers:
        study = each.study
        link = f"[{study.title}]({study.folder.relative_to(root).as_posix()}/README.md)"
        for finding in each.found:
            if finding.interval is None:
                continue
            i, seeds = finding.interval, len(finding.by_seed or {})
            difference = f"{i.mean:+.4f} [{i.low:+.4f}, {i.high:+.4f}]"
            size = f"{len(each.runs[0].query_ids):,} x {seeds}"
            rows.append((link, finding.claim.claim, difference, size, finding.told))
            measures[measure_title(study.measure)] = None
            link = ""
    if not rows:
        return None
    notes = (
        f"difference: {', '.join(measures)}, with its 95% paired bootstrap interval over queries, each query averaged "
        "over the seeds first; the verdict follows from the study's decision rule. The number beside a verdict is the "
        "smallest effect of interest that the study named.",
    )
    return Table(TITLE, COLUMNS, tuple(rows), (), notes)


def write_overview(answers: Sequence[Answer], path: Path) -> None:
    """Write the table between the marks of a README.

    Args:
        answers: of the studies, in order; their folders are below the README's.
        path: the README.

    Raises:
        InputError: its marks are missing.
    """
    text = path.read_text(encoding="utf-8")
    write_text(path, between(text, overview(answers, path.parent), path))


def overview(answers: Sequence[Answer], root: Path) -> str:
    """The table as Markdown; empty where no study has rows yet."""
    table = overview_table(answers, root)
    return "" if table is None else to_markdown([table])
