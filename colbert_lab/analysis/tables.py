"""The final tables of a run, built from its folder alone: results.jsonl, splits.json and the rankings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from colbert_lab.analysis.rows import (
    HEADLINE,
    Row,
    differences,
    rows_of,
    title_of,
    value_cell,
)
from colbert_lab.base.layout import NONE, Table, print_tables, to_markdown
from colbert_lab.base.outside import read_json_or
from colbert_lab.base.types import DEV_NAMES, PHASE_FILE
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.evaluation.significance import MARKS, Paired
from colbert_lab.records.cost import BUSY, cost_of
from colbert_lab.records.records import EXACT, RECORDS_FILE, Record, read_records
from colbert_lab.records.run_files import PhaseFacts, SplitFacts, read_config, selection_told, split_details

__all__ = ["Table", "print_tables", "run_tables", "to_markdown"]


def run_tables(run_dir: Path, phases: Collection[str] | None = None) -> list[Table]:
    """One table for each split of a run: test splits first, then dev splits; then what phases and searches cost.

    Rows are BM25, dense, teacher, the student before training and after each phase; after each phase come the
    paired differences to ``before`` and to the phase before it. Where several records say the same thing,
    the last one counts. A student that was searched in several ways has exact search of float32 (or the first way)
    in these tables, and all of them in a table of their own.

    Args:
        run_dir: the run's folder.
        phases: leave the students of other phases out; None takes all.

    Returns:
        The tables; none when nothing was recorded.
    """
    records = [
        record
        for record in read_records(run_dir / RECORDS_FILE)
        if phases is None or record.system != "student" or record.phase in phases
    ]
    known = split_details(run_dir)
    splits = dict.fromkeys(record.split for record in records)
    ordered = sorted(
        splits, key=lambda split: str(known.get(split, SplitFacts()).get("split", split)) in DEV_NAMES
    )
    of_split = {split: [record for record in records if record.split == split] for split in ordered}
    rows = {
        split: rows_of(run_dir, mine, known.get(split, SplitFacts()).get("mean_of", {}))
        for split, mine in of_split.items()
    }
    tables = []
    for split, mine in of_split.items():
        details = known.get(split, SplitFacts())
        variants = list(dict.fromkeys(record.variant for record in mine if record.system == "student"))
        main = EXACT if EXACT in variants else next(iter(variants), EXACT)
        shown = [r for r in mine if r.system != "student" or r.variant == main]
        tables.append(_table(split, shown, main, rows, details))
        if len(variants) > 1:
            tables.append(search_table(split, mine, rows, details))
    cost = phase_table(run_dir, records, phases)
    return [*tables, cost] if cost else tables


def _table(
    split: str, records: list[Record], variant: str, rows: Mapping[str, list[Row]], details: SplitFacts
) -> Table:
    measures = list(dict.fromkeys(record.measure for record in records))
    shown = [row for row in rows[split] if row.system != "student" or row.variant == variant]
    notes = [row.note for row in shown if row.note]
    cells: list[tuple[str, ...]] = []
    verdicts: list[str] = []
    headline = HEADLINE if HEADLINE in measures else measures[0]
    seen: list[Row] = []
    for row in shown:
        cells.append((row.label, *(value_cell(row, measure) for measure in measures)))
        if row.system != "student":
            continue
        students = list(seen)
        seen.append(row)
        # Differences to the first student, and to the one just before where that is another.
        for earlier in [students[0], *students[1:][-1:]] if students else ():
            found = [differences(rows, row, earlier, measure).get(split) for measure in measures]
            cells.append((f"  {row.phase} vs {earlier.phase}", *(str(each or NONE) for each in found)))
            first = found[measures.index(headline)]
            if earlier is students[0] and first is not None:
                verdicts.append(_verdict(row.phase, earlier.phase, headline, split, first))
            notes += _protocol_note(row, earlier, headline)
    columns = ("system", *map(measure_title, measures))
    notes = [*_how_to_read(len(seen) > 1, bool(details.get("mean_of"))), *dict.fromkeys(notes)]
    title = title_of(split, records, details)
    return Table(title, columns, tuple(cells), tuple(reversed(verdicts)), tuple(notes))


def _verdict(phase: str, earlier: str, measure: str, split: str, found: Paired) -> str:
    told = {"same": "no query differs", "unclear": "unclear, no difference is shown", "": "not tested"}
    n = f"{found.n:,} {'query' if found.n == 1 else 'queries'}"
    return (
        f"{phase}: {measure_title(measure)} {found.mean:+.4f} {found.bounds('+')} over {earlier} on {split} "
        f"({n}): {told.get(found.mark, found.mark)}."
    )


def _protocol_note(row: Row, earlier: Row, measure: str) -> list[str]:
    a, b = row.records.get(measure), earlier.records.get(measure)
    if a is None or b is None or a.protocol_hash == b.protocol_hash:
        return []
    return [
        f"{row.phase} and {earlier.phase} were measured under different protocols (lengths, prompts, depth)."
    ]


def _how_to_read(compared: bool, mean: bool) -> list[str]:
    notes = ["[low, high]: 95% bootstrap interval over queries; another training seed is not part of it."]
    if mean:
        notes.append("A mean counts every member alike; its interval resamples queries within each split.")
    if compared:
        notes.append(f"A vs B: A minus B, paired by query. {MARKS}")
    return notes


COST = ("device-hours", "TFLOP", "MFU", "memory, GiB")


def phase_table(
    run_dir: Path, records: Sequence[Record], phases: Collection[str] | None = None
) -> Table | None:
    """What each phase cost and where its student comes from.

    Args:
        run_dir: the run's folder.
        records: the run's records; they give the order of the phases where the run's config does not.
        phases: leave other phases out; None takes all.

    Returns:
        None when no phase is finished.
    """
    measured = [record.phase for record in records if record.system == "student"]
    order = dict.fromkeys([*(read_config(run_dir).get("schedule") or ()), *measured])
    found = {path.parent.name: path for path in sorted(run_dir.glob(f"*/{PHASE_FILE}"))}
    found = {name: path for name, path in found.items() if phases is None or name in phases}
    names = [*(name for name in order if name in found), *(name for name in found if name not in order)]
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    parent = "untrained"
    for name in names:
        done = read_json_or(found[name], PhaseFacts)
        if not all(key in done for key in ("steps", "queries", "tokens", "seconds")):
            notes.append(f"{name}: its {PHASE_FILE} is damaged or of another version.")
            parent = name
            continue
        cost = cost_of(done)
        reused, hours, mfu = cost.reused_from, cost.device_hours, cost.mfu
        rows.append(
            (
                name,
                parent,
                f"reused from {reused}" if reused else "this run",
                f"{done['steps']:,}",
                f"{done['queries']:,}",
                f"{done['tokens']:,}",
                f"{done['seconds']:.0f}",
                f"{cost.tokens / max(cost.seconds, 1e-9):,.0f}",
                NONE if hours is None else f"{hours:.4f}",
                NONE if cost.flops is None else f"{cost.flops / 1e12:,.2f}",
                NONE if mfu is None else f"{mfu:.1%}",
                NONE if cost.peak is None else f"{cost.peak / 2**30:.2f}",
            )
        )
        if mfu is None and cost.flops is not None and cost.possible:
            notes.append(f"{name}: MFU is not measurable: {BUSY}.")
        if selection := done.get("selection"):
            notes.append(f"{name}: {selection_told(selection)}.")
        if done.get("prompt_mismatch"):
            notes.append(
                f"{name}: its prompts differ from its parent's ({done['prompt_mismatch']}), as was allowed."
            )
        parent = name
    if not rows:
        return None
    columns = ("phase", "parent", "trained in", "steps", "queries", "tokens", "seconds", "tokens/s", *COST)
    notes.append(
        "tokens: without padding; seconds: of training with the wait for data, without evaluations; TFLOP: of the "
        "encoder, without padding and recomputation; MFU: TFLOP a second as a share of a large matrix product's on "
        "this device; memory: the most that was in use, of the GPU where there is one."
    )
    return Table("Phases: cost and lineage", columns, tuple(rows), (), tuple(notes))


def search_table(
    split: str, records: list[Record], by_split: Mapping[str, list[Row]], details: SplitFacts
) -> Table:
    """What each way to search costs and loses against exact search of float32, for each student.

    Args:
        split: name of the split.
        records: of it.
        by_split: what :func:`colbert_lab.analysis.rows.rows_of` returned, for each split of the run.
        details: of the split.
    """
    students = [record for record in records if record.system == "student"]
    measures = list(dict.fromkeys(record.measure for record in students))
    deepest = max(
        (m for m in measures if re.fullmatch(r"recall@\d{1,9}", m)),
        key=lambda m: int(m[7:]),
        default=measures[-1],
    )
    shown = list(dict.fromkeys([HEADLINE if HEADLINE in measures else measures[0], deepest]))
    rows = [row for row in by_split[split] if row.system == "student"]
    cells = []
    for row in rows:
        exact = next((r for r in rows if r.phase == row.phase and r.variant == EXACT), None)
        student = {"before": "before", "evaluate": "student"}.get(row.phase, f"after {row.phase}")
        line = [student, row.variant]
        for measure in shown:
            line.append(f"{row.records[measure].value:.4f}" if measure in row.records else "-")
            compared = exact is not None and exact is not row
            found = differences(by_split, row, exact, measure).get(split) if compared and exact else None
            line.append(str(found or NONE))
        cells.append((*line, *_search_cost(next(iter(row.records.values())))))
    columns = ["student", "search"]
    for measure in shown:
        columns += [measure_title(measure), "against exact"]
    notes = (
        "against exact: minus exact search of the same student's float32 embeddings, paired by query, "
        f"[low, high]: 95% bootstrap interval. {MARKS}",
        "bytes/document: everything that is searched; index s: making it from the embeddings; ms/query: searching, "
        "without encoding the query. What several ways share counts in the first.",
        *dict.fromkeys(row.note for row in rows if row.note),
    )
    title = f"Ways to search: {title_of(split, students, details)}"
    return Table(title, (*columns, "bytes/document", "index s", "ms/query"), tuple(cells), (), notes)


def _search_cost(record: Record) -> tuple[str, str, str]:
    """Bytes a document, seconds of indexing, milliseconds a query."""
    size = record.index_bytes and record.n_documents and record.index_bytes / record.n_documents
    index, seconds, n = record.seconds_index, record.seconds_search, record.n_queries
    return (
        f"{size:,.0f}" if size else "-",
        "-" if index is None else f"{index:.1f}",
        "-" if seconds is None or not n else f"{1000 * seconds / n:.1f}",
    )
