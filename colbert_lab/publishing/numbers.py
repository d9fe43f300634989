"""What was measured of a student, and how, from its run's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from colbert_lab.publishing.history import History
from colbert_lab.publishing.names import Names
from colbert_lab.results.layout import Table, to_markdown
from colbert_lab.results.rows import split_details
from colbert_lab.results.tables import run_tables

PHASES = "Phases:"


def numbers(history: History) -> list[Table]:
    """The run's own tables, without the students of later phases and without what phases cost (the recipe has it)."""
    kept = ("before", "evaluate", *history.outcomes)
    tables = run_tables(history.run_dir, kept)
    return [_clean(table, history.names) for table in tables if not table.title.startswith(PHASES)]


def protocol(history: History) -> str:
    """How the splits were searched, and what each of them is, in Markdown; empty where nothing was measured."""
    if not history.records:
        return ""
    evaluation = history.config.get("evaluation") or {}
    details = split_details(history.run_dir)
    mine = {record.split: record for record in history.records if record.system == "student"}
    rows = []
    for split, record in mine.items():
        known = details.get(split, {})
        if "mean_of" in known:
            continue
        rows.append(
            (
                split,
                history.names.words(str(known.get("dataset", record.dataset))),
                str(known.get("split", split)),
                f"{known['documents']:,}" if "documents" in known else "-",
                f"{record.n_queries:,}",
                _asked(known.get("protocol")),
                record.split_fingerprint,
                record.protocol_hash,
            )
        )
    columns = (
        "split",
        "data set",
        "its split",
        "documents",
        "queries",
        "asked for",
        "fingerprint",
        "protocol",
    )
    notes = [
        f"Searched: {_listed(evaluation.get('mode', 'exact'))}; embeddings stored as "
        f"{_listed(evaluation.get('storage', 'float32'))}; rankings of {evaluation.get('depth')} documents; "
        f"encoded with precision {evaluation.get('precision')}. Queries without judgments are left out.",
        "fingerprint: of corpus, queries and judgments; protocol: of lengths, prompts, exclusions, depth and the way "
        "to search. Numbers may be compared where both are equal.",
        "Measures are those of trec_eval (pytrec_eval-terrier).",
    ]
    headline = evaluation.get("headline")
    if headline:
        notes.append(f"`{headline}` is what sweeps choose by; it is no held-out number.")
    table = Table("", columns, tuple(rows), (), tuple(notes))
    return to_markdown([table]).partition("\n\n")[2]


def _asked(found: Mapping[str, Any] | None) -> str:
    given = {key: value for key, value in (found or {}).items() if value not in (None, False)}
    return ", ".join(f"{key} {value!r}" for key, value in given.items()) or "the student's own rules"


def _listed(value: Any) -> str:
    return (
        ", ".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )


def _clean(table: Table, names: Names) -> Table:
    """Without places on this machine, which the names of systems and data sets may hold."""
    return replace(
        table,
        title=names.words(table.title),
        rows=tuple((names.words(row[0]), *row[1:]) for row in table.rows),
        notes=tuple(names.text(note) for note in table.notes),
    )
