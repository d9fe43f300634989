"""``task=compare``: from the config to the tables on the screen and on disk. Imports no torch."""

from __future__ import annotations

import logging
from pathlib import Path

from colbert_lab.analysis.compare import compare_runs
from colbert_lab.analysis.compare_table import comparison_csv, comparison_tables, to_latex
from colbert_lab.analysis.published import set_beside
from colbert_lab.base.atomic import write_text
from colbert_lab.base.layout import print_tables, to_markdown
from colbert_lab.records.run_directory import check_writable
from colbert_lab.settings import Command

log = logging.getLogger("colbert_lab")


def execute(command: Command) -> None:
    """Compare finished runs, print the tables, and save them as Markdown, LaTeX and CSV.

    Args:
        command: what is asked for; ``runs`` and ``compare`` are read.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    settings, asked = command.settings, command.settings.compare
    comparison = compare_runs(
        [Path(folder).expanduser() for folder in settings.runs],
        baseline=None if asked.baseline is None else reference_of(asked.baseline),
        measures=asked.measures,
        splits=asked.splits,
        systems=asked.systems,
        allow_different=asked.allow_different,
    )
    beside = set_beside(asked.published, comparison)
    tables = comparison_tables(comparison, beside)
    stem = _stem(asked.output, settings.outputs / "compare" / settings.name)
    check_writable(stem.parent, "compare.output")
    contents = {
        ".md": to_markdown(tables),
        ".tex": to_latex(tables),
        ".csv": comparison_csv(comparison, beside),
    }
    for ending, text in contents.items():
        write_text(stem.with_name(stem.name + ending), text)
    print_tables(tables)
    log.info("saved: %s.md, .tex and .csv", stem)


def reference_of(baseline: str) -> Path | dict[str, str]:
    """A run, or the factor values of the reference: ``lr=0.1`` or ``lr=0.1,dim=64``.

    Args:
        baseline: ``compare.baseline``.
    """
    path, parts = Path(baseline).expanduser(), [part.partition("=") for part in baseline.split(",")]
    if path.exists() or not all(name and value for name, _, value in parts):
        return path
    return {name.strip(): value.strip() for name, _, value in parts}


def _stem(output: str | None, default: Path) -> Path:
    """Path of the files without their ending; an ending of ours that was given is taken off."""
    path = default if output is None else Path(output).expanduser()
    return path.with_suffix("") if path.suffix in (".md", ".tex", ".csv") else path
