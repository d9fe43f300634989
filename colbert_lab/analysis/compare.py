"""Runs compared with a reference: paired differences, their significance, and what could have been seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_lab.analysis.alike import refuse_different
from colbert_lab.analysis.compared import Compared, compare_row, corrected_rows
from colbert_lab.analysis.configurations import Configuration, group, pick
from colbert_lab.analysis.measured import Measured, Place, measured, systems_of, titles, usual_systems
from colbert_lab.base.errors import InputError
from colbert_lab.records.runs import STUDENT, read_runs

if TYPE_CHECKING:
    pass

SAME = 1e-12  # two baselines with the same settings and this close a value are one row


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
    return Comparison(named, corrected_rows(compared), found.left_out)


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
    return tuple(compare_row(row, reference) for row in ordered)
