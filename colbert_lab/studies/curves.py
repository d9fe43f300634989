"""The curves of a study: what a recipe reaches at several amounts of training, its law, and who is ahead where."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from colbert_lab.analysis.figures import COLOURS, new_figure, plain, to_svg
from colbert_lab.analysis.scaling import FEWEST, RATES, Curve, Law, fit_together, stretches
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import NONE, Table
from colbert_lab.base.pages import Picture
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.records.means import interval_of
from colbert_lab.studies.evidence import value_of
from colbert_lab.studies.lineage import mean_cost
from colbert_lab.studies.reading import STUDY_FILE
from colbert_lab.studies.study import Study, Term
from colbert_lab.studies.study_runs import StudyRun

LAW = (
    "law: limit - gap x (tokens / fewest tokens) ^ -rate, least squares on the points; intervals: 95%, over the same "
    "resampled queries for all points and recipes. They say nothing of other seeds.",
    "limit: what the law tends to; the points do not tell it where the best one is 1, the most that a value can be. A "
    "law says little far beyond its points.",
)
MOST = 1 - 1e-9
"""A limit that is not below 1."""
AHEAD = (
    "ahead: the recipe whose law is higher, where the 95% interval of the difference does not hold 0, at each amount "
    "by itself; from the largest of the fewest tokens to the smallest of the most.",
    "difference: of the two laws in the middle of the stretch, the first less the second.",
)


def laws(study: Study, runs: Sequence[StudyRun]) -> list[Law]:
    """The laws of the study's curves that have enough cells with rows, over the queries that all share.

    Args:
        study: the study.
        runs: its rows.

    Raises:
        InputError: cells of a curve have the same amount of training.
    """
    curves = []
    for title, cells in study.curves.items():
        points = sorted(point for cell in cells if (point := _point(study, runs, cell)) is not None)
        for (cost, cell), (other, another) in itertools.pairwise(points):
            if cost == other:
                raise InputError(
                    f"{study.folder / STUDY_FILE}: curves.{title}: {cell} and {another} have the same "
                    f"{cost:,.0f} tokens of training; take one of them out"
                )
        if len(points) >= FEWEST:
            curves.append(_curve(study, runs, title, points))
    return fit_together(curves) if curves else []


def _point(study: Study, runs: Sequence[StudyRun], cell: str) -> tuple[float, str] | None:
    """Tokens of training, mean over seeds, and the cell."""
    cost = mean_cost(study, runs, cell)
    if cost is None or value_of(runs, Term(cell, None, study.main)) is None:
        return None
    return cost[1], cell


def _curve(study: Study, runs: Sequence[StudyRun], title: str, points: Sequence[tuple[float, str]]) -> Curve:
    import numpy as np

    values = []
    for _, cell in points:
        value = value_of(runs, Term(cell, None, study.main))
        assert value is not None
        values.append(np.mean(list(value.per_query.values()), axis=0))
    return Curve(title, tuple(cost for cost, _ in points), np.stack(values))


def curve_tables(study: Study, found: Sequence[Law]) -> list[Table]:
    """The law of each recipe, and who is ahead where.

    Args:
        study: the study.
        found: what :func:`laws` returned.
    """
    if not found:
        return []
    title = measure_title(study.measure)
    rows = []
    for law in found:
        means = law.curve.per_query_PQ.mean(axis=1)
        points = "; ".join(
            f"{cost:,.0f}: {mean:.4f}" for cost, mean in zip(law.curve.costs, means, strict=True)
        )
        rate = (
            f"{law.rate:.2f} {_interval(law.interval(2), 2)}"
            if not law.at_an_end
            else "not told by the points"
        )
        straight = law.rate <= RATES[0] or law.limit >= MOST
        limit = "not told by the points" if straight else f"{law.limit:.4f} {_interval(law.interval(0), 4)}"
        rows.append((law.curve.title, points, limit, rate, f"{law.error:.4f}"))
    columns = ("recipe", f"{title} by training tokens", "limit", "rate", "distance of the points")
    tables = [Table("Quality against training tokens", columns, tuple(rows), (), LAW)]
    pairs = []
    for first, second in itertools.combinations(found, 2):
        for part in stretches(first, second):
            i = part.difference
            pairs.append(
                (
                    f"{first.curve.title} − {second.curve.title}",
                    f"{_rounded(part.low)} to {_rounded(part.high)}",
                    part.ahead or NONE,
                    f"{i.mean:+.4f} {i.bounds('+')}",
                )
            )
    if pairs:
        heads = ("recipes", "training tokens", "ahead", f"difference in {title}")
        tables.append(Table("Which recipe is ahead at how many tokens", heads, tuple(pairs), (), AHEAD))
    return tables


def _rounded(tokens: float) -> str:
    return f"{float(f'{tokens:.3g}'):,.0f}"


def _interval(bounds: tuple[float, float], digits: int) -> str:
    return f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"


def curves_picture(study: Study, found: Sequence[Law]) -> Picture | None:
    """The points with their intervals, and the laws with theirs; None without a law.

    Args:
        study: the study.
        found: what :func:`laws` returned.

    Raises:
        InputError: matplotlib is not installed.
    """
    if not found:
        return None
    import numpy as np
    from matplotlib.ticker import EngFormatter

    title = measure_title(study.measure)
    figure = new_figure(7.4, 4.8)
    panel = figure.subplots()
    plain(panel)
    told = []
    for number, law in enumerate(found):
        colour, costs = COLOURS[number % len(COLOURS)], law.curve.costs
        along = np.geomspace(costs[0], costs[-1], 80)
        low, high = law.bounds(along)
        panel.plot(along, law.at(along), color=colour, linewidth=2, label=law.curve.title)
        panel.fill_between(along, low, high, color=colour, alpha=0.15, linewidth=0)
        values = [interval_of(values_Q) for values_Q in law.curve.per_query_PQ]
        bars = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
        panel.errorbar(
            costs, [v.mean for v in values], yerr=bars, fmt="o", color=colour, capsize=3, markersize=6
        )
        told.append(f"{law.curve.title}: {values[0].mean:.4f} to {values[-1].mean:.4f}")
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.set_xlabel("training tokens without padding", fontsize=11)
    panel.set_ylabel(title, fontsize=11)
    panel.tick_params(labelsize=10)
    figure.legend(loc="outside upper center", ncols=min(3, len(found)), frameon=False, fontsize=10)
    caption = (
        f"{title} against training tokens: points with 95% intervals over queries, and the law of each recipe. "
        "Differences between recipes are surer than these intervals: the same queries are behind both."
    )
    return Picture(
        "curves", caption, f"{caption} {'; '.join(told)}.", to_svg(figure, f"{study.name}-curves"), broad=True
    )
