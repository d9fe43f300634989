"""Everything that a page of runs shows, put together once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from colbert_lab.analysis.compare import Comparison, compare_runs
from colbert_lab.analysis.compare_table import comparison_tables
from colbert_lab.analysis.configurations import Configuration
from colbert_lab.analysis.figures import to_svg
from colbert_lab.analysis.lineage import configuration_chains, lineage, lineage_svg
from colbert_lab.analysis.pareto import quality_cost
from colbert_lab.analysis.pareto_views import quality_cost_table
from colbert_lab.analysis.tables import phase_table
from colbert_lab.analysis.trials import FINISHED, PRUNED, plot_search
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import Table, shown
from colbert_lab.base.pages import Picture
from colbert_lab.records.runs import SWEEPS
from colbert_lab.report.figures import (
    HeatMap,
    cost_picture,
    curve_pictures,
    differences_picture,
    heat_map,
    parallel_picture,
)
from colbert_lab.report.headline import Headline, headline
from colbert_lab.report.provenance import checks, commands, runs_table, settings_table
from colbert_lab.report.queries import Queries, queries_of


@dataclass(frozen=True)
class Titled(Configuration):
    """A configuration that is called by its title.

    Attributes:
        title: what tables call it.
    """

    title: str

    @property
    def label(self) -> str:
        """The title."""
        return self.title


@dataclass(frozen=True)
class Report:
    """A page of runs.

    Attributes:
        title: what it is about.
        found: the number that it opens with.
        opening: its picture.
        tables: the comparison, the one with that number first.
        curves: of training.
        factors: heat map or parallel coordinates of a sweep; None for fewer than two factors.
        search: the picture of a search, and what it found; None where there is none.
        cost: quality against cost, as a picture and a table; None for fewer than two students.
        queries: wins and losses, or why there are none.
        checks: training texts, teacher, scores, warnings.
        lineage: which phases trained each student.
        phases: what each phase of the run that the page is about took.
        settings: those that differ.
        commands: by configuration.
        runs: every run.
    """

    title: str
    found: Headline
    opening: Picture
    tables: tuple[Table, ...]
    curves: tuple[Picture, ...]
    factors: HeatMap | Picture | None
    search: tuple[Picture, ...]
    cost: tuple[Picture, Table] | None
    queries: Queries | str
    checks: tuple[Table, ...]
    lineage: Picture | None
    phases: Table | None
    settings: Table | None
    commands: tuple[tuple[str, str], ...]
    runs: Table


def report(comparison: Comparison, folders: Sequence[Path], queries: int = 10) -> Report:
    """Put the page together.

    Args:
        comparison: the runs, compared.
        folders: where they are; the searches beside them are shown.
        queries: the largest wins, and as many losses, that are shown with their texts.

    Raises:
        InputError: a search's file is damaged, or matplotlib or Optuna for a search is not installed.
    """
    found = headline(comparison)
    titled = [
        Titled(each.factors, each.overrides, each.runs, title)
        for title, each in comparison.configurations.items()
    ]
    runs = [run for each in titled for run in each.runs]
    about = (found.subject or found.reference).row.configuration.runs[0]
    names = list(dict.fromkeys(run.records[0].name or run.path.parent.name for run in runs))
    heat = heat_map(found, comparison.configurations)
    phases = phase_table(about.path, about.records)
    tables = comparison_tables(comparison)
    places = list(dict.fromkeys((place.measure, place.mode) for place in comparison.compared))
    first = places.index((found.place.measure, found.place.mode))
    opening = tables.pop(first)
    others = [replace(each, notes=tuple(n for n in each.notes if n not in opening.notes)) for each in tables]
    settings = settings_table(comparison.configurations)
    return Report(
        title=", ".join(names),
        found=found,
        opening=differences_picture(found),
        tables=tuple(map(shown, [opening, *others])),
        curves=tuple(curve_pictures(_most_telling(titled, found), found.place.measure)),
        factors=heat or parallel_picture(found, comparison.configurations),
        search=tuple(_searches(folders)),
        cost=_cost(titled, found),
        queries=queries_of(found, queries),
        checks=tuple(map(shown, checks(found))),
        lineage=_lineage(comparison),
        phases=None if phases is None else shown(phases),
        settings=None if settings is None else shown(settings),
        commands=tuple(commands(comparison.configurations)),
        runs=shown(runs_table(runs, found)),
    )


def run_pictures(folder: Path) -> list[Picture]:
    """The pictures of a run's page, for a tracker: differences, curves, quality against cost, lineage.

    Args:
        folder: the run's directory, also while it runs. What is measured until now is drawn.

    Returns:
        None of them where nothing is measured or matplotlib is not installed.
    """
    try:
        comparison = compare_runs([folder], systems=None, running=True)
        found = headline(comparison)
        titled = list(comparison.configurations.values())
        cost, chain = _cost(titled, found), _lineage(comparison)
        pictures = [differences_picture(found), *curve_pictures(titled, found.place.measure)]
    except InputError:
        return []
    return [*pictures, *([cost[0]] if cost else []), *([chain] if chain else [])]


def _most_telling(titled: list[Titled], found: Headline) -> list[Titled]:
    """The reference and the subject before the others."""
    first = [each.row.configuration for each in (found.reference, found.subject) if each is not None]
    return sorted(titled, key=lambda each: not any(each.runs == known.runs for known in first))


def _cost(titled: Sequence[Configuration], found: Headline) -> tuple[Picture, Table] | None:
    try:
        points = quality_cost(titled, found.place.split, found.place.measure)
    except InputError:
        return None
    return (cost_picture(points), shown(quality_cost_table(points))) if len(points.points) > 1 else None


def _lineage(comparison: Comparison) -> Picture | None:
    chains = configuration_chains(comparison.configurations)
    if not any(each and all(each) for each in chains.values()):
        return None
    svg, alt = lineage_svg(lineage(chains))
    return Picture(
        "lineage",
        "Which phases trained each student; students that share a phase share its box.",
        alt,
        svg,
        broad=True,
    )


def _searches(folders: Sequence[Path]) -> list[Picture]:
    journals = dict.fromkeys(
        path.resolve()
        for folder in folders
        for where in (folder, folder / SWEEPS)
        for path in sorted(where.glob("search-*.journal"))
    )
    if not journals:
        return []
    from colbert_lab.tuning.search import trials_in  # imports numpy and Optuna
    from colbert_lab.tuning.storage import check_installed

    check_installed()
    drawn = []
    for number, journal in enumerate(journals, 1):
        trials = trials_in(journal)
        best = trials.best
        if best is None:
            continue
        counts = {state: sum(each.state == state for each in trials.trials) for state in (FINISHED, PRUNED)}
        tried = ", ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in best.tried.items()
        )
        caption = (
            f"{journal.stem}: trial {best.number} is the best of {counts[FINISHED]} finished and {counts[PRUNED]} "
            f"pruned trials, {trials.objective} {best.value:.4f} with {tried}."
        )
        drawn.append(
            Picture(
                f"search-{number}",
                caption,
                caption,
                to_svg(plot_search(trials), f"search-{number}"),
                broad=True,
            )
        )
    return drawn
