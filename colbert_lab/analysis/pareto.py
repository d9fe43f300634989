"""Quality against cost over runs and their phases, and which of them are worth their cost. Numbers only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from colbert_lab.analysis.configurations import Configuration, Spread, spread
from colbert_lab.analysis.measured import titles
from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.significance import Interval
from colbert_lab.records.by_query import ByQuery
from colbert_lab.records.means import interval_of
from colbert_lab.records.runs import BEFORE, Run

if TYPE_CHECKING:
    pass

COSTS: Mapping[str, tuple[str, str]] = {
    "device_hours": ("training time over all devices", "device-hours"),
    "seconds": ("training time", "s"),
    "flops": ("estimated floating-point operations of training", "FLOP"),
    "tokens": ("training tokens without padding", "tokens"),
}
"""What a student can cost: the name here to its title and unit."""


@dataclass(frozen=True, eq=False)
class Point:
    """A student: what it is worth, and what it took to get there.

    Attributes:
        titles: the configurations that it belongs to: several where they share their first phases.
        phase: its last phase.
        last: whether that is the last phase of one of these configurations.
        value: over seeds.
        interval: 95% bootstrap interval over queries of the per-query means over seeds; None without their files.
        cost: of all phases up to this one, mean over seeds; a phase that was reused counts in full.
        per_query: query ids and values, each averaged over the seeds; None without their files.
        protocols: hashes of how it was measured.
        on_front: whether no other point is at least as good for at most the same cost.
    """

    titles: tuple[str, ...]
    phase: str
    last: bool
    value: Spread
    interval: Interval | None
    cost: float
    per_query: ByQuery | None
    protocols: frozenset[str]
    on_front: bool = False

    @property
    def title(self) -> str:
        """The configurations in short."""
        return short(self.titles)

    @property
    def label(self) -> str:
        """Such as ``colbert_zero_kd after distill``."""
        return f"{self.title} after {self.phase}"


@dataclass(frozen=True, eq=False)
class QualityCost:
    """All points of one split, measure and kind of cost.

    Attributes:
        points: the cheapest first.
        untrained: value before training, by configuration; equal ones may have equal students.
        split: name of the split.
        measure: for example ``ndcg@10``.
        cost: one of ``COSTS``.
        left_out: one sentence for each student that is not among the points, and why.
    """

    points: tuple[Point, ...]
    untrained: Mapping[str, float]
    split: str
    measure: str
    cost: str
    left_out: tuple[str, ...]

    @property
    def best(self) -> Point:
        """The highest value; among equals the cheapest."""
        return max(self.points, key=lambda point: (point.value.mean, -point.cost))


def quality_cost(
    configurations: Sequence[Configuration], split: str, measure: str, cost: str = "seconds"
) -> QualityCost:
    """Every student after every phase of every configuration, with its value and all that it took to train it.

    Students that are the same (configurations that share their first phases) are one point.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned; those of another text than
            the first one (fingerprints of the split) are left out.
        split: name of the split.
        measure: for example ``ndcg@10``.
        cost: one of ``COSTS``.

    Raises:
        InputError: an unknown cost, or no student with both numbers.
    """
    if cost not in COSTS:
        raise InputError(f"cost={cost}: must be one of {', '.join(COSTS)}")
    marks = [each.splits[split] for each in configurations if split in each.splits]
    found: dict[tuple[str | None, ...], Point] = {}
    untrained: dict[str, float] = {}
    left_out = []
    for title, each in zip(titles(configurations), configurations, strict=True):
        if split not in each.splits:
            left_out.append(f"{title} is left out: it was not measured on {split}.")
            continue
        if each.splits[split] != marks[0]:
            left_out.append(
                f"{title} is left out: {split} is another text there (fingerprints {each.splits[split]} and "
                f"{marks[0]})."
            )
            continue
        before = each.value_at(BEFORE, split, measure)
        if before is not None:
            untrained[title] = before.mean
        trained = each.runs[0].trained
        for phase in each.runs[0].phases:
            point = _point(each, title, trained[: trained.index(phase) + 1], split, measure, cost)
            if isinstance(point, str):
                left_out.append(point)
                continue
            records = [run.record(phase, split, measure) for run in each.runs]
            same = tuple(record.phase_hash if record else None for record in records)
            key = (title, phase) if None in same else same
            known = found.get(key)
            found[key] = point if known is None else _together(known, point)
    if not found:
        raise InputError(
            f"no student with both {measure} on {split} and cost={cost}: {' '.join(left_out) or 'no phases'}"
        )
    points = sorted(found.values(), key=lambda point: (point.cost, -point.value.mean))
    return QualityCost(_with_front(points), untrained, split, measure, cost, tuple(left_out))


def _point(
    each: Configuration, title: str, phases: Sequence[str], split: str, measure: str, cost: str
) -> Point | str:
    """The student after the last of these phases, or a sentence that says what is missing."""
    phase = phases[-1]
    value = each.value_at(phase, split, measure)
    if value is None:
        return f"{title} after {phase} is left out: {measure} was not measured on {split}."
    taken = spread([_cost(run, phases, cost) for run in each.runs])
    if taken is None or taken.mean <= 0:
        return f"{title} after {phase} is left out: its runs do not say their {cost}, as those of older versions."
    queries = each.per_query_at(phase, split, measure)
    records = [run.record(phase, split, measure) for run in each.runs]
    return Point(
        titles=(title,),
        phase=phase,
        last=phase == each.runs[0].phases[-1],
        value=value,
        interval=None if queries is None else interval_of(queries.values, queries.strata),
        cost=taken.mean,
        per_query=queries,
        protocols=frozenset(record.protocol_hash for record in records if record is not None),
    )


def _cost(run: Run, phases: Sequence[str], cost: str) -> float | None:
    each = [getattr(run.cost(phase), cost, None) for phase in phases]
    known = [float(value) for value in each if value is not None and math.isfinite(value)]
    return sum(known) if len(known) == len(each) else None


def _together(known: Point, same: Point) -> Point:
    """One student of two configurations; a time that was measured twice counts as its mean."""
    cost = statistics.fmean([known.cost] * len(known.titles) + [same.cost])
    names = known.titles if same.titles[0] in known.titles else (*known.titles, *same.titles)
    return replace(known, titles=names, cost=cost, last=known.last or same.last)


def _with_front(points: Sequence[Point]) -> tuple[Point, ...]:
    """Mark the points that no other one dominates; they come by cost."""
    marked = []
    for point in points:
        beaten = any(
            other.value.mean >= point.value.mean
            and other.cost <= point.cost
            and (other.value.mean, -other.cost) != (point.value.mean, -point.cost)
            for other in points
        )
        marked.append(replace(point, on_front=not beaten))
    return tuple(marked)


def short(titles_of: Sequence[str]) -> str:
    """Several configurations in a few words.

    Args:
        titles_of: their titles; not empty.
    """
    first, *others = titles_of
    return f"{first} and {len(others)} more" if len(others) > 1 else " = ".join(titles_of)
