"""``task=report``: a study as one HTML page. Imports no torch."""

from __future__ import annotations

import logging
from pathlib import Path

from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import one_line
from colbert_lab.records.run_directory import check_writable, output_file
from colbert_lab.settings import Command
from colbert_lab.studies.answer import answer
from colbert_lab.studies.pages import to_html
from colbert_lab.studies.reading import read_study

log = logging.getLogger("colbert_lab")
ENDING = ".html"


def execute(command: Command) -> None:
    """Write the page of a study, and say its verdict.

    Args:
        command: what is asked for; ``study``, ``out`` and ``output_dir`` are read.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    settings = command.settings
    if not settings.study:
        raise InputError("study: which one? give its folder, for example study=experiments/001_schedules")
    study = read_study(Path(settings.study).expanduser())
    out = output_file(settings.out, (ENDING,))
    if out is None:
        out = settings.outputs / "reports" / f"{study.name}{ENDING}"
        check_writable(out.parent)
    found = answer(study)
    if not found.runs:
        raise InputError(
            f"study={settings.study}: has no runs yet; make them with: python experiments/study.py run "
            f"{settings.study}"
        )
    write_text(out, to_html(found))
    print(one_line(found.verdict))
    log.info("saved: %s", out)
