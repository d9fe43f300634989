"""The curves: a line a run, a colour a configuration."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from colbert_lab.analysis.configurations import Configuration, group
from colbert_lab.analysis.figures import COLOURS, plot_dev, plot_loss
from colbert_lab.base.errors import InputError
from colbert_lab.records.runs import find_runs
from tests.records.run_folders import MEASURE, write_run

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")


@pytest.fixture
def study(tmp_path: Path) -> list[Configuration]:
    for number, value in enumerate(("0.1", "0.2")):
        for seed in (1, 2):
            gains = {"supervised": {"test": 0.0}, "distill": {"test": 0.1}}
            write_run(tmp_path, f"a{number}", seed, {"lr": value}, gains, time=float(number))
    return group(find_runs(tmp_path, "study").runs)


def test_one_line_a_run_and_one_colour_a_configuration(study: list[Configuration]) -> None:
    figure = plot_loss(study)
    assert [panel.get_title() for panel in figure.axes] == ["supervised", "distill"]
    for panel in figure.axes:
        assert panel.get_xlabel() == "optimizer step"
        assert [line.get_color() for line in panel.lines] == [COLOURS[0], COLOURS[0], COLOURS[1], COLOURS[1]]
        assert [list(map(tuple, line.get_xydata())) for line in panel.lines] == [[(5, 2), (10, 1)]] * 4  # type: ignore[arg-type]
    assert figure.axes[0].get_ylabel() == "training loss"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "lr=0.1 (2 runs, one a seed)",
        "lr=0.2 (2 runs, one a seed)",
    ]


def test_the_legend_covers_no_panel(study: list[Configuration]) -> None:
    figure = plot_dev(study, MEASURE)
    figure.savefig(io.BytesIO(), format="png")  # lays it out
    (legend,) = figure.legends
    for panel in figure.axes:
        assert not legend.get_window_extent().overlaps(panel.get_window_extent())


def test_dev_values_while_training(study: list[Configuration]) -> None:
    figure = plot_dev(study, MEASURE)
    assert figure.axes[0].get_ylabel() == "nDCG@10, cut of dev"
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[0.5, 0.75]] * 4  # type: ignore[arg-type]


def test_beyond_the_palette_the_line_style_changes(tmp_path: Path) -> None:
    for number in range(len(COLOURS) + 1):
        write_run(
            tmp_path, f"a{number}", 1, {"n": str(number)}, {"distill": {"test": 0.1}}, time=float(number)
        )
    lines = plot_loss(group(find_runs(tmp_path, "study").runs)).axes[0].lines
    assert lines[0].get_color() == lines[-1].get_color()
    assert lines[0].get_linestyle() != lines[-1].get_linestyle()


def test_nothing_measured_while_training_is_said(study: list[Configuration]) -> None:
    with pytest.raises(
        InputError, match=r"no MRR@10 was measured while training \(phases.<name>.evaluate_every"
    ):
        plot_dev(study, "mrr@10")
    for each in study:
        for run in each.runs:
            for path in run.path.glob("*/metrics.csv"):
                path.unlink()
    with pytest.raises(InputError, match="no training loss was logged"):
        plot_loss(study)
