"""Recipes of a study at several amounts of training: their laws, who is ahead where, and what a page shows of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.studies.answer import answer
from colbert_lab.studies.curves import curve_tables, curves_picture, laws
from colbert_lab.studies.reading import read_study
from colbert_lab.studies.rows import write_rows
from colbert_lab.studies.study import Study
from colbert_lab.studies.study_runs import StudyRun
from tests.studies.made_up import BASE, made_run, write_study

AMOUNTS = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
LAWS = {"early": (0.06, 0.03, 1.0), "late": (0.15, 0.14, 0.5)}
"""Limit, gap and rate of the gain over the untrained student."""
CELLS: dict[str, Any] = {
    f"{name}{n}": {"title": f"{name} at {amount:,}", "overrides": [f"phases.distill.steps={n + 1}"]}
    for name in LAWS
    for n, amount in enumerate(AMOUNTS)
}
CURVES = {f"the {name} one": [f"{name}{n}" for n in range(len(AMOUNTS))] for name in LAWS}


def study_of(folder: Path, **changes: Any) -> Study:
    claim = {"claim": "x", "weights": {"late4": 1, "early4": -1}, "expect": "higher", "margin": 0.01}
    content = {
        "cells": CELLS,
        "confirmed": list(CELLS),
        "screened": None,
        "claims": [claim],
        "curves": CURVES,
    }
    return read_study(write_study(folder, **content | changes))


def made_runs(study: Study, cells: list[str]) -> list[StudyRun]:
    """Rows whose gains follow the laws."""
    runs = []
    for cell in cells:
        (limit, gap, rate), amount = LAWS[cell[:-1]], AMOUNTS[int(cell[-1])]
        gain = limit - gap * (amount / AMOUNTS[0]) ** -rate
        for seed in study.seeds:
            run = made_run(study, cell, seed, {"distill": gain}, noise=0.02)
            phases = {"distill": {**run.facts["phases"]["distill"], "tokens": amount}}
            runs.append(replace(run, facts={**run.facts, "phases": phases}))
    return runs


def test_the_laws_are_those_of_the_rows(tmp_path: Path) -> None:
    study = study_of(tmp_path / "001_x")
    found = laws(study, made_runs(study, list(CELLS)))
    assert [law.curve.title for law in found] == list(CURVES)
    for law, (limit, gap, rate) in zip(found, LAWS.values(), strict=True):
        assert list(map(int, law.curve.costs)) == list(AMOUNTS)
        assert (law.limit - BASE.mean(), law.gap, law.rate) == pytest.approx((limit, gap, rate), rel=0.05)
        low, high = law.interval(0)
        assert low < law.limit < high
    recipes, ahead = curve_tables(study, found)
    assert [row[0] for row in recipes.rows] == list(CURVES)
    assert recipes.rows[0][1].startswith(f"100,000: {BASE.mean() + 0.03:.4f}; 300,000: ")
    assert {row[0] for row in ahead.rows} == {"the early one − the late one"}
    assert [row[2] for row in ahead.rows] == ["the early one", "-", "the late one"]
    assert ahead.rows[0][1].startswith("100,000 to ")
    assert ahead.rows[-1][1].endswith(" to 10,000,000")


def test_the_page_opens_with_them(tmp_path: Path) -> None:
    study = study_of(tmp_path / "001_x")
    write_rows(study, made_runs(study, list(CELLS)))
    found = answer(study)
    assert [each.title for each in found.tables][1:3] == [
        "Quality against training tokens",
        "Which recipe is ahead at how many tokens",
    ]
    assert found.pictures[0].name == "curves"
    assert "the late one: " in found.pictures[0].alt


def test_what_has_too_few_rows_waits(tmp_path: Path) -> None:
    study = study_of(tmp_path / "001_x")
    runs = made_runs(study, [cell for cell in CELLS if cell not in ("late3", "late4")])
    found = laws(study, runs)
    assert [law.curve.title for law in found] == ["the early one"]
    assert [each.title for each in curve_tables(study, found)] == ["Quality against training tokens"]
    assert laws(study, []) == []
    assert curve_tables(study, []) == []
    assert curves_picture(study, []) is None


def test_rates_at_an_end_are_not_told(tmp_path: Path) -> None:
    study = study_of(tmp_path / "001_x")
    (law, _) = laws(study, made_runs(study, list(CELLS)))
    steep = replace(law, rate=5.0, fits_S3=np.tile([0.5, 0.1, 5.0], (10, 1)))
    (table,) = curve_tables(study, [steep])
    assert table.rows[0][3] == "not told by the points"
    unbent = replace(law, limit=1.0, rate=0.06, fits_S3=np.tile([1.0, 0.7, 0.06], (10, 1)))
    (table,) = curve_tables(study, [unbent])
    assert table.rows[0][2:4] == ("not told by the points", "0.06 [0.06, 0.06]")


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        ([], "curves: must be a mapping of titles to lists of cells"),
        ({"a": "early0"}, "curves.a: must be a list"),
        ({"a": ["early0", "early1", "early2", "nine"]}, "curves.a: no cell nine; there are early0, early1"),
        ({"a": ["early0", "early1", "early2"]}, "curves.a: must name 4 cells or more, each once"),
        ({"a": ["early0", "early1", "early2", "early2"]}, "curves.a: must name 4 cells or more, each once"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, curves: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        study_of(tmp_path / "001_x", curves=curves)


def test_two_cells_of_one_amount_are_refused(tmp_path: Path) -> None:
    study = study_of(tmp_path / "001_x")
    runs = made_runs(study, list(CELLS))
    same = [
        replace(
            run,
            facts={**run.facts, "phases": {"distill": {**run.facts["phases"]["distill"], "tokens": 100_000}}},
        )
        if run.cell == "early1"
        else run
        for run in runs
    ]
    with pytest.raises(
        InputError, match=r"study.yaml: curves.the early one: early0 and early1 have the same 100,000 tokens"
    ):
        laws(study, same)
