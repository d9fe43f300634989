"""``task=report``: a study as one HTML page. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from colbert_lab.atomic import write_text
from colbert_lab.errors import InputError
from colbert_lab.logs import start_logging
from colbert_lab.results.run_directory import check_writable, output_file
from colbert_lab.settings import checked
from colbert_lab.studies.answer import answer
from colbert_lab.studies.page import to_html
from colbert_lab.studies.reading import read_study

log = logging.getLogger("colbert_lab")
ENDING = ".html"
READ = ("task", "study", "out", "output_dir", "cache_dir", "progress", "tracking", "hydra")
"""Settings that may be given: those that are read, and those that say nothing about what is shown."""


def execute(cfg: DictConfig) -> None:
    """Write the page of a study, and say its verdict.

    Args:
        cfg: what Hydra composed; ``study``, ``out`` and ``output_dir`` are read.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    start_logging()
    _check_read(list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [])
    cfg = checked(cfg)
    if not cfg.study:
        raise InputError("study: which one? give its folder, for example study=experiments/001_schedules")
    study = read_study(Path(cfg.study).expanduser())
    out = output_file(cfg.out, (ENDING,))
    if out is None:
        out = Path(cfg.output_dir).expanduser() / "reports" / f"{study.name}{ENDING}"
        check_writable(out.parent)
    found = answer(study)
    if not found.runs:
        raise InputError(
            f"study={cfg.study}: has no runs yet; make them with: python experiments/study.py run {cfg.study}"
        )
    write_text(out, to_html(found))
    print(found.verdict)
    log.info("saved: %s", out)


def _check_read(overrides: Sequence[str]) -> None:
    """Whether something was given that has no effect here."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition("@")[0].partition(".")[0] not in READ:
            raise InputError(f"{key}: has no effect on task=report; leave it out")
