"""Differences by query as one figure. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from colbert_lab.analysis.differences import Differences
from colbert_lab.analysis.figures.curves import COLOURS, new_figure, plain
from colbert_lab.evaluation.measures import measure_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIN, LOSS = COLOURS[0], COLOURS[1]
TEXT = 10


def plot_differences(found: Differences) -> Figure:
    """Every query's difference as a bar, the largest win first: how many there are of each, and how large they are.

    Args:
        found: what :func:`colbert_lab.analysis.differences.query_differences` returned.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = new_figure(8.4, 4.8)
    panel = figure.subplots()
    plain(panel)
    ordered = np.sort(found.values)[::-1]
    edges = np.arange(len(ordered) + 1) + 0.5  # query 1 is the bar around 1
    wins, ties, losses = found.counts
    panel.stairs(np.maximum(ordered, 0), edges, fill=True, color=WIN, label=f"A wins: {wins:,}")
    panel.stairs(
        np.minimum(ordered, 0), edges, fill=True, color=LOSS, hatch="//", edgecolor="white", linewidth=0,
        label=f"A loses: {losses:,}",
    )  # fmt: skip
    panel.plot([], [], linestyle="", label=f"ties: {ties:,}")
    panel.axhline(0, color="black", linewidth=0.8)
    mean = found.interval
    panel.axhspan(mean.low, mean.high, color=COLOURS[2], alpha=0.3, linewidth=0)
    panel.axhline(
        mean.mean, color=COLOURS[2], linestyle="--", linewidth=1.6,
        label=f"mean {mean.mean:+.4f} [{mean.low:+.4f}, {mean.high:+.4f}]",
    )  # fmt: skip
    panel.set_xlim(0.5, len(ordered) + 0.5)
    panel.set_xlabel(f"queries of {found.split}, the largest win first (rank)", fontsize=TEXT + 1)
    panel.set_ylabel(f"{measure_title(found.measure)}, A minus B", fontsize=TEXT + 1)
    panel.tick_params(labelsize=TEXT)
    panel.set_title(f"A: {found.one.label}\nB: {found.other.label}", fontsize=TEXT, loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=TEXT)
    return figure
