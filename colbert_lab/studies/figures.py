"""The figures of a study as SVG text, the same for the same rows. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

from collections.abc import Sequence

from colbert_lab.analysis.configurations import Configuration
from colbert_lab.analysis.figures import COLOURS, new_figure, plain, to_svg
from colbert_lab.analysis.lineage import lineage_svg
from colbert_lab.analysis.pareto import quality_cost
from colbert_lab.analysis.pareto_views import plot_quality_cost
from colbert_lab.base.errors import InputError
from colbert_lab.base.pages import Picture
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.studies.evidence import Finding, value_of
from colbert_lab.studies.lineage import configurations, study_lineage
from colbert_lab.studies.study import Study, Term
from colbert_lab.studies.study_runs import StudyRun

GREY = "#555555"
MARKS = ("o", "s", "D", "^", "v", "P", "X")


def pictures(study: Study, runs: Sequence[StudyRun], found: Sequence[Finding]) -> list[Picture]:
    """Every figure that the rows allow: differences, quality against cost, modes, lineage.

    Args:
        study: the study.
        runs: its rows.
        found: its tested claims.

    Raises:
        InputError: matplotlib is not installed.
    """
    drawn = []
    if any(each.interval for each in found):
        drawn.append(_differences(study, found))
    cells = configurations(study, runs)
    if study.cost is not None and len(cells) > 1:
        drawn += _quality_cost(study, cells, study.cost)
    if len(study.modes) > 1 and runs:
        drawn.append(_modes(study, runs))
    if cells:
        svg, alt = lineage_svg(study_lineage(study, runs))
        caption = "Which phases trained each student; cells that share a phase share its box."
        drawn.append(Picture("lineage", caption, alt, svg, broad=True))
    return drawn


def _differences(study: Study, found: Sequence[Finding]) -> Picture:
    shown = [(number, each) for number, each in enumerate(found, start=1) if each.interval is not None]
    figure = new_figure(5.6, 1.3 + 0.5 * len(shown))
    panel = figure.subplots()
    plain(panel)
    panel.axvline(0, color=GREY, linewidth=1)
    told = []
    for place, (number, each) in enumerate(shown):
        assert each.interval is not None
        i, y = each.interval, len(shown) - 1 - place
        margin, bars = each.claim.margin, [[i.mean - i.low], [i.high - i.mean]]
        panel.fill_betweenx([y - 0.38, y + 0.38], -margin, margin, color="#DDDDDD", alpha=0.6, linewidth=0)
        panel.errorbar([i.mean], [y], xerr=bars, fmt="o", color=COLOURS[0], capsize=4, markersize=8)
        seeds = list((each.by_seed or {}).values())
        panel.plot(seeds, [y + 0.22] * len(seeds), "|", color=COLOURS[1], markersize=9, markeredgewidth=1.8)
        told.append(f"claim {number}: {i.mean:+.4f} [{i.low:+.4f}, {i.high:+.4f}], {each.verdict}")
    verdicts = [f"claim {number}: {each.verdict}" for number, each in shown]
    panel.set_yticks(range(len(shown) - 1, -1, -1), verdicts, fontsize=11)
    panel.set_ylim(-0.6, len(shown) - 0.4)
    panel.set_xlabel(f"difference in {measure_title(study.measure)}", fontsize=11)
    panel.tick_params(axis="x", labelsize=10)
    panel.locator_params(axis="x", nbins=6)
    caption = (
        "The tested number of each claim with its 95% interval over queries; ticks: each seed; grey: the smallest "
        "difference that counts."
    )
    svg = to_svg(figure, f"{study.name}-differences")
    return Picture("differences", caption, f"{caption} {'; '.join(told)}.", svg)


def _quality_cost(study: Study, cells: Sequence[Configuration], cost: str) -> list[Picture]:
    try:
        found = quality_cost(cells, study.split, study.measure, cost)
    except InputError:
        return []
    told = [f"{p.label}: {p.value.mean:.4f} for {p.cost:,.0f}" for p in found.points]
    caption = (
        f"{measure_title(study.measure)} against what training took, after every phase; bars: 95% intervals over "
        "queries, which are wider than those of paired differences."
    )
    svg = to_svg(plot_quality_cost(found), f"{study.name}-quality-cost")
    return [Picture("quality_cost", caption, f"{caption} {'; '.join(told)}.", svg, broad=True)]


def _modes(study: Study, runs: Sequence[StudyRun]) -> Picture:
    cells = [cell for cell in study.cells.values() if any(run.cell == cell.name for run in runs)]
    figure = new_figure(5.6, 1.7 + 0.5 * len(cells))
    panel = figure.subplots()
    plain(panel)
    told = []
    for number, mode in enumerate(study.modes):
        drawn = False
        for place, cell in enumerate(cells):
            value = value_of(runs, Term(cell.name, None, mode))
            if value is None:
                continue
            y = len(cells) - 1 - place + 0.15 * ((len(study.modes) - 1) / 2 - number)
            i = value.interval
            panel.errorbar(
                [value.mean], [y], xerr=[[value.mean - i.low], [i.high - value.mean]], fmt=MARKS[number % len(MARKS)],
                color=COLOURS[number % len(COLOURS)], capsize=3, markersize=7, label=None if drawn else mode,
            )  # fmt: skip
            drawn = True
            told.append(f"{cell.title}, {mode}: {value.mean:.4f}")
    panel.set_yticks(range(len(cells) - 1, -1, -1), [cell.title for cell in cells], fontsize=11)
    panel.set_ylim(-0.6, len(cells) - 0.4)
    panel.set_xlabel(measure_title(study.measure), fontsize=11)
    figure.legend(loc="outside upper center", ncols=min(4, len(study.modes)), frameon=False, fontsize=10)
    caption = (
        f"{measure_title(study.measure)} of each cell in each search mode, with 95% intervals over queries."
    )
    return Picture("modes", caption, f"{caption} {'; '.join(told)}.", to_svg(figure, f"{study.name}-modes"))
