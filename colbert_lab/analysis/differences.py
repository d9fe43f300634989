"""Two students compared query by query: wins, losses, and what both of them found. Numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from colbert_lab.analysis.compared import compare_at
from colbert_lab.analysis.configurations import Configuration, pick, tested
from colbert_lab.analysis.measured import measured, titles
from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.evaluation.significance import Paired
from colbert_lab.records.by_query import ByQuery
from colbert_lab.records.rankings import ranking_path, read_ranking
from colbert_lab.records.runs import BEFORE, STUDENT, Run

if TYPE_CHECKING:
    import numpy as np

EVALUATE = "evaluate"
"""Phase name of a student that was measured and not trained."""
DIGITS = 9
"""Decimals of a difference; a mean over seeds may round beyond them."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two students; or another system that was measured beside one.

    Attributes:
        title: what to call its configuration, or the system.
        configuration: the runs; the first one's rankings and student are shown.
        phase: its last phase; ``before`` for the untrained student; the records' phase of another system.
        system: as in the records.
    """

    title: str
    configuration: Configuration
    phase: str
    system: str = STUDENT

    @property
    def label(self) -> str:
        """Such as ``colbert_zero_kd after distill``."""
        if self.system != STUDENT or self.phase == EVALUATE:
            return self.title
        when = "before training" if self.phase == BEFORE else f"after {self.phase}"
        return f"{self.title} {when}"

    @property
    def run(self) -> Run:
        """The run of the first seed."""
        return self.configuration.runs[0]


@dataclass(frozen=True, eq=False)
class Differences:
    """One student minus another, query by query.

    Attributes:
        one: the student that wins where the difference is above 0.
        other: the reference.
        split: name of the split.
        measure: for example ``ndcg@10``.
        query_ids: the judged queries.
        one_values: of the student, each averaged over its seeds.
        other_values: of the reference.
    """

    one: Side
    other: Side
    split: str
    measure: str
    query_ids: tuple[str, ...]
    one_values: np.ndarray
    other_values: np.ndarray

    @cached_property
    def values(self) -> np.ndarray:
        """The differences, without what is rounding alone."""
        import numpy as np

        gaps: np.ndarray = np.round(self.one_values - self.other_values, DIGITS) + 0.0
        return gaps

    @cached_property
    def interval(self) -> Paired:
        """The mean difference over queries, tested; p is corrected over the splits that both have."""
        one, other, measure = self.one.configuration, self.other.configuration, self.measure
        found = {
            split: (
                one.per_query_at(self.one.phase, split, measure, self.one.system),
                other.per_query_at(self.other.phase, split, measure, self.other.system),
            )
            for split, mark in one.splits.items()
            if other.splits.get(split) == mark
        }
        return tested(found)[self.split]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Queries that the student wins, that are equal, and that it loses."""
        wins, losses = int((self.values > 0).sum()), int((self.values < 0).sum())
        return wins, len(self.values) - wins - losses, losses

    def largest(self, n: int, wins: bool = True) -> list[int]:
        """Positions of the largest wins, or losses; the largest first, among equals by query id."""
        sign = 1 if wins else -1
        found = [k for k, value in enumerate(self.values) if sign * value > 0]
        return sorted(found, key=lambda k: (-sign * self.values[k], self.query_ids[k]))[:n]


@dataclass(frozen=True)
class Contest:
    """The two documents of a query that a difference is about.

    Attributes:
        query_id: the query.
        relevant: the relevant document that the better student ranks highest.
        rival: the document that is not relevant and that the worse student ranks highest.
        better: whether the better student is the first one of the two.
    """

    query_id: str
    relevant: str
    rival: str
    better: bool


