"""Quality against cost as one figure. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from colbert_lab.analysis.figures.curves import COLOURS, STYLES, new_figure, plain
from colbert_lab.analysis.pareto import COSTS, QualityCost
from colbert_lab.evaluation.measures import measure_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
        panel.plot(
            [point.cost for point in own],
            [point.value.mean for point in own],
            color=COLOURS[number % len(COLOURS)],
            linestyle=_style(number),
            linewidth=1.2,
            alpha=0.6,
            zorder=2,
        )
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
    shapes.append(
        Line2D([], [], color=GREY, linewidth=5, alpha=0.35, label="front (marks with a black edge)")
    )
    if untrained:
        shapes.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.6, label="before training"))
    figure.legend(handles=shapes, loc="outside upper center", ncols=3, frameon=False, fontsize=TEXT)
