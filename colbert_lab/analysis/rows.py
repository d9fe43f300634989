"""The rows of a run's tables: systems on one split, their values, intervals and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import NONE
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.evaluation.significance import Paired, corrected
from colbert_lab.records.by_query import read_mean
from colbert_lab.records.means import Strata, interval_of, macro_mean, paired
from colbert_lab.records.rankings import SAME, ranking_path, read_per_query
from colbert_lab.records.records import EXACT, Record
from colbert_lab.records.run_files import SplitFacts

if TYPE_CHECKING:
    import numpy as np

SYSTEMS = ("bm25", "dense", "teacher", "student")
SYSTEM_TITLES = {"bm25": "BM25"}
HEADLINE = "ndcg@10"


@dataclass(frozen=True)
class Row:
    """One system on one split: recorded values, and the per-query values where they are on disk; else a note."""

    system: str
    phase: str
    name: str
    variant: str
    records: dict[str, Record]
    per_query: PerQuery | None
    strata: Strata = ()
    note: str = ""

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


def rows_of(run_dir: Path, records: list[Record], mean_of: dict[str, float]) -> list[Row]:
    """The systems in the order of the table.

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
    rows = []
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
            note = f"{row.label}: no interval, {path.relative_to(run_dir)} is missing or unreadable."
        elif any(row.values(measure) is None for measure in by_measure):
            note = f"{row.label}: no interval where {path.relative_to(run_dir)} and results.jsonl differ."
        else:
            note = ""
        rows.append(replace(row, note=note))
    order = {system: number for number, system in enumerate(SYSTEMS)}
    rows.sort(key=lambda row: (order.get(row.system, 2.5), row.phase != "before"))
    return rows


def title_of(split: str, records: list[Record], details: SplitFacts) -> str:
    """``scifact, test: 300 queries, 5,183 documents``."""
    dataset, name = records[0].dataset, details.get("split", split)
    counts = [f"{records[-1].n_queries:,} queries"]
    if "mean_of" in details:
        return f"{split}: mean of {len(details['mean_of'])} splits, {counts[0]}"
    if "documents" in details:
        counts.append(f"{details['documents']:,} documents")
    where = split if dataset == split else f"{dataset}, {split}"
    return f"{where}{f' ({name})' if name != split else ''}: {', '.join(counts)}"


def value_cell(row: Row, measure: str) -> str:
    """``0.6734 [0.6289, 0.7180]``: a value and its interval."""
    if measure not in row.records:
        return NONE
    values = row.values(measure)
    text = f"{row.records[measure].value:.4f}"
    return text if values is None else f"{text} {interval_of(values, row.strata).bounds()}"


def differences(rows: Mapping[str, Sequence[Row]], row: Row, earlier: Row, measure: str) -> dict[str, Paired]:
    """``row`` minus ``earlier``, paired by query, on every split where both have values for the same queries.

    Args:
        rows: by split, see :func:`rows_of`; splits that are means and splits that were searched count apart.
        row: a student on one of them.
        earlier: another one on the same split.
        measure: for example ``ndcg@10``.

    Returns:
        By split, p corrected over them.
    """
    found = {}
    for split, there in rows.items():
        one, other = _like(there, row), _like(there, earlier)
        if one is not None and other is not None and (known := _difference(one, other, measure)) is not None:
            found[split] = known
    return corrected(found)


def _like(rows: Sequence[Row], wanted: Row) -> Row | None:
    """The same student on another split."""
    about = (wanted.system, wanted.phase, wanted.variant, bool(wanted.strata))
    return next((r for r in rows if (r.system, r.phase, r.variant, bool(r.strata)) == about), None)


def _difference(row: Row, earlier: Row, measure: str) -> Paired | None:
    """None where their per-query values do not belong together."""
    after, before = row.values(measure), earlier.values(measure)
    if after is None or before is None or row.per_query is None or earlier.per_query is None:
        return None
    if row.per_query.query_ids != earlier.per_query.query_ids:
        return None
    return paired(after - before, row.strata)
