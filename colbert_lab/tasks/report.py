"""``task=report``: runs, a sweep, a search or a study as one HTML page. Imports no torch."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from colbert_lab.analysis.compare import compare_runs
from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import one_line
from colbert_lab.records.run_directory import check_writable, output_file
from colbert_lab.records.runs import RunsNotMeasured, newest_run, read_runs, running_runs
from colbert_lab.report.content import report
from colbert_lab.report.page import to_html as runs_page
from colbert_lab.report.page import waiting_page
from colbert_lab.settings import Command, Settings
from colbert_lab.studies.answer import answer
from colbert_lab.studies.pages import to_html as study_page
from colbert_lab.studies.reading import read_study

log = logging.getLogger("colbert_lab")
ENDING = ".html"


def execute(command: Command) -> None:
    """Write the page, and say the sentence that it opens with.

    Args:
        command: what is asked for; ``runs``, ``study``, ``out``, ``report`` and ``output_dir`` are read.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    settings = command.settings
    if settings.study and (settings.runs or settings.report.live):
        key = "runs" if settings.runs else "report.live"
        raise InputError(f"{key}: has no effect on a study; leave it out, or leave out study")
    out = output_file(settings.out, (ENDING,))
    if settings.study:
        _study(settings, settings.study, out)
    else:
        _runs(settings, out)


def _out(settings: Settings, out: Path | None, name: str) -> Path:
    if out is not None:
        return out
    place = settings.outputs / "reports" / f"{name}{ENDING}"
    check_writable(place.parent)
    return place


def _study(settings: Settings, folder: str, out: Path | None) -> None:
    study = read_study(Path(folder).expanduser())
    place = _out(settings, out, study.name)
    found = answer(study)
    if not found.runs:
        raise InputError(
            f"study={folder}: has no runs yet; make them with: python experiments/study.py run {folder}"
        )
    write_text(place, study_page(found))
    print(one_line(found.verdict))
    log.info("saved: %s", place)


def _runs(settings: Settings, out: Path | None) -> None:
    asked = settings.report
    folders = [Path(folder).expanduser() for folder in settings.runs]
    if not folders:
        folders = [newest_run(settings.outputs, running=asked.live)]
        log.info("the newest run: %s", folders[0])
    idle = not asked.live
    while True:
        going_on = asked.live and bool(running_runs(folders))
        again = asked.every if going_on or not idle else 0
        sentence, page, name = _page(folders, asked.queries, asked.live, again)
        place = _out(settings, out, name)
        write_text(place, page)
        if not again:
            break
        log.info("%s (%s)", one_line(sentence), place)
        idle = not going_on  # the cells of a sweep follow one another: it has ended when twice none runs
        time.sleep(asked.every)
    print(one_line(sentence))
    log.info("saved: %s", place)


def _page(folders: Sequence[Path], queries: int, live: bool, again: int) -> tuple[str, str, str]:
    """The sentence that a page opens with, the page, and the name of its file."""
    try:
        found = read_runs(folders, running=live)
    except RunsNotMeasured as nothing:
        if not again:
            raise
        told = f"Nothing is measured yet. {nothing}"
        return told, waiting_page(folders[0].name, told, live=again), folders[0].resolve().name
    made = report(compare_runs(folders, systems=None, running=live), folders, queries)
    names = list(dict.fromkeys(run.path.parent.name for run in found.runs))
    name = "-".join(names[:3]) + (f"-{found.runs[0].run_id}" if len(found.runs) == 1 else "")
    return made.found.sentence, runs_page(made, live=again), name