def side(
    configurations: Sequence[Configuration], wanted: Mapping[str, str] | None, phase: str | None = None
) -> Side:
    """A student to compare.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned.
        wanted: factor values of its configuration, by short name or config key; None takes the first one.
        phase: ``before`` or a phase; None takes the last one.

    Raises:
        InputError: none or several configurations have these values, or it has no such phase.
    """
    found = pick(configurations, wanted)
    phases = found.runs[0].phases
    if phase is not None and phase not in (BEFORE, *phases):
        raise InputError(f"phase={phase}: must be one of {', '.join((BEFORE, *phases))}")
    title = dict(zip(map(id, configurations), titles(configurations), strict=True))[id(found)]
    return Side(title, found, phase or (phases[-1] if phases else BEFORE))


def query_differences(one: Side, other: Side, split: str, measure: str) -> Differences:
    """Pair two students by query.

    Args:
        one: a student.
        other: the reference.
        split: name of the split.
        measure: for example ``ndcg@10``.

    Raises:
        InputError: they are the same one, were not measured there, or on another text; or a ranking file is missing.
    """
    if one.configuration is other.configuration and (one.system, one.phase) == (other.system, other.phase):
        raise InputError(
            f"{one.label} is both students; choose another configuration or phase for one of them"
        )
    marks = [each.configuration.splits.get(split) for each in (one, other)]
    for each, mark in zip((one, other), marks, strict=True):
        if mark is None:
            raise InputError(f"{each.label} was not measured on {split}")
    if marks[0] != marks[1]:
        raise InputError(f"{split} is another text for each of them (fingerprints {marks[0]} and {marks[1]})")
    sides = [
        measured(each.configuration, each.label, each.phase if each.system == STUDENT else each.system)
        for each in (one, other)
    ]
    found = compare_at(sides[0], sides[1], split, measure)
    if isinstance(found, str) and one.system == other.system:
        raise InputError(f"{one.label} and {other.label}: {found}")
    if not isinstance(found, str) and found.gap is None:
        raise InputError(f"{one.label} and {other.label}: {found.why}")
    ours, theirs = (_by_query(each, split, measure) for each in (one, other))
    if (ours.query_ids, ours.strata) != (theirs.query_ids, theirs.strata):
        raise InputError(f"{one.label} and {other.label} do not have the same judged queries on {split}")
    return Differences(one, other, split, measure, ours.query_ids, ours.values, theirs.values)


def _by_query(each: Side, split: str, measure: str) -> ByQuery:
    found = each.configuration.per_query_at(each.phase, split, measure, each.system)
    if found is None:
        raise InputError(
            f"{each.label}: no values of {measure} by query on {split}: it was not measured, or a ranking file is "
            "missing or is not the one that was recorded"
        )
    return found


def contest(found: Differences, position: int, text: Split) -> Contest | None:
    """The relevant document that one student ranks higher, and the one that the other student puts before it.

    Args:
        found: what :func:`query_differences` returned.
        position: of the query; such as the first of :meth:`Differences.largest`.
        text: the split, for the judgments.

    Returns:
        None where the rankings of the first seeds do not hold two such documents.
    """
    query = found.query_ids[position]
    better = bool(found.values[position] > 0)
    sides = (found.one, found.other) if better else (found.other, found.one)
    good, bad = (documents_of(each, found).get(query, ()) for each in sides)
    relevant = next((document for document in good if is_relevant(text, query, document)), None)
    rival = next((document for document in bad if not is_relevant(text, query, document)), None)
    return None if relevant is None or rival is None else Contest(query, relevant, rival, better)


def documents_of(each: Side, found: Differences) -> dict[str, Sequence[str]]:
    """A student's documents by query, best first, of the first seed.

    Args:
        each: the student.
        found: what :func:`query_differences` returned.
    """
    record = each.run.record(each.phase, found.split, found.measure, each.system)
    assert record is not None
    path = ranking_path(each.run.path, each.system, each.phase, found.split, record.variant)
    ranking, _ = read_ranking(path)
    return dict(zip(ranking.query_ids, ranking.document_ids, strict=True))


def is_relevant(text: Split, query: str, document: str) -> bool:
    """Whether a document is judged relevant for a query.

    Args:
        text: the split.
        query: id of the query.
        document: id of the document.
    """
    return text.qrels.get(query, {}).get(document, 0) > 0
