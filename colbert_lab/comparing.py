"""``task=compare``: from the config to the tables on the screen and on disk. Imports no torch."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from colbert_lab.atomic import write_text
from colbert_lab.logs import start_logging
from colbert_lab.results.compare import compare_runs
from colbert_lab.results.compare_table import comparison_csv, comparison_tables
from colbert_lab.results.latex import to_latex
from colbert_lab.results.layout import print_tables, to_markdown
from colbert_lab.results.published_rows import set_beside
from colbert_lab.results.run_directory import check_writable
from colbert_lab.settings import checked

log = logging.getLogger("colbert_lab")


def compare(cfg: DictConfig) -> None:
    """Compare finished runs, print the tables, and save them as Markdown, LaTeX and CSV.

    Args:
        cfg: what Hydra composed; ``runs`` and ``compare`` are read.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    start_logging()
    cfg = checked(cfg)
    settings = cfg.compare
    comparison = compare_runs(
        [Path(folder).expanduser() for folder in cfg.runs],
        baseline=None if settings.baseline is None else Path(settings.baseline).expanduser(),
        measures=settings.measures,
        splits=settings.splits,
        systems=settings.systems,
        allow_different=settings.allow_different,
    )
    beside = set_beside(settings.published, comparison)
    tables = comparison_tables(comparison, beside)
    stem = _stem(settings.output, Path(cfg.output_dir) / "compare" / cfg.name)
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


def _stem(output: str | None, default: Path) -> Path:
    """Path of the files without their ending; an ending of ours that was given is taken off."""
    path = default if output is None else Path(output).expanduser()
    return path.with_suffix("") if path.suffix in (".md", ".tex", ".csv") else path
