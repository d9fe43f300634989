"""Runs compared with a reference: paired differences, their significance, and what could have been seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_lab.analysis.alike import other_rules, other_text, refuse_different
from colbert_lab.analysis.configurations import Configuration, group, pick
from colbert_lab.analysis.measured import Measured, Place, measured, systems_of, titles, usual_systems
from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.significance import Interval, Paired, corrected
from colbert_lab.records.means import interval_of, paired
from colbert_lab.records.runs import STUDENT, read_runs

if TYPE_CHECKING:
    import numpy as np

SAME = 1e-12  # two baselines with the same settings and this close a value are one row


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


@dataclass(frozen=True)
class Comparison:
    """Everything that is compared.

    Attributes:
        configurations: by the name that tables give them; the reference's first.
        compared: the rows at each place, the reference first; also at places that it did not measure.
        left_out: one sentence for each run that is there and is not used, and why.
    """

    configurations: Mapping[str, Configuration]
    compared: Mapping[Place, tuple[Compared, ...]]
    left_out: tuple[str, ...]

    @property
    def reference(self) -> str:
        """The label of the row that all others are compared with."""
        return next(each.row.label for rows in self.compared.values() for each in rows if each.reference)


def compare_runs(
    folders: Sequence[Path],
    *,
    baseline: Path | Mapping[str, str] | None = None,
    measures: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    systems: Sequence[str] | None = (STUDENT,),
    allow_different: bool = False,
    running: bool = False,
) -> Comparison:
    """Compare runs with the first of them, split by split and measure by measure.

    Runs that differ by their seed alone are one row: each query's value is averaged over the seeds before
    pairing. Nothing is compared across texts or rules of a split, see :mod:`colbert_lab.analysis.alike`. The
    correction of Holm runs over the splits of one row, measure and search mode.

    Args:
        folders: what :func:`colbert_lab.records.runs.read_runs` takes.
        baseline: a run whose configuration is the reference, or factor values that it has among ``folders``, by short
            name or config key; None takes the first of ``folders``.
        measures: which measures, None for all.
        splits: which splits by their config name, None for all.
        systems: which systems of each run; see :func:`colbert_lab.analysis.measured.measured`. Final students are
            always rows. The first one, of the reference's run, is what all rows are compared with. None for
            :func:`colbert_lab.analysis.measured.usual_systems`.
        allow_different: show rows of another text or other rules of a split, untested, instead of refusing all.
        running: take runs that are being executed too.

    Raises:
        InputError: no runs, a folder without runs, an unknown measure, split or system, runs that have no split and
            measure in common, or a split that is not the same for all.
    """
    if not folders:
        raise InputError("runs: nothing to compare; give run directories, for example runs=[DIR,DIR]")
    run = [baseline] if isinstance(baseline, Path) else []
    first = read_runs(run, key="compare.baseline").runs if run else ()
    found = read_runs([*run, *folders], running=running)
    configurations = group(found.runs)
    chosen = []
    if isinstance(baseline, Mapping):
        chosen = [pick(configurations, baseline, key="compare.baseline")]
    elif baseline is not None:
        of_first = {(each.config_hash, *each.splits.items()) for each in first}
        chosen = [
            each for each in configurations if (each.runs[0].config_hash, *each.splits.items()) in of_first
        ]
        if len(chosen) != 1:
            raise InputError(
                f"compare.baseline: {baseline} holds {len(chosen)} configurations; name one run of one of them"
            )
    configurations = [*chosen, *(each for each in configurations if not any(each is c for c in chosen))]
    systems = usual_systems(configurations) if systems is None else systems
    wanted = [*systems] if STUDENT in systems else [STUDENT, *systems]
    _known("compare.systems", wanted, systems_of(found.runs))
    named = dict(zip(titles(configurations), configurations, strict=True))
    rows = _rows(named, wanted)
    by_place = _places(rows, measures, splits)
    reference = rows[0]
    _common(reference, rows[1:], by_place)
    if not allow_different:
        refuse_different(by_place, reference)
    compared = {place: _compare_all(at, reference.get(place)) for place, at in by_place.items()}
    return Comparison(named, _corrected(compared), found.left_out)


def _rows(named: Mapping[str, Configuration], systems: Sequence[str]) -> list[dict[Place, Measured]]:
    """Each system of each configuration, system by system, and once: also a baseline that several runs share."""
    rows: list[dict[Place, Measured]] = []
    for system in systems:
        for title, configuration in named.items():
            new = measured(configuration, title, system)
            known = [other for other in rows if _is_same(new, other)]
            if new and not known:  # a baseline of other settings under a known name says whose it is
                taken = {row.label for other in rows for row in other.values()}
                rows.append(
                    {
                        place: replace(row, label=f"{row.label}, {title}") if row.label in taken else row
                        for place, row in new.items()
                    }
                )
    return rows


def _is_same(new: Mapping[Place, Measured], other: Mapping[Place, Measured]) -> bool:
    """Whether ``other`` holds all of ``new``: the same phase of the same runs, or the same baseline."""
    for place, row in new.items():
        known = other.get(place)
        if known is None or row.system != known.system:
            return False
        if row.system == STUDENT:
            if row.configuration is not known.configuration or row.phase != known.phase:
                return False
        elif (row.fingerprint, row.protocols) != (known.fingerprint, known.protocols) or (
            abs(row.value - known.value) > SAME
        ):
            return False
    return True


def _places(
    rows: Sequence[Mapping[Place, Measured]], measures: Sequence[str] | None, splits: Sequence[str] | None
) -> dict[Place, list[Measured]]:
    """The rows at each place that is asked for."""
    by_place: dict[Place, list[Measured]] = {}
    for row in rows:
        for place, at in row.items():
            by_place.setdefault(place, []).append(at)
    _known("compare.measures", measures or (), list(dict.fromkeys(place.measure for place in by_place)))
    _known("compare.splits", splits or (), list(dict.fromkeys(place.split for place in by_place)))
    return {
        place: at
        for place, at in by_place.items()
        if (measures is None or place.measure in measures) and (splits is None or place.split in splits)
    }


def _known(key: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    unknown = [each for each in wanted if each not in there]
    if unknown:
        raise InputError(f"{key}: no run measured {unknown[0]}; there are {', '.join(there)}")


def _common(
    reference: Mapping[Place, Measured],
    others: Sequence[Mapping[Place, Measured]],
    by_place: Mapping[Place, Sequence[Measured]],
) -> None:
    """Refuse a comparison in which nothing stands beside the reference.

    Raises:
        InputError: no place is shared; the message lists what each row has.
    """
    here = [place for place in by_place if place in reference]
    if here and (not others or any(place in other for other in others for place in here)):
        return
    held = []
    for row in (reference, *others):
        splits = dict.fromkeys(f"{place.dataset}/{place.split} ({place.mode})" for place in row)
        measures = dict.fromkeys(place.measure for place in row)
        held.append(f"{next(iter(row.values())).label}: {', '.join(splits)} with {', '.join(measures)}")
    raise InputError(f"runs: no split and measure in common; {'; '.join(held)}")


def _compare_all(rows: Sequence[Measured], reference: Measured | None) -> tuple[Compared, ...]:
    """All rows of one place, the reference first."""
    ordered = sorted(rows, key=lambda row: row is not reference)
    return tuple(_compare(row, reference) for row in ordered)


def _compare(row: Measured, reference: Measured | None) -> Compared:
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


def _corrected(compared: Mapping[Place, tuple[Compared, ...]]) -> dict[Place, tuple[Compared, ...]]:
    """The same with p corrected over the splits that a row was tested on in one measure and mode."""
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
