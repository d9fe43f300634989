"""Quality against cost as a table, in words and as a figure. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from colbert_lab.analysis.figures import COLOURS, STYLES, new_figure, plain
from colbert_lab.analysis.pareto import COSTS, Point, QualityCost, short
from colbert_lab.base.layout import NONE, Table
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.evaluation.significance import MARKS, Paired
from colbert_lab.records.means import paired

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def quality_cost_table(found: QualityCost) -> Table:
    """One row a student, the cheapest first: cost, value, share of the best value, difference to the best, front.

    Args:
        found: what :func:`quality_cost` returned.
    """
    title, unit = COSTS[found.cost]
    best = found.best
    rows = [
        (
            point.title,
            point.phase,
            str(point.value.n),
            cost_text(point.cost, found.cost),
            _share(point.cost, best.cost),
            _value(point),
            _share(point.value.mean, best.value.mean),
            "the best" if point is best else str(_gap(point, best) or NONE),
            "yes" if point.on_front else "no",
        )
        for point in found.points
    ]
    several = any(point.value.n > 1 for point in found.points)
    notes = [
        f"cost ({unit}): {title}, of all phases up to this one; a phase that another run had trained counts in "
        "full. What made the backbone is not in it.",
        "[low, high]: 95% bootstrap interval over queries"
        + (", each averaged over the seeds first" if several else "")
        + "; another training seed is not part of it.",
        f"difference to the best: paired by query, on this one split. {MARKS}",
        "front: no other row is at least as good for at most the same cost.",
        "The best is the highest value on this very split: among many rows it is a little flattered.",
        *_hints(found),
    ]
    columns = ["configuration", "after phase", "seeds", f"cost ({unit})", "of the best's cost"]
    columns += [measure_title(found.measure), "of the best", "difference to the best", "front"]
    heading = f"{measure_title(found.measure)} on {found.split} against {title}"
    return Table(heading, tuple(columns), tuple(rows), (), tuple(notes))


def quality_cost_sentences(found: QualityCost) -> list[str]:
    """What each student gives for its cost, against the best one; the cheapest first, the best one first of all.

    Args:
        found: what :func:`quality_cost` returned.
    """
    best, what = found.best, f"{measure_title(found.measure)} on {found.split}"
    sentences = [
        f"{best.label} is the best: {_value(best)} in {what}, for {cost_text(best.cost, found.cost, True)}."
    ]
    for point in found.points:
        if point is best:
            continue
        gap = _gap(point, best)
        interval = f"; difference {gap}" if gap else f"; {point.value.mean - best.value.mean:+.4f}"
        ratio = point.cost / best.cost
        cheaper = (
            f"{_share(point.cost, best.cost)} of its cost" if ratio < 2 else f"{ratio:.1f} times its cost"
        )
        why = "" if point.on_front else f" It is not on the front: {_dominating(point, found)}."
        sentences.append(
            f"{point.label}: {_share(point.value.mean, best.value.mean)} of the best quality for {cheaper} "
            f"({point.value.mean:.4f} for {cost_text(point.cost, found.cost, True)}{interval}).{why}"
        )
    return [*sentences, *found.left_out]


def cost_text(value: float, cost: str, unit: bool = False) -> str:
    """A cost with as many digits as are worth reading, such as ``1,341,000 tokens`` or ``2.3e+15 FLOP``.

    Args:
        value: the cost.
        cost: one of ``COSTS``.
        unit: whether to name it.
    """
    text = f"{value:.2e}" if cost == "flops" else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {COSTS[cost][1]}" if unit else text


def _dominating(point: Point, found: QualityCost) -> str:
    """Who is at least as good for at most the same cost: the best of them."""
    able = [
        other
        for other in found.points
        if other is not point and other.cost <= point.cost and other.value.mean >= point.value.mean
    ]
    other = max(able, key=lambda each: (each.value.mean, -each.cost))
    return f"{other.label} has {other.value.mean:.4f} for {cost_text(other.cost, found.cost, True)}"


def _gap(point: Point, best: Point) -> Paired | None:
    """Paired difference over queries, where both have the same ones."""
    one, other = point.per_query, best.per_query
    if one is None or other is None or (one.query_ids, one.strata) != (other.query_ids, other.strata):
        return None
    return paired(one.values - other.values, one.strata)


def _hints(found: QualityCost) -> list[str]:
    hints = []
    if len({protocol for point in found.points for protocol in point.protocols}) > 1:
        hints.append("The protocols differ (lengths, prompts, depth): that is part of the differences.")
    if found.untrained:
        whose: dict[str, list[str]] = {}
        for title, value in found.untrained.items():
            whose.setdefault(f"{value:.4f}", []).append(title)
        told = (f"{value} ({short(titles_of)})" for value, titles_of in whose.items())
        hints.append(f"Before training, which has no cost here: {', '.join(told)}.")
    return hints


def _value(point: Point) -> str:
    text = f"{point.value.mean:.4f}"
    return text if point.interval is None else f"{text} {point.interval.bounds()}"


def _share(part: float, whole: float) -> str:
    if whole <= 0:
        return NONE
    percent = 100 * part / whole
    return f"{percent:.1f}%" if percent >= 10 else f"{percent:.2g}%"


MARKERS = ("o", "s", "D", "^", "v", "P", "X")
"""One shape a phase; beyond these they come again."""
GREY = "#555555"
TEXT = 10


def plot_quality_cost(found: QualityCost) -> Figure:
    """One mark a student: cost (log scale) to the right, value upwards; the front as a grey staircase.

    Colours are configurations, shapes are phases. Bars are 95% bootstrap intervals over queries; they are wider than
    those of paired differences, so that students whose bars overlap can still differ clearly.

    Args:
        found: what :func:`colbert_lab.analysis.pareto.quality_cost` returned.

    Raises:
        InputError: matplotlib is not installed.
    """
    names = list(dict.fromkeys(title for point in found.points for title in point.titles))
    phases = list(dict.fromkeys(point.phase for point in found.points))
    columns = 3 if max(map(len, names)) <= 24 else 2 if max(map(len, names)) <= 44 else 1
    figure = new_figure(8.4, 4.6 + 0.24 * -(-len(names) // columns))
    panel = figure.subplots()
    _front(panel, found)
    for number, name in enumerate(names):
        own = [point for point in found.points if name in point.titles]
        costs, values = [point.cost for point in own], [point.value.mean for point in own]
        how = {"color": COLOURS[number % len(COLOURS)], "linestyle": _style(number)}
        panel.plot(costs, values, linewidth=1.2, alpha=0.6, zorder=2, **how)
    for point in found.points:
        colour, face = _colours(names.index(point.titles[0]))
        value, interval = point.value.mean, point.interval
        bars = None if interval is None else [[value - interval.low], [interval.high - value]]
        panel.errorbar(
            [point.cost],
            [value],
            yerr=bars,
            marker=MARKERS[phases.index(point.phase) % len(MARKERS)],
            markersize=10 if point.last else 7,
            color=colour,
            markerfacecolor=face,
            markeredgecolor="black" if point.on_front else colour,
            markeredgewidth=1.6,
            elinewidth=1.1,
            capsize=3,
            zorder=3,
        )
    _axes(panel, found)
    shown = _untrained(panel, found, names)
    _legend(figure, names, phases, columns, shown)
    return figure


def _colours(number: int) -> tuple[str, str]:
    """Colour and face of a configuration's marks; beyond as many as there are colours, the faces are white."""
    again, colour = divmod(number, len(COLOURS))
    return COLOURS[colour], "white" if again % 2 else COLOURS[colour]


