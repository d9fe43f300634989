"""Figures of runs: curves of training, scores, truncation. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from colbert_lab.analysis.configurations import Configuration
from colbert_lab.analysis.score_audit import ROLES, STUDENT, Scores, phase_facts
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import printable
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.records.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which most colour-blind readers can tell apart; its yellow is too pale for lines."""
STYLES = ("-", "--", ":", "-.")
"""Beyond as many configurations as there are colours, the colours come again in the next line style."""
LOSS = "train/loss"
WHILE_TRAINING = "_small/"
"""Names of values measured while training: ``<split>_small/<measure>``, on a cut of a dev split."""

Points = list[tuple[int, float]]


def plot_loss(configurations: Sequence[Configuration]) -> Figure:
    """Training loss by step, one panel a phase.

    Losses of different objectives have different scales: only their shapes may then be compared.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned.

    Raises:
        InputError: no run has a logged loss, or matplotlib is not installed.
    """

    def loss(run: Run, phase: str) -> Points:
        return run.curves(phase).get(LOSS, [])

    return plot_curves(configurations, loss, "training loss", "no training loss was logged")


def plot_dev(configurations: Sequence[Configuration], measure: str) -> Figure:
    """A measure on a cut of the dev split by step, as it was evaluated while training, one panel a phase.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned.
        measure: for example ``ndcg@10``.

    Raises:
        InputError: nothing was evaluated while training, or matplotlib is not installed.
    """

    def dev(run: Run, phase: str) -> Points:
        curves = run.curves(phase)
        return next((curves[name] for name in curves if name.endswith(WHILE_TRAINING + measure)), [])

    title = measure_title(measure)
    missing = f"no {title} was measured while training (phases.<name>.evaluate_every sets how often)"
    return plot_curves(configurations, dev, f"{title}, cut of dev", missing, marker="o")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure.

    Args:
        width: in inches.
        height: in inches.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.text import Text
    except ImportError as error:
        raise InputError("matplotlib is not installed; pip install 'colbert-lab[notebook]'") from error

    class PlainFigure(Figure):
        """Its texts come from records: a dollar sign in them begins no formula, and controls are spelled out."""

        def draw(self, renderer: Any) -> None:
            for text in self.findobj(Text):
                assert isinstance(text, Text)
                if text.get_text().startswith("$\\mathdefault{"):
                    continue  # a tick of matplotlib's own
                text.set_parse_math(False)
                if (seen := printable(text.get_text(), kept="\n")) != text.get_text():
                    text.set_text(seen)
            super().draw(renderer)

    return PlainFigure(figsize=(width, height), layout="constrained", dpi=110)


