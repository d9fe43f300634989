"""The picture of a search."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from colbert_lab.analysis.trials import Trial, Trials, plot_search

pytest.importorskip("matplotlib")
from matplotlib.patches import Rectangle

LR, HEAD = "phases.distill.optimizer.lr", "head"
FOUND = Trials(
    objective="dev/ndcg@10",
    maximize=True,
    logarithmic=frozenset([LR]),
    trials=[
        Trial(0, "finished", {LR: 1e-4, HEAD: "linear"}, 0.5, {10: 0.3, 20: 0.4}),
        Trial(1, "pruned", {LR: 1e-2, HEAD: "deep"}, None, {10: 0.1}),
        Trial(2, "finished", {LR: 3e-4, HEAD: "linear"}, 0.6, {10: 0.4, 20: 0.5}),
        Trial(3, "left", {LR: 3e-4, HEAD: "linear"}),
        Trial(4, "finished", {LR: 2e-4, HEAD: "deep"}, 0.4, {10: 0.2, 20: 0.3}),
    ],
    importance={HEAD: 0.2, LR: 0.8},
)


def test_it_shows_history_curves_slices_and_importance() -> None:
    figure = plot_search(FOUND)
    history, curves, of_lr, of_head, bars = (each for each in figure.axes if each.get_visible())
    lines = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in history.lines}
    assert lines["best so far"] == [0.5, 0.6, 0.6]
    assert lines["finished"] == [0.5, 0.6, 0.4]
    assert len(lines["pruned (no value)"]) == 1
    assert lines["best"] == [0.6]
    assert len([line for line in curves.lines if line.get_linestyle() == "--"]) == 1
    assert (of_lr.get_xlabel(), of_lr.get_xscale()) == ("lr", "log")
    assert [tick.get_text() for tick in of_head.get_xticklabels()] == ["deep", "linear"]
    assert [round(bar.get_bbox().width) for bar in bars.patches if isinstance(bar, Rectangle)] == [20, 80]
    assert bars.get_xlabel() == "importance (%), from 3 finished trials"


def test_what_is_not_known_has_no_panel() -> None:
    bare = replace(FOUND, importance={}, trials=[replace(trial, curve={}) for trial in FOUND.trials])
    assert len([each for each in plot_search(bare).axes if each.get_visible()]) == 3


def test_where_less_is_better_the_best_is_the_least() -> None:
    best = replace(FOUND, maximize=False).best
    assert best is not None
    assert best.number == 4


def test_without_pruned_trials_the_panels_keep_their_size() -> None:
    done = [trial for trial in FOUND.trials if trial.state == "finished"]
    figure = plot_search(replace(FOUND, trials=done))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib says so where it gives up
        figure.draw_without_rendering()
    assert min(panel.get_position().width for panel in figure.axes if panel.get_visible()) > 0.15