def _style(number: int) -> Any:
    return STYLES[number // len(COLOURS) % len(STYLES)]


def _untrained(panel: Axes, found: QualityCost, names: list[str]) -> bool:
    """A dotted line at each value before training that lies among the points; grey where several have it."""
    low, high = panel.get_ylim()
    by_value: dict[float, list[str]] = {}
    for name, value in found.untrained.items():
        if value >= low - 0.25 * (high - low):
            by_value.setdefault(round(value, 6), []).append(name)
    for value, whose in by_value.items():
        known = [name for name in whose if name in names]
        colour = COLOURS[names.index(known[0]) % len(COLOURS)] if len(known) == 1 and len(names) > 1 else GREY
        panel.axhline(value, color=colour, linestyle=":", linewidth=1.6, zorder=1)
    return bool(by_value)


def _front(panel: Axes, found: QualityCost) -> None:
    """The best value that is to be had for at most so much: a staircase that goes on to the right."""
    front = [point for point in found.points if point.on_front]
    costs, values = [point.cost for point in front], [point.value.mean for point in front]
    most = max(point.cost for point in found.points)
    panel.plot(
        [*costs, most * 1.3], [*values, values[-1]], drawstyle="steps-post", color=GREY, linewidth=5, alpha=0.25
    )  # fmt: skip


def _axes(panel: Axes, found: QualityCost) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    plain(panel)
    title, unit = COSTS[found.cost]
    panel.set_xscale("log")
    costs = [point.cost for point in found.points]
    low, high = min(costs) / 1.5, max(costs) * 1.5
    panel.set_xlim(low, high)
    subs = (1, 2, 5) if high / low < 200 else (1,)
    panel.xaxis.set_major_locator(LogLocator(base=10, subs=subs))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x:,.0f}" if 10 <= x < 1e9 else f"{x:.3g}" if x < 10 else f"{x:.0e}")
    )
    panel.set_xlabel(f"{title}, all phases up to this one ({unit}, log scale)", fontsize=TEXT + 1)
    panel.set_ylabel(f"{measure_title(found.measure)} on {found.split}", fontsize=TEXT + 1)
    panel.tick_params(labelsize=TEXT)


def _legend(figure: Figure, names: list[str], phases: list[str], columns: int, untrained: bool) -> None:
    """Outside the panel, where it covers nothing: shapes and lines above it, colours below it."""
    from matplotlib.lines import Line2D

    colours = [
        Line2D([], [], color=_colours(n)[0], linestyle=_style(n), linewidth=2,
               marker="o", markersize=8, markerfacecolor=_colours(n)[1], label=name)
        for n, name in enumerate(names)
    ]  # fmt: skip
    figure.legend(
        handles=colours, loc="outside lower center", ncols=columns, frameon=False, fontsize=TEXT
    )  # fmt: skip
    shapes = [
        Line2D([], [], color=GREY, linestyle="", marker=MARKERS[n % len(MARKERS)], markersize=8, label=f"after {name}")
        for n, name in enumerate(phases)
    ]  # fmt: skip
    front = "front (marks with a black edge)"
    shapes.append(Line2D([], [], color=GREY, linewidth=5, alpha=0.35, label=front))
    if untrained:
        shapes.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.6, label="before training"))
    figure.legend(handles=shapes, loc="outside upper center", ncols=3, frameon=False, fontsize=TEXT)
