"""Score distributions and truncation of a run as figures. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from colbert_lab.analysis.figures.curves import COLOURS, new_figure, plain
from colbert_lab.analysis.score_audit import ROLES, STUDENT, Scores, phase_facts
from colbert_lab.base.errors import InputError
from colbert_lab.records.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
        _histograms(
            panel, found, [each for each in every if each.system == found.system], number % columns == 0
        )
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
            panel.annotate(
                f"{share:.1f}%",
                (share, at),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=TEXT,
            )
    panel.set_yticks(range(len(bars)), [label for label, _ in bars])
    panel.invert_yaxis()
    widest = max(100 * cut[key] for _, cut in bars for key, *_ in kinds)
    panel.set_xlim(0, max(1.0, 1.15 * widest))
    panel.set_xlabel("training texts that lose tokens (%)", fontsize=TEXT + 1)
    panel.tick_params(labelsize=TEXT)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT)
    return figure
