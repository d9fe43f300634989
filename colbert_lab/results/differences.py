"""Two students compared query by query: wins, losses, and what both of them found. Text and numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from colbert_lab.errors import InputError
from colbert_lab.metrics.measures import measure_title
from colbert_lab.metrics.significance import Interval, paired_bootstrap
from colbert_lab.results.configurations import Configuration, pick
from colbert_lab.results.layout import Table, escaped
from colbert_lab.results.measured import titles
from colbert_lab.results.rankings import ranking_path, read_ranking
from colbert_lab.results.rows import difference_cell
from colbert_lab.results.runs import BEFORE, Run
from colbert_lab.types import Split

if TYPE_CHECKING:
    import numpy as np

DIGITS = 9
"""Decimals of a difference; a mean over seeds may round beyond them."""
QUERY, DOCUMENT = 200, 90
"""Most characters of a query and of a document that tables show."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two students.

    Attributes:
        title: what to call its configuration.
        configuration: the runs; the first one's rankings and student are shown.
        phase: its last phase; ``before`` for the untrained student.
    """

    title: str
    configuration: Configuration
    phase: str

    @property
    def label(self) -> str:
        """Such as ``colbert_zero_kd after distill``."""
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

        return np.round(self.one_values - self.other_values, DIGITS) + 0.0

    @cached_property
    def interval(self) -> Interval:
        """95% paired bootstrap interval of the mean difference over queries."""
        return paired_bootstrap(self.one_values, self.other_values)

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
        configurations: what :func:`colbert_lab.results.configurations.group` returned.
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
    if one.configuration is other.configuration and one.phase == other.phase:
        raise InputError(
            f"{one.label} is both students; choose another configuration or phase for one of them"
        )
    marks = [each.configuration.splits.get(split) for each in (one, other)]
    for each, mark in zip((one, other), marks, strict=True):
        if mark is None:
            raise InputError(f"{each.label} was not measured on {split}")
    if marks[0] != marks[1]:
        raise InputError(f"{split} is another text for each of them (fingerprints {marks[0]} and {marks[1]})")
    found = [each.configuration.per_query_at(each.phase, split, measure) for each in (one, other)]
    for each, queries in zip((one, other), found, strict=True):
        if queries is None:
            raise InputError(
                f"{each.label}: no values of {measure} by query on {split}: it was not measured, or a ranking file is "
                "missing or is not the one that was recorded"
            )
    assert found[0] is not None
    assert found[1] is not None
    (ids, ours), (their_ids, theirs) = found
    if ids != their_ids:
        raise InputError(f"{one.label} and {other.label} do not have the same judged queries on {split}")
    return Differences(one, other, split, measure, ids, ours, theirs)


def difference_sentences(found: Differences) -> list[str]:
    """Who is compared, how many queries each of them wins, and by how much.

    Args:
        found: what :func:`query_differences` returned.
    """
    wins, ties, losses = found.counts
    n, what = len(found.query_ids), f"{measure_title(found.measure)} on {found.split}"
    sizes = [found.values[found.values > 0], found.values[found.values < 0]]
    means = [f" (by {values.mean():+.4f} on average)" if len(values) else "" for values in sizes]
    return [
        f"A is {found.one.label}: {found.one_values.mean():.4f} in {what}.",
        f"B is {found.other.label}: {found.other_values.mean():.4f}.",
        f"A minus B: {difference_cell(found.interval)} ({n:,} queries; [low, high]: 95% paired bootstrap interval over "
        "queries).",
        f"A wins {_part(wins, n)}{means[0]}, ties are {_part(ties, n)}, and A loses {_part(losses, n)}{means[1]}.",
        *_seeds(found),
    ]


def difference_table(found: Differences, n: int, text: Split | None = None) -> Table:
    """The largest wins and losses: both values, and what both students rank first.

    Args:
        found: what :func:`query_differences` returned.
        n: how many wins, and as many losses.
        text: the split, for texts and judgments; without it there are ids alone.
    """
    rankings = [_ranking(each, found) for each in (found.one, found.other)]
    rows = []
    for wins in (True, False):
        chosen = found.largest(n, wins)
        if chosen:
            heading = f"**largest {'wins' if wins else 'losses'} of A**"
            rows.append((heading, "", "", "", "", ""))
        for k in chosen:
            query = found.query_ids[k]
            shown = escaped(query) if text is None else escaped(text.queries[query], QUERY)
            values = [f"{values[k]:.4f}" for values in (found.one_values, found.other_values)]
            firsts = [_first(ranking.get(query, ()), query, text) for ranking in rankings]
            rows.append((shown, *values, f"{found.values[k]:+.4f}", *firsts))
    notes = [f"A: {found.one.label}; B: {found.other.label}; values are {measure_title(found.measure)}."]
    notes += (
        ["✓: judged relevant; the rank in parentheses is that of the first relevant document."]
        if text
        else []
    )
    return Table(
        title=f"Largest wins and losses on {found.split}",
        columns=("query", "A", "B", "A - B", "A ranks first", "B ranks first"),
        rows=tuple(rows),
        verdicts=(),
        notes=tuple(notes + _seeds(found)),
    )


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
    good, bad = (_ranking(each, found).get(query, ()) for each in sides)
    relevant = next((document for document in good if _relevant(text, query, document)), None)
    rival = next((document for document in bad if not _relevant(text, query, document)), None)
    return None if relevant is None or rival is None else Contest(query, relevant, rival, better)


def contest_sentences(found: Differences, met: Contest, text: Split) -> list[str]:
    """The query and the two documents in words, with the rank that both students give them.

    Args:
        found: what :func:`query_differences` returned.
        met: what :func:`contest` returned.
        text: the split.
    """
    of_document = dict(zip(text.corpus.ids, text.corpus.texts, strict=True))
    lines = [f"Query: {escaped(text.queries[met.query_id], 400)}"]
    for name, document in (("Relevant", met.relevant), ("Not relevant", met.rival)):
        ranks = [
            f"rank {_rank(_ranking(each, found).get(met.query_id, ()), document)} for {letter}"
            for letter, each in (("A", found.one), ("B", found.other))
        ]
        shown = f"{escaped(document)}: {escaped(of_document[document], 400)}"
        lines.append(f"{name} ({', '.join(ranks)}): {shown}")
    return lines


def _ranking(each: Side, found: Differences) -> dict[str, Sequence[str]]:
    """Documents by query, of the first seed."""
    record = each.run.record(each.phase, found.split, found.measure)
    assert record is not None
    path = ranking_path(each.run.path, "student", each.phase, found.split, record.variant)
    ranking, _ = read_ranking(path)
    return dict(zip(ranking.query_ids, ranking.document_ids, strict=True))


def _relevant(text: Split, query: str, document: str) -> bool:
    return text.qrels.get(query, {}).get(document, 0) > 0


def _first(documents: Sequence[str], query: str, text: Split | None, n: int = 2) -> str:
    """The first documents of a ranking in one cell."""
    lines = []
    for rank, document in enumerate(documents[:n], 1):
        mark = " ✓" if text is not None and _relevant(text, query, document) else ""
        lines.append(f"{rank}. {escaped(document, DOCUMENT)}{mark}")
    if text is not None:
        ranks = [rank for rank, document in enumerate(documents, 1) if _relevant(text, query, document)]
        lines.append(f"(✓ at {ranks[0]})" if ranks else f"(✓ not among the first {len(documents)})")
    return "<br>".join(lines) or "-"


def _rank(documents: Sequence[str], document: str) -> str:
    return str(list(documents).index(document) + 1) if document in documents else f"beyond {len(documents)}"


def _seeds(found: Differences) -> list[str]:
    if len(found.one.configuration.runs) == len(found.other.configuration.runs) == 1:
        return []
    return ["Values are averaged over seeds; rankings and students are those of the first seed of each."]


def _part(count: int, n: int) -> str:
    return f"{count:,} {'query' if count == 1 else 'queries'} ({count / n:.1%})"
