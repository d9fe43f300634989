"""The pictures of a page of runs. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from colbert_lab.analysis.compared import Compared
from colbert_lab.analysis.configurations import Configuration
from colbert_lab.analysis.figures import (
    COLOURS,
    WHILE_TRAINING,
    Points,
    new_figure,
    plain,
    plot_curves,
    to_svg,
)
from colbert_lab.analysis.pareto import QualityCost
from colbert_lab.analysis.pareto_views import plot_quality_cost
from colbert_lab.base.errors import InputError
from colbert_lab.base.pages import Picture, step_of
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.records.runs import Run
from colbert_lab.report.headline import Headline

MOST_ROWS = 24
"""Rows of the first picture: the highest values."""
MOST_CURVES = 8
"""Configurations whose curves are drawn."""
MOST_FACTORS = 8
GREY = "#555555"
TEXT = 11


def differences_picture(found: Headline) -> Picture:
    """What the page opens with: every system's difference to the reference, or values where there are none.

    Args:
        found: what :func:`colbert_lab.report.headline.headline` returned.
    """
    measure = measure_title(found.place.measure)
    shown: list[tuple[Compared, float, float, float]] = []
    for each in found.rows:
        if each.tested is not None:
            shown.append((each, each.tested.mean, each.tested.low, each.tested.high))
    against = f"difference in {measure} on {found.place.split} to {found.reference.row.label}"
    if not shown:
        against = f"{measure} on {found.place.split}"
        for each in found.rows:
            value, bounds = each.row.value, each.interval
            known = bounds is not None and bounds.n > 1
            shown.append((each, value, *((bounds.low, bounds.high) if bounds and known else (value, value))))
    shown = sorted(shown, key=lambda row: -row[1])[:MOST_ROWS]
    figure = new_figure(5.6, 1.1 + 0.56 * len(shown))
    panel = figure.subplots()
    plain(panel)
    told = []
    for place, (each, mean, low, high) in enumerate(shown):
        y, own = len(shown) - 1 - place, each is found.subject
        panel.errorbar(
            [mean], [y], xerr=[[max(mean - low, 0.0)], [max(high - mean, 0.0)]], fmt="D" if own else "o",
            color=COLOURS[1 if own else 0], capsize=4, markersize=9 if own else 7,
        )  # fmt: skip
        panel.annotate(
            _short(each.row.label, 60), (0, y + 0.26), xycoords=("axes fraction", "data"), fontsize=TEXT,
            fontweight="bold" if own else "normal", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
        told.append(f"{each.row.label}: {mean:+.4f} [{low:+.4f}, {high:+.4f}]")
    if any(each.tested for each in found.rows):
        panel.axvline(0, color=GREY, linewidth=1)
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.set_ylim(-0.5, len(shown) - 0.2)
    panel.set_xlabel(_short(against, 66), fontsize=TEXT - 1)
    panel.tick_params(axis="x", labelsize=TEXT - 1)
    panel.locator_params(axis="x", nbins=6)
    caption = f"{against[0].upper()}{against[1:]}, with 95% intervals over queries."
    if found.subject is not None and len(shown) > 1:
        caption += " The diamond is what the sentence is about."
    return Picture("differences", caption, f"{caption} {'; '.join(told)}.", to_svg(figure, "differences"))


def curve_pictures(configurations: Sequence[Configuration], measure: str) -> list[Picture]:
    """Loss, dev measure, learning rate and speed by step, those that were logged.

    Args:
        configurations: what was trained; the first ``MOST_CURVES`` are drawn.
        measure: on the cut of dev.
    """
    title = measure_title(measure)
    wanted: Mapping[str, tuple[str, Callable[[str], bool], str]] = {
        "loss": ("training loss", lambda name: name == "train/loss", ""),
        "dev": (f"{title}, cut of dev", lambda name: name.endswith(WHILE_TRAINING + measure), "o"),
        "lr": ("learning rate", lambda name: name == "train/lr", ""),
        "speed": ("tokens a second", lambda name: name == "train/tokens_per_second", ""),
    }
    known = {
        (run.path, phase): run.curves(phase) for c in configurations for run in c.runs for phase in run.logged
    }
    drawn, drawable = [], configurations[:MOST_CURVES]
    for key, (label, is_it, marker) in wanted.items():

        def points(run: Run, phase: str, is_it: Callable[[str], bool] = is_it) -> Points:
            curves = known[run.path, phase]
            return next((curves[name] for name in curves if is_it(name)), [])

        ends = [
            f"{each.label}, {phase}: {line[0][1]:.4g} at step {line[0][0]:,}, {line[-1][1]:.4g} at step {line[-1][0]:,}"
            for each in drawable
            for phase in each.runs[0].logged
            if (line := points(each.runs[0], phase))
        ]
        try:
            figure = plot_curves(drawable, points, label, "not logged", marker)
        except InputError:
            continue
        left_out = (
            ""
            if len(drawable) == len(configurations)
            else f" The first {MOST_CURVES} of {len(configurations)} configurations."
        )
        caption = f"By optimizer step: {label}.{left_out}"
        drawn.append(Picture(key, caption, f"{caption} {'; '.join(ends)}.", to_svg(figure, key), broad=True))
    return drawn


def cost_picture(found: QualityCost) -> Picture:
    """Quality against cost.

    Args:
        found: what :func:`colbert_lab.analysis.pareto.quality_cost` returned.
    """
    told = [f"{point.label}: {point.value.mean:.4f} for {point.cost:,.0f} s" for point in found.points]
    caption = (
        f"{measure_title(found.measure)} on {found.split} against seconds of training, after every phase; bars: 95% "
        "intervals over queries, which are wider than those of paired differences."
    )
    svg = to_svg(plot_quality_cost(found), "quality-cost")
    return Picture("quality_cost", caption, f"{caption} {'; '.join(told)}.", svg, broad=True)


@dataclass(frozen=True)
class HeatMap:
    """Two factors of a sweep and the value of each pair.

    Attributes:
        title: what the values are.
        down: the factor of the rows.
        across: the factor of the columns.
        columns: its values.
        rows: a value of ``down``, and for each column the shown value with its shade; None where there is no run.
    """

    title: str
    down: str
    across: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, int] | None, ...]], ...]


def heat_map(found: Headline, labels: Mapping[str, Configuration]) -> HeatMap | None:
    """The values of a sweep over two factors; None for any other number of factors.

    Args:
        found: what :func:`colbert_lab.report.headline.headline` returned.
        labels: configurations by the label of their row.
    """
    cells = _by_factors(found, labels)
    names = list(dict.fromkeys(name for factors, _ in cells for name in factors))
    if len(names) != 2 or len(cells) < 4:
        return None
    down, across = names
    at = {(factors.get(down, ""), factors.get(across, "")): value for factors, value in cells}
    low, high = min(at.values()), max(at.values())
    rows, columns = (in_order({pair[n] for pair in at}) for n in (0, 1))
    shown = tuple(
        (row, tuple(
            (f"{at[row, column]:.4f}", step_of(at[row, column], low, high)) if (row, column) in at else None
            for column in columns
        ))
        for row in rows
    )  # fmt: skip
    title = f"{measure_title(found.place.measure)} on {found.place.split}"
    return HeatMap(title, down, across, columns, shown)


def parallel_picture(found: Headline, labels: Mapping[str, Configuration]) -> Picture | None:
    """Parallel coordinates of a sweep over three or more factors; None for fewer.

    Args:
        found: what :func:`colbert_lab.report.headline.headline` returned.
        labels: configurations by the label of their row.
    """
    cells = _by_factors(found, labels)
    names = list(dict.fromkeys(name for factors, _ in cells for name in factors))
    if len(names) < 3 or len(cells) < 3:
        return None
    names = names[:MOST_FACTORS]
    axes = [in_order({factors.get(name, "") for factors, _ in cells}) for name in names]
    values = [value for _, value in cells]
    low, high = min(values), max(values)
    figure = new_figure(max(6.0, 1.7 * (len(names) + 1)), 4.2)
    panel = figure.subplots()
    told = []
    for factors, value in sorted(cells, key=lambda cell: cell[1]):
        heights = [
            _height(axis.index(factors.get(name, "")), len(axis))
            for name, axis in zip(names, axes, strict=True)
        ]
        heights.append((value - low) / (high - low) if high > low else 0.5)
        best = value == high
        panel.plot(
            range(len(heights)), heights, color=COLOURS[1 if best else 0], linewidth=2.6 if best else 1.2,
            alpha=1.0 if best else 0.45 + 0.4 * heights[-1], zorder=3 if best else 2,
        )  # fmt: skip
        told.append(f"{', '.join(f'{name}={factors.get(name, chr(45))}' for name in names)}: {value:.4f}")
    panel.set_xticks(
        range(len(names) + 1), [*(_short(name, 22) for name in names), measure_title(found.place.measure)]
    )
    panel.tick_params(labelsize=TEXT - 1, left=False, labelleft=False)
    panel.spines[["top", "right", "left", "bottom"]].set_visible(False)
    panel.set_xlim(-0.3, len(names) + 0.45)
    for x, axis in enumerate([*axes, (f"{low:.4f}", f"{high:.4f}") if high > low else (f"{low:.4f}",)]):
        panel.axvline(x, color=GREY, linewidth=1, zorder=1)
        for number, text in enumerate(axis):
            panel.annotate(
                _short(text, 18), (x, _height(number, len(axis))), fontsize=TEXT - 1, zorder=4,
                xytext=(4, 3), textcoords="offset points",
            )  # fmt: skip
    caption = (
        f"Each line is a configuration: its factors, and on the right its {measure_title(found.place.measure)} on "
        f"{found.place.split}; the best is thick."
    )
    return Picture(
        "parallel", caption, f"{caption} {'; '.join(reversed(told))}.", to_svg(figure, "parallel"), broad=True
    )


def _by_factors(
    found: Headline, labels: Mapping[str, Configuration]
) -> list[tuple[Mapping[str, str], float]]:
    rows = [each.row for each in found.rows if each.row.label in labels]
    return [(labels[row.label].factors, row.value) for row in rows if labels[row.label].factors]


def in_order(values: set[str]) -> tuple[str, ...]:
    """Values of a factor: numbers by size, then texts.

    Args:
        values: as configs have them.
    """

    def key(value: str) -> tuple[bool, float, str]:
        try:
            return False, float(value), value
        except ValueError:
            return True, 0.0, value

    return tuple(sorted(values, key=key))


def _height(number: int, of: int) -> float:
    return number / (of - 1) if of > 1 else 0.5


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
