"""W&B runs made again from what is on disk, for runs that were tracked elsewhere, incompletely, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from colbert_lab.analysis.ledger.entry import RUNNING, Entry
from colbert_lab.analysis.tables import run_tables
from colbert_lab.base.outside import read_json_or
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.records.records import RECORDS_FILE, read_records
from colbert_lab.records.run_directory import STATUS_FILE
from colbert_lab.records.run_files import About, PhaseFacts, Status, phases_of
from colbert_lab.tracking.tracking import Tracking, guarded, short_tag
from colbert_lab.tracking.wandb_phase import open_phase

log = logging.getLogger(__name__)


def rebuild(entries: Sequence[Entry], tracking: Tracking, progress: bool = True) -> tuple[int, int]:
    """Write runs to W&B, one W&B run a phase, as they would have been tracked.

    Online, a W&B run that is there already is gone on with: it has the same id, and points that it has are not sent
    again. Offline, each phase gets a new folder in ``wandb/`` of its run.

    Args:
        entries: the runs. One that is being executed is left out, which is logged.
        tracking: how; its tags are added to those of the runs.
        progress: whether to show a progress bar.

    Returns:
        How many W&B runs were written, and how many W&B could not open.
    """
    from tqdm.auto import tqdm

    written = lost = 0
    for entry in tqdm(entries, desc="to W&B", unit=" runs", disable=None if progress else True):
        if entry.status == RUNNING:
            log.warning("%s is being executed and tracks itself; left out", entry.path)
            continue
        about = read_json_or(entry.path / STATUS_FILE, Status).get("run", About())
        tags = tuple(dict.fromkeys(map(short_tag, [*about.get("tags", []), *tracking.tags])))
        phases = _phases(entry, about)
        for number in range(len(phases)):
            opened = _phase(entry, phases, number, replace(tracking, tags=tags))
            written, lost = written + opened, lost + (not opened)
    return written, lost


def _phases(entry: Entry, about: About) -> list[str]:
    """The phases of a run that left something on disk, in order."""
    if entry.task == "evaluate":
        return ["evaluate"]
    schedule = phases_of(about) or phases_of({"schedule": entry.config.get("schedule") or []})
    known = [phase for phase in schedule if (entry.path / phase).is_dir()]
    # What a run measured before it failed has no phase yet.
    return known or (schedule[:1] if (entry.path / RECORDS_FILE).is_file() else [])


def _phase(entry: Entry, phases: Sequence[str], number: int, tracking: Tracking) -> bool:
    """Write one phase, with what was measured until its end."""
    phase, previous = phases[number], phases[number - 1] if number else None
    folder = entry.path / phase
    tracked = open_phase(
        tracking,
        path=entry.path,
        run_id=entry.run_id,
        phase=phase,
        previous=previous,
        name=str(entry.config.get("name") or entry.name),
        config=entry.config,
    )
    if tracked.run is None:
        return False
    tracked.curves(folder / "metrics.csv")
    outcome = read_json_or(folder / PHASE_FILE, PhaseFacts)
    if outcome:
        tracked.student(folder / "student", outcome.get("reused_from"))
        tracked.facts(outcome, previous)
    later = phases[number + 1 :]
    found = read_records(entry.path / RECORDS_FILE)
    records = [record for record in found if record.system != "student" or record.phase not in later]
    known = {record.phase for record in records}
    with guarded(f"the tables of {phase}"):
        tracked.results(records, run_tables(entry.path, known) if records else [])
    tracked.finish(failed=not outcome and entry.task != "evaluate")
    return True
