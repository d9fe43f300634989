"""``task=runs``: the ledger, from the config to the table on the screen and in a file. Imports no torch."""

from __future__ import annotations

import logging
import os

from colbert_lab.analysis.ledger.columns import Columns
from colbert_lab.analysis.ledger.ledger import no_collection, read_ledger
from colbert_lab.analysis.ledger.query import Query, select
from colbert_lab.analysis.ledger.table import ledger_csv, ledger_json, ledger_table
from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import print_tables, to_markdown
from colbert_lab.base.outside import one_line
from colbert_lab.records.run_directory import output_file
from colbert_lab.settings import Command, Settings
from colbert_lab.tracking.tracking import Tracking, check_tags, connected_mode

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
        processes = min(os.cpu_count() or 1, PROCESSES)
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
        from colbert_lab.analysis.ledger.rebuild import rebuild

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
