"""Two rows at one place compared: whether they may be, their paired difference, and p over the splits they share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from colbert_lab.analysis.alike import other_rules, other_text
from colbert_lab.analysis.measured import Measured, Place
from colbert_lab.evaluation.significance import Interval, Paired, corrected
from colbert_lab.records.means import interval_of, paired
from colbert_lab.records.records import EXACT
from colbert_lab.records.runs import STUDENT

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Compared:
    """One row and its difference to the reference at the same place.

    Attributes:
        row: what was measured.
        interval: 95% bootstrap interval of its value over queries; None without per-query values.
        reference: whether it is the reference itself.
        gap: value minus the reference's value; None where the two may not be compared.
        difference: the paired difference with its interval and its test, corrected over the splits of this row, measure
            and mode; None without per-query values.
        why: why it is not compared, or what the reader must know; "" for nothing.
    """

    row: Measured
    interval: Interval | None
    reference: bool = False
    gap: float | None = None
    difference: Paired | None = None
    why: str = ""

    @property
    def tested(self) -> Paired | None:
        """The difference, where it could be tested: one query is no test."""
        return self.difference if self.difference is not None and self.difference.n > 1 else None

    @property
    def p(self) -> float | None:
        """Two-sided p of the randomisation test, uncorrected; None without a test."""
        return None if self.tested is None else self.tested.p

    @property
    def p_holm(self) -> float | None:
        """The same, corrected."""
        return None if self.tested is None else self.tested.p_holm

    @property
    def detectable(self) -> float | None:
        """The smallest true difference that these queries find with power 0.8; None without a test.

        Also None for a mean of splits of which one has a single query, whose spread is then not known.
        """
        found = None if self.tested is None else self.tested.detectable
        return None if found is None or math.isnan(found) else found

    @property
    def mark(self) -> str:
        """See :attr:`colbert_lab.evaluation.significance.Paired.mark`; "" without a test."""
        return "" if self.tested is None else self.tested.mark


def compare_row(row: Measured, reference: Measured | None) -> Compared:
    """A row with its difference to the reference, p uncorrected.

    Args:
        row: what was measured.
        reference: what it is compared with at the same place; None where that was not measured there.
    """
    alone = Compared(row, None if row.per_query is None else interval_of(row.per_query, row.strata))
    if reference is None:
        return replace(alone, why="not compared: the reference was not measured there")
    if row is reference:
        return replace(alone, reference=True)
    if (text := other_text(row, reference)) is not None:
        return replace(alone, why=f"not compared: other text than the reference: {text}")
    of_split, of_student, unknown = other_rules(row, reference)
    if of_split:
        return replace(alone, why=f"not compared: other rules than the reference: {', '.join(of_split)}")
    why = [f"measured with other settings than the reference: {', '.join(of_student)}"] if of_student else []
    if unknown:
        why.append("measured under another protocol than the reference; older runs do not say what differs")
    mine, theirs = row.configuration.seeds, reference.configuration.seeds
    if row.system == reference.system == STUDENT and set(mine) != set(theirs):
        why.append(f"seeds {', '.join(map(str, mine))}, and the reference {', '.join(map(str, theirs))}")
    gap = row.value - reference.value
    differences = _paired(row, reference)
    if differences is None:
        return replace(alone, gap=gap, why="; ".join([*why, "not tested: no values for the same queries"]))
    return replace(alone, gap=gap, difference=paired(differences, reference.strata), why="; ".join(why))


def _paired(row: Measured, reference: Measured) -> np.ndarray | None:
    """Row minus reference for each query of the reference, by id; None when they are not the same queries."""
    if row.query_ids is None or reference.query_ids is None:
        return None
    assert row.per_query is not None
    assert reference.per_query is not None
    place = {query: number for number, query in enumerate(row.query_ids)}
    if place.keys() != set(reference.query_ids):
        return None
    differences: np.ndarray = (
        row.per_query[[place[query] for query in reference.query_ids]] - reference.per_query
    )
    return differences


def corrected_rows(compared: Mapping[Place, tuple[Compared, ...]]) -> dict[Place, tuple[Compared, ...]]:
    """The same with p corrected over the splits that a row was tested on in one measure and mode.

    Args:
        compared: rows of :func:`compare_row` by place.
    """
    families: dict[tuple[str, str, str, bool], dict[Place, Paired]] = {}
    for place, rows in compared.items():
        for each in rows:
            if each.difference is not None:
                family = (each.row.label, place.mode, place.measure, bool(each.row.strata))
                families.setdefault(family, {})[place] = each.difference
    found = {
        (label, place): difference
        for (label, *_), members in families.items()
        for place, difference in corrected(members).items()
    }
    return {
        place: tuple(replace(each, difference=found.get((each.row.label, place))) for each in rows)
        for place, rows in compared.items()
    }


def compare_at(
    one: Mapping[Place, Measured], other: Mapping[Place, Measured], split: str, measure: str
) -> Compared | str:
    """One system against another on a split; p is corrected over the splits that both have in the same search mode.

    It is exact search of float32 embeddings, or where not both have that, the first way that they share.

    Args:
        one: what :func:`colbert_lab.analysis.measured.measured` returned.
        other: the reference.
        split: name of the split.
        measure: for example ``ndcg@10``.

    Returns:
        In words, what is missing where they have no such place in common.
    """
    here = [
        [place for place in rows if (place.split, place.measure) == (split, measure)] for rows in (one, other)
    ]
    if not all(here):
        return f"{measure} was not measured on {split}"
    shared = [place for place in here[0] if place in other]
    if not shared:
        ways = [", ".join(f"{place.dataset} ({place.mode})" for place in places) for places in here]
        return f"{split} was not measured in the same way: {ways[0]} and {ways[1]}"
    place = next((place for place in shared if place.mode == EXACT), shared[0])
    rows = {
        each: (compare_row(row, other[each]),)
        for each, row in one.items()
        if each in other and (each.mode, each.measure) == (place.mode, measure)
    }
    return corrected_rows(rows)[place][0]
