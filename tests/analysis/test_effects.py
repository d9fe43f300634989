"""Main effects and interactions of a sweep, from folders with known numbers."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from colbert_lab.analysis.compare import compare_runs
from colbert_lab.analysis.compare_table import comparison_rows, comparison_tables
from colbert_lab.analysis.effects import Effect, effects_of
from colbert_lab.analysis.measured import Place
from colbert_lab.evaluation.significance import holm, randomisation_p
from tests.records.run_folders import MEASURE, QUERIES, write_run

LR, DIM = "phases.distill.optimizer.lr", "student.dim"
TEST = Place("made", "test", "exact", MEASURE)
NOISE = np.random.default_rng(3).normal(0, 0.02, (2, 2, 2, len(QUERIES)))
"""By lr, dim, seed and query."""


def gain(lr: int, dim: int, seed: int) -> np.ndarray:
    """lr changes .05, dim .02, both together .03 more."""
    return np.asarray(0.05 * lr + 0.02 * dim + 0.03 * lr * dim + NOISE[lr, dim, seed])


def sweep(folder: Path, without: tuple[int, int] | None = None) -> list[Path]:
    runs = []
    for lr, dim in product(range(2), range(2)):
        if (lr, dim) != without:
            factors = {LR: ("0.1", "0.2")[lr], DIM: ("32", "64")[dim]}
            for seed in range(2):
                added = {"distill": {"test": gain(lr, dim, seed)}}
                runs.append(write_run(folder, f"{lr}{dim}", seed, factors, added))
    return runs


def mean_gain(lr: int, dim: int) -> np.ndarray:
    return np.asarray((gain(lr, dim, 0) + gain(lr, dim, 1)) / 2)


def found(runs: list[Path]) -> dict[str, Effect]:
    return {each.told: each for each in effects_of(compare_runs(runs).compared[TEST])}


def test_a_main_effect_is_the_mean_difference_over_the_other_factor(tmp_path: Path) -> None:
    effects = found(sweep(tmp_path))
    assert list(effects) == ["lr 0.2 against 0.1", "dim 64 against 32", "lr 0.2 with dim 64"]
    at = [mean_gain(1, dim) - mean_gain(0, dim) for dim in range(2)]
    lr = effects["lr 0.2 against 0.1"]
    assert lr.parts == pytest.approx([each.mean() for each in at])
    assert lr.difference.mean == pytest.approx(np.mean(at))
    assert lr.difference.p == randomisation_p(lr_values := (at[0] + at[1]) / 2)
    assert lr.difference.detectable == pytest.approx(
        2.8016 * lr_values.std(ddof=1) / len(QUERIES) ** 0.5, rel=1e-4
    )
    both = effects["lr 0.2 with dim 64"]
    assert both.difference.mean == pytest.approx((at[1] - at[0]).mean())
    assert [each.difference.p_holm for each in effects.values()] == holm(
        [each.difference.p for each in effects.values()]
    )


def test_it_is_a_least_squares_fit_of_effects_for_a_whole_design(tmp_path: Path) -> None:
    """Against an independent reference: the coefficients of a two-way layout with interaction, of each query's mean."""
    effects = found(sweep(tmp_path))
    cells = list(product(range(2), range(2)))
    design = np.array([[1, lr - 0.5, dim - 0.5, (lr - 0.5) * (dim - 0.5)] for lr, dim in cells])
    values = np.array([mean_gain(lr, dim).mean() for lr, dim in cells])
    _, lr, dim, both = np.linalg.lstsq(design, values, rcond=None)[0]
    means = [each.difference.mean for each in effects.values()]
    assert means == pytest.approx([lr, dim, both])


def test_a_setting_that_is_missing_leaves_out_what_needs_it(tmp_path: Path) -> None:
    """With three of four settings there is one pair for each factor, and that is a row of the comparison."""
    assert found(sweep(tmp_path, without=(1, 1))) == {}


def test_one_factor_has_no_table_of_effects(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, f"a{n}", 1, {LR: str(n)}, {"distill": {"test": 0.1 * n}}) for n in range(3)]
    assert found(runs) == {}
    assert len(comparison_tables(compare_runs(runs))) == 1


def test_tables_and_rows_say_them(tmp_path: Path) -> None:
    comparison = compare_runs(sweep(tmp_path))
    table = comparison_tables(comparison)[-1]
    assert table.title == "nDCG@10: what each factor changes, averaged over the others"
    assert [row[0].strip() for row in table.rows[1:]] == list(found(sweep(tmp_path / "again")))
    columns, *rows = comparison_rows(comparison)
    effects = [
        row for row in (dict(zip(columns, each, strict=True)) for each in rows) if row["source"] == "effect"
    ]
    assert [row["label"] for row in effects] == [
        "lr 0.2 against 0.1",
        "dim 64 against 32",
        "lr 0.2 with dim 64",
    ]
    assert all(row["p_holm"] is not None and row["difference_low"] is not None for row in effects)
