"""What each factor of a sweep changes by itself: main effects, averaged over the other factors, and interactions.

A row of a comparison says what one setting of all factors changes together. A main effect is the paired difference
between two levels of one factor, averaged over every setting of the other factors that was run with both levels (Fisher
1935, The Design of Experiments, chapter VI), so that a sweep of 2 x 2 x 3 seeds says of each factor whether it matters.
An interaction says whether one factor's effect depends on the other's level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING

from colbert_lab.analysis.compare import Comparison
from colbert_lab.analysis.compared import Compared
from colbert_lab.analysis.configurations import DEFAULT
from colbert_lab.analysis.measured import Place
from colbert_lab.base.layout import NONE, Table
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.evaluation.significance import Paired, corrected
from colbert_lab.records.means import macro_mean, paired
from colbert_lab.records.runs import STUDENT

if TYPE_CHECKING:
    import numpy as np

Setting = tuple[str, ...]
"""The level of each factor."""


@dataclass(frozen=True)
class Effect:
    """A main effect, or an interaction of two factors.

    Attributes:
        factors: one name, or two of an interaction.
        levels: the level of each.
        against: the level that each is compared with, the reference's.
        parts: the difference in each setting of the other factors; of an interaction, the first factor's effect at the
            second one's level minus that at the level which it is compared with.
        difference: their mean, tested; p is corrected over the effects at one place.
    """

    factors: tuple[str, ...]
    levels: tuple[str, ...]
    against: tuple[str, ...]
    parts: tuple[float, ...]
    difference: Paired

    @property
    def told(self) -> str:
        """``lr 0.2 against 0.1``; of an interaction ``lr 0.2 with dim 64``."""
        named = [f"{factor} {level}" for factor, level in zip(self.factors, self.levels, strict=True)]
        return f"{named[0]} against {self.against[0]}" if len(named) == 1 else " with ".join(named)


def effects_of(rows: Sequence[Compared]) -> tuple[Effect, ...]:
    """The main effects and interactions that the rows of one place can tell.

    Args:
        rows: the reference first, as in :attr:`colbert_lab.analysis.compare.Comparison.compared`.

    Returns:
        None where fewer than two factors vary, or no factor has two levels in two settings of the others.
    """
    import numpy as np

    found = _by_setting(rows)
    if found is None:
        return ()
    names, values, base = found
    levels = [list(dict.fromkeys(setting[n] for setting in values)) for n in range(len(names))]
    made: dict[int, tuple[tuple[int, ...], tuple[str, ...], list[np.ndarray]]] = {}
    for n in range(len(names)):
        for level in levels[n]:
            if level != base[n]:
                made[len(made)] = ((n,), (level,), _contrasts(values, base, {n: level}))
    for one, two in combinations(range(len(names)), 2):
        for first, second in product(levels[one], levels[two]):
            if first != base[one] and second != base[two]:
                made[len(made)] = (
                    (one, two),
                    (first, second),
                    _contrasts(values, base, {one: first, two: second}),
                )
    # A single setting is a row of the comparison; of an interaction it is all there is.
    kept = {key: each for key, each in made.items() if len(each[2]) >= (2 if len(each[0]) == 1 else 1)}
    if not any(len(which) == 1 for which, *_ in kept.values()):
        return ()
    strata = rows[0].row.strata
    tested = corrected({key: paired(np.mean(parts, axis=0), strata) for key, (*_, parts) in kept.items()})
    return tuple(
        Effect(
            tuple(names[n] for n in which),
            chosen,
            tuple(base[n] for n in which),
            tuple(macro_mean(part, strata) if strata else float(part.mean()) for part in parts),
            tested[key],
        )
        for key, (which, chosen, parts) in kept.items()
    )


def _by_setting(rows: Sequence[Compared]) -> tuple[list[str], dict[Setting, np.ndarray], Setting] | None:
    """Factors, each query's values by setting, and the reference's setting; None where there is nothing to average."""
    reference = rows[0].row if rows and rows[0].reference else None
    if reference is None or reference.per_query is None or reference.query_ids is None:
        return None
    students = [
        each.row
        for each in rows
        if each.row.system == STUDENT
        and each.row.phase == reference.phase
        and (each.reference or each.difference is not None)
    ]
    told: list[Mapping[str, str]] = [row.configuration.factors for row in students]
    names = list(dict.fromkeys(name for each in told for name in each))
    if len(names) < 2:
        return None
    values: dict[Setting, np.ndarray] = {}
    for row, own in zip(students, told, strict=True):
        assert row.per_query is not None
        assert row.query_ids is not None
        place = {query: number for number, query in enumerate(row.query_ids)}
        setting = tuple(own.get(name, DEFAULT) for name in names)
        if setting in values:
            return None  # factors do not tell these rows apart
        values[setting] = row.per_query[[place[query] for query in reference.query_ids]]
    return names, values, tuple(reference.configuration.factors.get(name, DEFAULT) for name in names)


def _contrasts(
    values: Mapping[Setting, np.ndarray], base: Setting, chosen: Mapping[int, str]
) -> list[np.ndarray]:
    """For each setting of the other factors that has all that it takes: the difference, or that of two differences."""
    found = []
    for setting in values:
        if any(setting[n] != level for n, level in chosen.items()):
            continue
        total = None
        for back in product((False, True), repeat=len(chosen)):
            other = list(setting)
            for n, whether in zip(chosen, back, strict=True):
                other[n] = base[n] if whether else setting[n]
            part = values.get(tuple(other))
            if part is None:
                total = None
                break
            signed = part * (-1.0) ** sum(back)
            total = signed if total is None else total + signed
        if total is not None:
            found.append(total)
    return found


def effects_by_place(comparison: Comparison) -> dict[Place, tuple[Effect, ...]]:
    """The effects at each place that has some.

    Args:
        comparison: what :func:`colbert_lab.analysis.compare.compare_runs` returned.
    """
    found = {place: effects_of(rows) for place, rows in comparison.compared.items()}
    return {place: effects for place, effects in found.items() if effects}


HOW_TO_READ = (
    "A factor's difference is the mean over the settings of the other factors that were run with both levels; the next "
    "column has them one by one. A with B (an interaction): how much more the first factor changes at the second one's "
    "level than at the reference's.",
    "p, Holm: corrected over the effects of one split in one measure and search mode.",
)


def effects_tables(comparison: Comparison) -> list[Table]:
    """One table for each measure and search mode; in it, the effects on each split under its name.

    Args:
        comparison: what :func:`colbert_lab.analysis.compare.compare_runs` returned.
    """
    grouped: dict[tuple[str, str], dict[Place, tuple[Effect, ...]]] = {}
    for place, effects in effects_by_place(comparison).items():
        grouped.setdefault((place.measure, place.mode), {})[place] = effects
    columns = ("effect", "difference", "in each setting", "p", "p, Holm", "detectable")
    tables = []
    for (measure, mode), by_place in grouped.items():
        cells: list[tuple[str, ...]] = []
        for place, effects in by_place.items():
            cells.append((f"{place.dataset}, {place.split}", *[""] * (len(columns) - 1)))
            cells += [_cells(each) for each in effects]
        search = f", {mode} search" if mode != "exact" else ""
        title = f"{measure_title(measure)}{search}: what each factor changes, averaged over the others"
        tables.append(Table(title, columns, tuple(cells), (), HOW_TO_READ))
    return tables


def _cells(each: Effect) -> tuple[str, ...]:
    found = each.difference
    ps = (f"{p:.4f}" if p >= 0.0001 else "<0.0001" for p in (found.p, found.p_holm))
    parts = ", ".join(f"{part:+.4f}" for part in each.parts)
    detectable = NONE if found.n < 2 else f"{found.detectable:.4f}"
    return (f"  {each.told}", str(found), parts, *ps, detectable)