def to_svg(figure: Figure, salt: str) -> str:
    """A figure as SVG that is the same whenever it is drawn, with text as text, and without a fixed size.

    Args:
        figure: the figure.
        salt: of the ids inside, so that several pictures fit on one page.
    """
    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = printable(out.getvalue(), kept="\n\t")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    for name in re.findall(r'<g id="([^"]+)"', text):  # names such as axes_1 would be there in every picture
        text = text.replace(f'id="{name}"', f'id="{salt}-{name}"').replace(f'#{name}"', f'#{salt}-{name}"')
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def plain(panel: Axes) -> None:
    """A faint grid behind the marks, and no frame above and right of them.

    Args:
        panel: changed in place.
    """
    panel.grid(alpha=0.25)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def plot_curves(
    configurations: Sequence[Configuration],
    points: Callable[[Run, str], Points],
    label: str,
    missing: str,
    marker: str = "",
) -> Figure:
    """Curves by optimizer step, one panel a phase, one colour a configuration.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned.
        points: of a run and a phase; none where it has no such curve.
        label: of the values.
        missing: what to say where no run has one.
        marker: of each point; none where there are many.

    Raises:
        InputError: no run has one, or matplotlib is not installed.
    """
    runs = [(number, run) for number, each in enumerate(configurations) for run in each.runs]
    phases = dict.fromkeys(name for _, run in runs for name in run.logged)
    drawn = {phase: [(number, points(run, phase)) for number, run in runs] for phase in phases}
    drawn = {phase: lines for phase, lines in drawn.items() if any(line for _, line in lines)}
    if not drawn:
        raise InputError(missing)
    rows = -(-len(configurations) // 2)
    figure = new_figure(max(7.0, 4.5 * len(drawn)), 3.6 + 0.22 * rows)
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for panel, (phase, lines) in zip(panels, drawn.items(), strict=True):
        for number, line in lines:
            if line:
                steps, values = zip(*line, strict=True)
                own = {"marker": marker, **_style(number)}
                panel.plot(steps, values, markersize=3.5, linewidth=1.4, alpha=0.85, **own)
        _dress(panel, phase, label if panel is panels[0] else "")
    _legend(figure, configurations)
    return figure


def _dress(panel: Axes, phase: str, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_title(phase, fontsize=10)
    panel.set_xlabel("optimizer step")
    panel.set_ylabel(label)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain(panel)


def _legend(figure: Figure, configurations: Sequence[Configuration]) -> None:
    """Below the panels, where it covers no line."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linewidth=2, **_style(number)) for number in range(len(configurations))]
    labels = [f"{each.label} ({_seeds(each)})" for each in configurations]
    longest = max(len(label) for label in labels)
    columns = 2 if len(labels) > 1 and longest <= 45 else 1
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def _style(number: int) -> dict[str, Any]:
    again, colour = divmod(number, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": STYLES[again % len(STYLES)]}


def _seeds(each: Configuration) -> str:
    n = len(each.runs)
    return f"{n} runs, one a seed" if n > 1 else f"seed {each.seeds[0]}"


BINS = 40
TEXT = 10
RELEVANT, OTHERS = COLOURS[0], COLOURS[1]


def plot_scores(every: Sequence[Scores]) -> Figure:
    """One panel a system: histograms of its scores of relevant documents and of all others.

    Each histogram is in percent of its own documents, since there are many more others than relevant ones. Panels of
    the student share one scale.

    Args:
        every: what :func:`colbert_lab.analysis.score_audit.ranked_scores` returned.

    Raises:
        InputError: matplotlib is not installed.
    """
    columns = min(len(every), 2)
    rows = -(-len(every) // columns)
    figure = new_figure(4.4 * max(columns, 1.6), 3.3 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, (panel, found) in enumerate(zip(panels, every, strict=False)):
        alike = [each for each in every if each.system == found.system]
        _histograms(panel, found, alike, number % columns == 0)
    for panel in panels[len(every) :]:
        panel.set_visible(False)
    of_student = [panel for panel, found in zip(panels, every, strict=False) if found.system == STUDENT]
    for panel in of_student:
        panel.set_ylim(0, max(each.get_ylim()[1] for each in of_student))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT)
    return figure


def _histograms(panel: Axes, found: Scores, alike: Sequence[Scores], first: bool) -> None:
    plain(panel)
    values = np.concatenate([part for each in alike for part in (each.relevant, each.others)])
    edges = np.linspace(values.min(), values.max() + 1e-6, BINS + 1)
    others, relevant = (
        100 * np.histogram(part, edges)[0] / max(len(part), 1) for part in (found.others, found.relevant)
    )
    panel.stairs(others, edges, fill=True, color=OTHERS, alpha=0.45, label="all other documents in the list")
    if len(found.relevant):
        panel.stairs(relevant, edges, color=RELEVANT, linewidth=2, label="documents judged relevant")
    told = "" if found.separation is None else f"\ntold apart: {found.separation:.1%} of pairs"
    panel.set_title(f"{found.label}{told}", fontsize=TEXT + 1)
    panel.set_xlabel(f"score ({found.unit})", fontsize=TEXT)
    if first:
        panel.set_ylabel("share of these documents (%)", fontsize=TEXT)
    panel.tick_params(labelsize=TEXT)


def plot_truncation(run: Run) -> Figure:
    """The share of training texts that lose tokens, for each phase and role, with and without the prompt.

    Args:
        run: a finished run.

    Raises:
        InputError: no phase says so, or matplotlib is not installed.
    """
    bars = [
        (f"{phase}: {name}", {"cut": told["cut"], "cut_without_prompt": told["cut_without_prompt"]})
        for phase, facts in phase_facts(run).items()
        for role, name in ROLES.items()
        if (told := facts.get("truncation", {}).get(role)) is not None
    ]
    if not bars:
        raise InputError(f"{run.run_id}: no phase.json says how many texts are cut")
    figure = new_figure(7.6, 1.5 + 0.62 * len(bars))
    panel = figure.subplots()
    plain(panel)
    panel.grid(visible=False, axis="y")
    kinds = (("cut", "as the student reads them", COLOURS[0], ""),
             ("cut_without_prompt", "if the prompt took no room", COLOURS[5], "//"))  # fmt: skip
    for place, (_, cut) in enumerate(bars):
        for number, (key, label, colour, hatch) in enumerate(kinds):
            share, at = 100 * cut[key], place + 0.36 * (number - 0.5)
            panel.barh(
                at, share, height=0.34, color=colour, hatch=hatch, edgecolor="white", linewidth=0,
                label=None if place else label,
            )  # fmt: skip
            beside: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
            panel.annotate(f"{share:.1f}%", (share, at), fontsize=TEXT, **beside)
    panel.set_yticks(range(len(bars)), [label for label, _ in bars])
    panel.invert_yaxis()
    widest = max(100 * cut[key] for _, cut in bars for key, *_ in kinds)
    panel.set_xlim(0, max(1.0, 1.15 * widest))
    panel.set_xlabel("training texts that lose tokens (%)", fontsize=TEXT + 1)
    panel.tick_params(labelsize=TEXT)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT)
    return figure
