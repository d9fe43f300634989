"""``task=runs``: the ledger, from the config to the table on the screen, in a file and in W&B. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from colbert_lab.analysis.by_query import query_table
from colbert_lab.analysis.ledger.columns import Columns
from colbert_lab.analysis.ledger.entries import RUNNING, Entry
from colbert_lab.analysis.ledger.ledger import no_collection, read_ledger
from colbert_lab.analysis.ledger.query import Query, select
from colbert_lab.analysis.ledger.table import ledger_csv, ledger_json, ledger_table
from colbert_lab.analysis.tables import run_tables
from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import print_tables, to_markdown
from colbert_lab.base.machine import cores
from colbert_lab.base.outside import one_line, read_json_or
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.records.records import RECORDS_FILE, read_records
from colbert_lab.records.run_directory import STATUS_FILE, output_file
from colbert_lab.records.run_files import About, PhaseFacts, Status, phases_of
from colbert_lab.settings import Command, Settings
from colbert_lab.tracking.tracking import Tracking, check_tags, connected_mode, guarded, short_tag
from colbert_lab.tracking.wandb_phase import open_phase

log = logging.getLogger("colbert_lab")
PROCESSES = 8  # that read many runs together, at most
ENDINGS = (".csv", ".md", ".json")


def execute(command: Command) -> None:
    """List runs, write the list to a file when one is named, and write the runs to W&B when asked.

    Args:
        command: what is asked for; ``output_dir``, ``ledger``, ``out``, ``to`` and, for ``to=wandb``, ``tracking`` are
            read.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    settings, asked = command.settings, command.settings.ledger
    tracking = _tracking(settings)
    out = output_file(settings.out, ENDINGS)
    folder = settings.outputs
    query = Query(
        names=asked.name or (),
        statuses=asked.status or (),
        where=asked.where or (),
        since=asked.since,
        commit=asked.commit,
        sort=asked.sort or (),
        limit=asked.limit,
    )
    wanted = asked.columns
    if wanted == []:
        raise InputError("ledger.columns=[]: nothing to show; name columns, or null for the usual ones")
    with no_collection():
        processes = min(cores(), PROCESSES)
        runs = read_ledger(folder, settings.cache, processes)
        columns = Columns(runs, asked.headline)
        entries = select(columns, query)
        table = ledger_table(columns, entries, wanted, str(folder))
        if out is not None:
            text = {
                ".csv": lambda: ledger_csv(columns, entries, wanted),
                ".md": lambda: to_markdown([table]),
                ".json": lambda: ledger_json(columns, entries, wanted),
            }[out.suffix.lower()]()
            write_text(out, text)
        if entries:
            print_tables([table])
        else:
            print(one_line(f"None of the {len(columns.entries):,} runs below {folder} fits."))
    if out is not None:
        log.info("saved: %s", out)
    if tracking is not None:
        written, lost = rebuild(entries, tracking, settings.progress)
        log.info(
            "W&B (%s): W&B runs written, one a phase: %d; of runs: %d", tracking.mode, written, len(entries)
        )
        if lost:
            raise InputError(
                f"to=wandb: {lost} of {written + lost} W&B runs could not be written, see above; the same command "
                "sends them again"
            )


def _tracking(settings: Settings) -> Tracking | None:
    """Where ``to`` writes the runs; None where it is not given."""
    target, asked = settings.to, settings.tracking
    if target is None:
        return None
    if target != "wandb":
        raise InputError(f"to={target}: task=runs writes runs to wandb alone; set to=wandb")
    check_tags(asked.tags)
    mode = connected_mode(asked.mode)
    if mode == "off":
        raise InputError(
            "tracking.mode=off: nothing is written to W&B; use tracking=wandb or tracking=offline"
        )
    return Tracking(mode, asked.project, asked.entity, tuple(asked.tags), asked.wait_seconds)


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
    from colbert_lab.base.progress import progress_bar

    written = lost = 0
    for entry in progress_bar(entries, desc="to W&B", unit=" runs", disable=not progress):
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
    path, run_id, config = entry.path, entry.run_id, entry.config
    name = str(config.get("name") or entry.name)
    tracked = open_phase(
        tracking, path=path, run_id=run_id, phase=phase, previous=previous, name=name, config=config
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
        tables = run_tables(entry.path, known) if records else []
        by_query = query_table(entry.path, phase, records)
        tracked.results(records, [*tables, *([by_query] if by_query else [])])
        if not later:
            from colbert_lab.report.content import run_pictures  # imports pyarrow

            tracked.pictures(run_pictures(entry.path))
    tracked.finish(failed=not outcome and entry.task != "evaluate")
    return True
