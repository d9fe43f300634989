"""The rows of a run's tables: systems on one split, their values, intervals and paired differences."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_lab.errors import InputError
from colbert_lab.metrics.measures import PerQuery
from colbert_lab.metrics.significance import Interval, bootstrap_interval
from colbert_lab.results.means import Strata, macro_interval, macro_mean, read_mean
from colbert_lab.results.rankings import SAME, ranking_path, read_per_query
from colbert_lab.results.records import EXACT, Record

if TYPE_CHECKING:
    import numpy as np

SYSTEMS = ("bm25", "dense", "teacher", "student")
SYSTEM_TITLES = {"bm25": "BM25"}
DEV_NAMES = ("dev", "validation", "valid", "heldout")
HEADLINE = "ndcg@10"
LEVEL = 0.95


@dataclass(frozen=True)
class Row:
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
        """The first cell of the row."""
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


def rows_of(run_dir: Path, records: list[Record], mean_of: dict[str, float]) -> tuple[list[Row], list[str]]:
    """The systems in the order of the table, and what to say about files that are missing or differ.

    Args:
        run_dir: the run's folder.
        records: of one split.
        mean_of: weights of the splits that this one is the mean of; empty for a split that was searched.
    """
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
            row = Row(system, phase, name, variant, by_measure, per_query, strata)
        except InputError:
            row = Row(system, phase, name, variant, by_measure, None)
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


def title_of(split: str, records: list[Record], details: dict[str, Any]) -> str:
    """``scifact, test: 300 queries, 5,183 documents``."""
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


def value_cell(row: Row, measure: str) -> str:
    """``0.6734 [0.6289, 0.7180]``: a value and its interval."""
    if measure not in row.records:
        return "-"
    values = row.values(measure)
    text = f"{row.records[measure].value:.4f}"
    if values is None or len(values) < 2:
        return text
    interval = _interval(values.tobytes(), row.strata)
    return f"{text} [{interval.low:.4f}, {interval.high:.4f}]"


def difference(row: Row, earlier: Row, measure: str) -> Interval | None:
    """``row`` minus ``earlier``, paired by query; None where their per-query values do not belong together."""
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


@functools.lru_cache(maxsize=4096)
def _interval(values: bytes, strata: Strata) -> Interval:
    """Bootstrap once for values that are asked for again (a run builds its tables more than once)."""
    import numpy as np

    plain = np.frombuffer(values, dtype=np.float64)
    return macro_interval(plain, strata, LEVEL) if strata else bootstrap_interval(plain, level=LEVEL)
