"""The final tables of a run, built from its folder alone: results.jsonl, splits.json and the rankings."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_lab.errors import InputError
from colbert_lab.metrics.measures import PerQuery, measure_title
from colbert_lab.metrics.significance import Interval, bootstrap_interval
from colbert_lab.results.layout import Table, print_tables, to_markdown
from colbert_lab.results.lineage import PHASE_FILE
from colbert_lab.results.means import Strata, macro_interval, macro_mean, read_mean
from colbert_lab.results.rankings import ranking_path, read_per_query
from colbert_lab.results.records import Record, read_records

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Table", "print_tables", "run_tables", "to_markdown"]

SYSTEMS = ("bm25", "dense", "teacher", "student")
SYSTEM_TITLES = {"bm25": "BM25"}
DEV_NAMES = ("dev", "validation", "valid", "heldout")
HEADLINE = "ndcg@10"
EXACT = "exact"
LEVEL = 0.95
SAME = 1e-9
"""A recorded mean and the mean of the per-query file are the same number up to this."""


@dataclass(frozen=True)
class _Row:
    """One system on one split: recorded values, and the per-query values where they are on disk."""

    system: str
    phase: str
    name: str
    variant: str
    records: dict[str, Record]
    per_query: PerQuery | None
    strata: Strata = ()

    @property
    def label(self) -> str:
        if self.system == "student":
            title = {"before": "student before", "evaluate": "student"}.get(self.phase, f"after {self.phase}")
        else:
            title = SYSTEM_TITLES.get(self.system, self.system)
        variant = f", {self.variant}" if self.variant != EXACT else ""
        if self.name.casefold().startswith(title.casefold()):
            return self.name + variant
        # A trained student carries the same name as the untrained one, once is enough.
        told = f" ({self.name})" if self.name and not title.startswith("after ") else ""
        return title + told + variant

    def values(self, measure: str) -> np.ndarray | None:
        """Per-query values, if they belong to the recorded mean."""
        record = self.records.get(measure)
        if self.per_query is None or record is None or measure not in self.per_query.values:
            return None
        values = self.per_query.values[measure]
        mean = macro_mean(values, self.strata) if self.strata else self.per_query.mean(measure)
        return values if abs(mean - record.value) <= SAME else None


def run_tables(run_dir: Path) -> list[Table]:
    """One table for each split of a run: test splits first, then dev splits; then what phases and searches cost.

    Rows are BM25, dense, teacher, the student before training and after each phase; after each phase come the
    paired differences to ``before`` and to the phase before it. Where several records say the same thing,
    the last one counts. A student that was searched in several ways has exact search of float32 (or the first way)
    in these tables, and all of them in a table of their own.

    Args:
        run_dir: the run's folder.

    Returns:
        The tables; none when nothing was recorded.
    """
    records = read_records(run_dir / "results.jsonl")
    known = split_details(run_dir)
    splits = dict.fromkeys(record.split for record in records)
    ordered = sorted(splits, key=lambda split: str(known.get(split, {}).get("split", split)) in DEV_NAMES)
    tables = []
    for split in ordered:
        mine, details = [r for r in records if r.split == split], known.get(split, {})
        variants = list(dict.fromkeys(record.variant for record in mine if record.system == "student"))
        main = EXACT if EXACT in variants else next(iter(variants), EXACT)
        shown = [r for r in mine if r.system != "student" or r.variant == main]
        tables.append(_table(run_dir, split, shown, details))
        if len(variants) > 1:
            tables.append(_search_table(run_dir, split, mine, details))
    cost = phase_table(run_dir, records)
    return [*tables, cost] if cost else tables


def phase_table(run_dir: Path, records: Sequence[Record]) -> Table | None:
    """What each phase cost and where its student comes from.

    Args:
        run_dir: the run's folder.
        records: the run's records, for the order of the phases.

    Returns:
        None when no phase is finished.
    """
    order = dict.fromkeys(record.phase for record in records if record.system == "student")
    found = {path.parent.name: path for path in sorted(run_dir.glob(f"*/{PHASE_FILE}"))}
    names = [*(name for name in order if name in found), *(name for name in found if name not in order)]
    rows, notes, parent = [], [], "untrained"
    for name in names:
        done = json.loads(found[name].read_text(encoding="utf-8"))
        reused = done.get("reused_from")
        seconds = max(done["seconds"], 1e-9)
        rows.append(
            (
                name,
                parent,
                f"reused from {reused}" if reused else "this run",
                f"{done['steps']:,}",
                f"{done['queries']:,}",
                f"{done['tokens']:,}",
                f"{done['seconds']:.0f}",
                f"{done['tokens'] / seconds:,.0f}",
            )
        )
        if done.get("prompt_mismatch"):
            notes.append(
                f"{name}: its prompts differ from its parent's ({done['prompt_mismatch']}), as was allowed."
            )
        parent = name
    if not rows:
        return None
    columns = ("phase", "parent", "trained in", "steps", "queries", "tokens", "seconds", "tokens/s")
    notes.append("tokens: without padding; seconds: of training alone.")
    return Table("Phases: cost and lineage", columns, tuple(rows), (), tuple(notes))


def _table(run_dir: Path, split: str, records: list[Record], details: dict[str, Any]) -> Table:
    measures = list(dict.fromkeys(record.measure for record in records))
    mean_of: dict[str, float] = details.get("mean_of", {})
    rows, notes = _rows(run_dir, records, mean_of)
    cells: list[tuple[str, ...]] = []
    verdicts: list[str] = []
    headline = HEADLINE if HEADLINE in measures else measures[0]
    seen: list[_Row] = []
    for row in rows:
        cells.append((row.label, *(_value_cell(row, measure) for measure in measures)))
        if row.system != "student":
            continue
        students = list(seen)
        seen.append(row)
        # Differences to the first student, and to the one just before where that is another.
        for earlier in [students[0], *students[1:][-1:]] if students else ():
            differences = [_difference(row, earlier, measure) for measure in measures]
            cells.append((f"  {row.phase} vs {earlier.phase}", *(difference_cell(d) for d in differences)))
            found = differences[measures.index(headline)]
            if earlier is students[0] and found is not None:
                verdicts.append(_verdict(row.phase, earlier.phase, headline, split, found))
            notes += _protocol_note(row, earlier, headline)
    compared = len(seen) > 1
    return Table(
        title=_title(split, records, details),
        columns=("system", *(measure_title(measure) for measure in measures)),
        rows=tuple(cells),
        verdicts=tuple(reversed(verdicts)),
        notes=(*_how_to_read(compared, bool(mean_of)), *dict.fromkeys(notes)),
    )


def _search_table(run_dir: Path, split: str, records: list[Record], details: dict[str, Any]) -> Table:
    """What each way to search costs and loses against exact search of float32, for each student."""
    students = [record for record in records if record.system == "student"]
    measures = list(dict.fromkeys(record.measure for record in students))
    deepest = max(
        (m for m in measures if m.startswith("recall@")), key=lambda m: int(m[7:]), default=measures[-1]
    )
    shown = list(dict.fromkeys([HEADLINE if HEADLINE in measures else measures[0], deepest]))
    rows, notes = _rows(run_dir, students, details.get("mean_of", {}))
    cells = []
    for row in rows:
        exact = next((r for r in rows if r.phase == row.phase and r.variant == EXACT), None)
        student = {"before": "before", "evaluate": "student"}.get(row.phase, f"after {row.phase}")
        line = [student, row.variant]
        for measure in shown:
            line.append(f"{row.records[measure].value:.4f}" if measure in row.records else "-")
            compared = exact is not None and exact is not row
            line.append(difference_cell(_difference(row, exact, measure)) if compared and exact else "-")
        cells.append((*line, *_search_cost(next(iter(row.records.values())))))
    columns = ["student", "search"]
    for measure in shown:
        columns += [measure_title(measure), "against exact"]
    return Table(
        title=f"Ways to search: {_title(split, students, details)}",
        columns=(*columns, "bytes/document", "index s", "ms/query"),
        rows=tuple(cells),
        verdicts=(),
        notes=(
            "against exact: minus exact search of the same student's float32 embeddings, paired by query, "
            f"[low, high]: {LEVEL:.0%} bootstrap interval.",
            "bytes/document: everything that is searched; index s: making it from the embeddings; ms/query: searching, "
            "without encoding the query. What several ways share counts in the first.",
            *dict.fromkeys(notes),
        ),
    )


def _search_cost(record: Record) -> tuple[str, str, str]:
    """Bytes a document, seconds of indexing, milliseconds a query."""
    size = record.index_bytes and record.n_documents and record.index_bytes / record.n_documents
    index, seconds, n = record.seconds_index, record.seconds_search, record.n_queries
    return (
        f"{size:,.0f}" if size else "-",
        "-" if index is None else f"{index:.1f}",
        "-" if seconds is None or not n else f"{1000 * seconds / n:.1f}",
    )


def _rows(run_dir: Path, records: list[Record], mean_of: dict[str, float]) -> tuple[list[_Row], list[str]]:
    """The systems in the order of the table, and what to say about files that are missing or differ."""
    groups: dict[tuple[str, str, str, str], dict[str, Record]] = {}
    for record in records:
        phase = record.phase if record.system == "student" else ""
        group = (record.system, phase, record.system_name, record.variant)
        groups.setdefault(group, {})[record.measure] = record
    rows, notes = [], []
    for (system, phase, name, variant), by_measure in groups.items():
        path = ranking_path(run_dir, system, phase, next(iter(mean_of), records[0].split), variant)
        strata: Strata = ()
        try:
            if mean_of:
                per_query, strata = read_mean(run_dir, system, phase, mean_of, variant)
            else:
                per_query = read_per_query(path)
            row = _Row(system, phase, name, variant, by_measure, per_query, strata)
        except InputError:
            row = _Row(system, phase, name, variant, by_measure, None)
        if row.per_query is None:
            notes.append(f"{row.label}: no interval, {path.relative_to(run_dir)} is missing or unreadable.")
        elif any(row.values(measure) is None for measure in by_measure):
            notes.append(
                f"{row.label}: no interval where {path.relative_to(run_dir)} and results.jsonl differ."
            )
        rows.append(row)
    order = {system: number for number, system in enumerate(SYSTEMS)}
    rows.sort(key=lambda row: (order.get(row.system, 2.5), row.phase != "before"))
    return rows, notes


def _title(split: str, records: list[Record], details: dict[str, Any]) -> str:
    dataset, name = records[0].dataset, details.get("split", split)
    counts = [f"{records[-1].n_queries:,} queries"]
    if "mean_of" in details:
        return f"{split}: mean of {len(details['mean_of'])} splits, {counts[0]}"
    if "documents" in details:
        counts.append(f"{details['documents']:,} documents")
    where = split if dataset == split else f"{dataset}, {split}"
    return f"{where}{f' ({name})' if name != split else ''}: {', '.join(counts)}"


def split_details(run_dir: Path) -> dict[str, dict[str, Any]]:
    """What ``splits.json`` says of each split; empty when there is none (older runs)."""
    try:
        found: dict[str, dict[str, Any]] = json.loads((run_dir / "splits.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _value_cell(row: _Row, measure: str) -> str:
    if measure not in row.records:
        return "-"
    values = row.values(measure)
    text = f"{row.records[measure].value:.4f}"
    if values is None or len(values) < 2:
        return text
    interval = _interval(values.tobytes(), row.strata)
    return f"{text} [{interval.low:.4f}, {interval.high:.4f}]"


def _difference(row: _Row, earlier: _Row, measure: str) -> Interval | None:
    after, before = row.values(measure), earlier.values(measure)
    if after is None or before is None or row.per_query is None or earlier.per_query is None:
        return None
    if row.per_query.query_ids != earlier.per_query.query_ids:
        return None
    return _interval((after - before).tobytes(), row.strata)


def difference_cell(found: Interval | None) -> str:
    """``+0.0123 [+0.0040, +0.0210] higher``: a paired difference, its interval and what it means."""
    if found is None:
        return "-"
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] {difference_mark(found)}"


def difference_mark(found: Interval) -> str:
    """What a paired difference means: higher, lower, unclear (its interval includes 0), or the same everywhere."""
    if found.low == found.high == 0:
        return "same"
    return "higher" if found.low > 0 else "lower" if found.high < 0 else "unclear"


def _verdict(phase: str, earlier: str, measure: str, split: str, found: Interval) -> str:
    bounds = f"[{found.low:+.4f}, {found.high:+.4f}]"
    what = "excludes 0" if found.excludes_zero else "includes 0, so no difference is shown"
    return (
        f"{phase}: {measure_title(measure)} {found.mean:+.4f} {bounds} over {earlier} on {split} "
        f"(n={found.n}): the interval {what}."
    )


def _protocol_note(row: _Row, earlier: _Row, measure: str) -> list[str]:
    a, b = row.records.get(measure), earlier.records.get(measure)
    if a is None or b is None or a.protocol_hash == b.protocol_hash:
        return []
    return [
        f"{row.phase} and {earlier.phase} were measured under different protocols (lengths, prompts, depth)."
    ]


def _how_to_read(compared: bool, mean: bool) -> list[str]:
    notes = [
        f"[low, high]: {LEVEL:.0%} bootstrap interval over queries; another training seed is not part of it."
    ]
    if mean:
        notes.append("A mean counts every member alike; its interval resamples queries within each split.")
    if compared:
        marks = "higher, lower: the interval excludes 0; unclear: it includes 0."
        notes.append(f"A vs B: A minus B, paired by query. {marks}")
    return notes


@functools.lru_cache(maxsize=4096)
def _interval(values: bytes, strata: Strata) -> Interval:
    """Bootstrap once for values that are asked for again (a run builds its tables more than once)."""
    import numpy as np

    plain = np.frombuffer(values, dtype=np.float64)
    return macro_interval(plain, strata, LEVEL) if strata else bootstrap_interval(plain, level=LEVEL)
