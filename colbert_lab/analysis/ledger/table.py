"""The ledger as a table to read, and as rows for files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from colbert_lab.analysis.configurations import short_names
from colbert_lab.analysis.ledger.columns import Column, Columns, shortened
from colbert_lab.analysis.ledger.entries import FAILED, INTERRUPTED, KILLED, PRUNED, RUNNING, UNKNOWN, Entry
from colbert_lab.base.layout import NONE, Table, csv_text, json_text
from colbert_lab.records.cost import BUSY

FILED = (
    "run", "name", "status", "seed", "headline", "value", "change", "phase", "started", "ended", "seconds",
    "seconds_train", "seconds_reused", "device_hours", "tokens", "tflop", "mfu", "memory_gib", "commit", "dirty",
    "config", "seeds", "rerun", "reruns", "task", "hardware", "host", "error", "path",
)  # fmt: skip
FACTORS = "factors"
"""A column of its own on the screen: what a run overrides that not all listed runs do."""
SHOWN = (
    "run", "name", "status", "seed", "value", "change", "headline", FACTORS, "started", "seconds", "seconds_train",
    "device_hours", "commit", "same",
)  # fmt: skip
LONGEST_ERROR = 160  # characters
NAMED = 3  # runs that a note names
MEANINGS = {
    "device_hours": "device hours: of training, the run's own phases alone, over all devices.",
    "tflop": "TFLOP: operations of the encoder in the run's own phases, without padding and recomputation.",
    "mfu": f"MFU: of the run's own phases, as a share of a large matrix product's rate; none where {BUSY}.",
    "memory_gib": "memory: the most that one process had in use while it trained, of the GPU where there is one.",
    "seconds": "took: wall time of the last execution (hours:minutes:seconds).",
    "seconds_train": "training: of the phases that the run finished itself.",
    "same": "same config: runs of one config with other seeds, and repetitions of one seed, among all runs on disk.",
}


def ledger_table(
    columns: Columns, entries: Sequence[Entry], wanted: Sequence[str] | None, where: str
) -> Table:
    """The listed runs, one a line.

    Args:
        columns: of all runs.
        entries: the listed ones.
        wanted: columns to show; None for the usual ones, of which those that are empty everywhere are left out.
        where: in which folder they are.

    Raises:
        InputError: an unknown column.
    """
    keys = _usual(columns, entries) if wanted is None else list(wanted)
    varied = differing(entries)
    shown = [
        (FACTORS, _factor_cells(entries, varied)) if key == FACTORS else _cells(columns, key, entries)
        for key in keys
    ]
    title = f"{len(entries):,} of {len(columns.entries):,} runs below {where}"
    titles, cells = zip(*shown, strict=True)
    meanings = [text for key, text in MEANINGS.items() if key in keys and entries]
    notes = (*meanings, *_shared(entries), *_remarks(columns, entries, keys))
    return Table(title, titles, tuple(zip(*cells, strict=True)), (), notes)


def ledger_csv(columns: Columns, entries: Sequence[Entry], wanted: Sequence[str] | None) -> str:
    """The listed runs as CSV: plain values, times in seconds since 1970, a column for each factor that differs.

    Args:
        columns: of all runs.
        entries: the listed ones.
        wanted: the columns; None for all of them.
    """
    chosen = _chosen(columns, entries, wanted)
    rows = ([column.value(entry) for column in chosen] for entry in entries)
    return csv_text([[column.key for column in chosen], *rows])


def ledger_json(columns: Columns, entries: Sequence[Entry], wanted: Sequence[str] | None) -> str:
    """The listed runs as a JSON list of objects.

    Args:
        columns: of all runs.
        entries: the listed ones.
        wanted: the columns; None for all of them, all factors, and every measure before and after.
    """
    rows: list[dict[str, Any]] = []
    chosen = _chosen(columns, entries, FILED if wanted is None else wanted)
    for entry in entries:
        row: dict[str, Any] = {column.key: column.value(entry) for column in chosen}
        if wanted is None:
            row["dirty"] = entry.dirty
            row["factors"] = dict(entry.factors)
            row["values"] = {
                key: {"before": value.before, "after": value.after} for key, value in entry.values.items()
            }
        rows.append(row)
    return json_text(rows)


def differing(entries: Sequence[Entry]) -> list[str]:
    """Config keys of the factors that are not the same in all of these runs."""
    keys = dict.fromkeys(key for entry in entries for key in entry.factors)
    return [key for key in keys if len({entry.factors.get(key) for entry in entries}) > 1]


def _usual(columns: Columns, entries: Sequence[Entry]) -> list[str]:
    """The columns that are shown when none are named: those that say something."""
    several = len({columns.about(entry) for entry in entries}) > 1
    known = {FACTORS: bool(differing(entries)), "run": True, "value": True, "headline": several}
    return [
        key
        for key in SHOWN
        if (known[key] if key in known else any(cell != NONE for cell in _cells(columns, key, entries)[1]))
    ]


def _cells(columns: Columns, key: str, entries: Sequence[Entry]) -> tuple[str, list[str]]:
    column = _column(columns, key)
    return column.title, [column.shown(entry) for entry in entries]


def _chosen(columns: Columns, entries: Sequence[Entry], wanted: Sequence[str] | None) -> list[Column]:
    varied = [columns.factor(key) for key in differing(entries)]
    if wanted is None:
        return [*(_column(columns, key) for key in FILED), *varied]
    expanded = [varied if key == FACTORS else [_column(columns, key)] for key in wanted]
    return [column for several in expanded for column in several]


def _column(columns: Columns, key: str) -> Column:
    return columns.find(key, "ledger.columns")


def _factor_cells(entries: Sequence[Entry], varied: Sequence[str]) -> list[str]:
    names = short_names(varied)
    return [
        ", ".join(f"{names[key]}={entry.factors[key]}" for key in varied if key in entry.factors) or NONE
        for entry in entries
    ]


def _shared(entries: Sequence[Entry]) -> list[str]:
    first = entries[0].factors.items() if entries else ()
    shared = [f"{key}={value}" for key, value in first if all(e.factors.get(key) == value for e in entries)]
    return [f"All have: {' '.join(shared)}."] if shared else []


def _remarks(columns: Columns, entries: Sequence[Entry], keys: Sequence[str]) -> list[str]:
    """What became of runs that are not finished, and which cells have to be read with care."""
    notes = []
    errors: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.status == FAILED:
            told = shortened(entry.error or "no error is recorded", LONGEST_ERROR)
            errors.setdefault(told, []).append(entry)
    notes += [f"{_named(failed)} failed: {error}" for error, failed in errors.items()]
    for status, what in ((INTERRUPTED, "interrupted"), (KILLED, "killed, the process is gone")):
        if stopped := [entry for entry in entries if entry.status == status]:
            notes.append(f"{_named(stopped)}: {what}; the same command goes on from the last checkpoint.")
    if stopped := [entry for entry in entries if entry.status == PRUNED]:
        notes.append(f"{_named(stopped)}: pruned, its search stopped it as other trials were better.")
    if elsewhere := [entry for entry in entries if entry.status == RUNNING and entry.host]:
        notes.append(f"{_named(elsewhere)}: on another machine, where a killed run cannot be told.")
    if lost := [entry for entry in entries if entry.status == UNKNOWN]:
        notes.append(f"{_named(lost)}: unknown, status.json is missing or damaged.")
    if "commit" in keys and any(entry.dirty for entry in entries):
        notes.append("+ after a commit: the code was changed since.")
    if "value" in keys:
        if any(entry.status != "finished" and columns.value_of(entry) is not None for entry in entries):
            notes.append(
                "The value of an unfinished run is that after its last measured phase (column phase)."
            )
        own = entries if columns.headline is None else ()
        if bare := [entry for entry in own if entry.values and columns.value_of(entry) is None]:
            there = ", ".join(list(dict.fromkeys(key for entry in bare for key in entry.values))[:6])
            notes.append(
                f"{_named(bare)}: no evaluation.headline, or none that was measured; choose a value with "
                f"ledger.headline=, such as {there}."
            )
    return notes


def _named(entries: Sequence[Entry]) -> str:
    names = [entry.run_id for entry in entries[:NAMED]]
    more = f" and {len(entries) - NAMED} more" if len(entries) > NAMED else ""
    return ", ".join(names) + more
