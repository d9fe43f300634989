"""Pictures of a page of runs, by what they say in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.base.pages import STEPS, Picture
from colbert_lab.report.content import report
from colbert_lab.report.figures import HeatMap, differences_picture, heat_map, in_order, parallel_picture
from colbert_lab.report.headline import headline
from tests.report.support import a_sweep, compared, one_run


def test_the_first_picture_has_the_differences_of_the_comparison(tmp_path: Path) -> None:
    comparison = compared(*a_sweep(tmp_path))
    found = headline(comparison)
    picture = differences_picture(found)
    for each in comparison.compared[found.place]:
        if each.difference is not None:
            assert (
                f"{each.row.label}: {each.difference.mean:+.4f} {each.difference.bounds('+')}" in picture.alt
            )
            assert each.row.label in picture.svg
    assert picture.alt.count(": +") == 3


def test_without_differences_it_has_the_values(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    found = headline(compared(run))
    alone = type(found)(found.place, found.rows[:1], None, "")
    assert "study, before: +0.3500 [" in differences_picture(alone).alt


def test_curves_say_where_they_begin_and_end(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    made = report(compared(run), [run])
    assert [each.name for each in made.curves] == ["loss", "dev"]
    assert made.curves[0].alt.endswith("study, distill: 2 at step 5, 1 at step 10.")
    assert "nDCG@10, cut of dev" in made.curves[1].caption
    (run / "next").mkdir()  # a phase that is being trained
    rows = [
        "step,time,name,value",
        "1,1.0,train/loss,9.0",
        "1,1.0,train/lr,0.001",
        "1,1.0,train/tokens_per_second,70",
        "",
    ]
    (run / "next" / "metrics.csv").write_text("\n".join(rows))
    made = report(compared(run), [run])
    assert [each.name for each in made.curves] == ["loss", "dev", "lr", "speed"]
    assert "study, next: 9 at step 1, 9 at step 1" in made.curves[0].alt


def test_two_factors_are_a_map(tmp_path: Path) -> None:
    comparison = compared(*a_sweep(tmp_path))
    found = headline(comparison)
    made = heat_map(found, comparison.configurations)
    assert isinstance(made, HeatMap)
    assert (made.down, made.across, made.columns) == ("f0", "f1", ("0", "1"))
    assert [(name, [cell and cell[0] for cell in cells]) for name, cells in made.rows] == [
        ("0", ["0.3650", "0.4650"]), ("1", ["0.4150", "0.5150"]),
    ]  # fmt: skip
    shades = [cell[1] for _, cells in made.rows for cell in cells if cell]
    assert (min(shades), max(shades)) == (0, STEPS - 1)
    assert parallel_picture(found, comparison.configurations) is None


def test_three_factors_are_lines(tmp_path: Path) -> None:
    comparison = compared(*a_sweep(tmp_path, factors=3))
    found = headline(comparison)
    assert heat_map(found, comparison.configurations) is None
    picture = parallel_picture(found, comparison.configurations)
    assert isinstance(picture, Picture)
    assert "f0=1, f1=1, f2=1: 0.7150; " in picture.alt
    assert len(re.findall(r"f0=\d, f1=\d, f2=\d: 0\.\d{4}", picture.alt)) == 8
    assert all(name in picture.svg for name in ("f0", "f1", "f2", "nDCG@10"))


def test_numbers_are_ordered_by_size() -> None:
    assert in_order({"1e-3", "10", "9", "x", "null"}) == ("1e-3", "9", "10", "null", "x")
