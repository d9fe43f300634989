"""The decision rule, on rows with known values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colbert_lab.analysis.compare import compare_runs
from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.significance import Paired, bootstrap_interval, holm, randomisation_p
from colbert_lab.studies.answer import claims_table
from colbert_lab.studies.evidence import FAILS, HOLDS, OPEN, Finding, findings, value_of, verdict
from colbert_lab.studies.rows import read_rows, write_rows
from colbert_lab.studies.study import Claim, Term
from colbert_lab.studies.study_runs import Key, StudyRun
from tests.records.run_folders import MEASURE, write_run
from tests.studies.made_up import BASE, made_run, made_study

ONE = Paired(0.1, 0.1, 0.1, 1, 1.0, 1.0, float("nan"))


def finding(
    expect: str, low: float, mean: float, high: float, p: float, *seeds: float, missing: str = ""
) -> Finding:
    claim = Claim("", {Term("a"): 1.0, Term("b"): -1.0}, expect, 0.01)
    by_seed = dict(enumerate(seeds or (mean, mean)))
    return Finding(claim, Paired(mean, low, high, 100, p, p, 0.01), by_seed, missing=missing)


def judged(expect: str, low: float, mean: float, high: float, p: float, *seeds: float) -> str:
    return finding(expect, low, mean, high, p, *seeds).verdict


@pytest.mark.parametrize(
    ("expect", "low", "mean", "high", "p", "said"),
    [
        ("higher", 0.005, 0.02, 0.03, 0.01, HOLDS),
        ("higher", 0.001, 0.004, 0.007, 0.01, HOLDS),
        ("higher", -0.03, -0.02, -0.01, 0.01, FAILS),
        ("higher", -0.005, 0.001, 0.009, 0.7, FAILS),  # not as much as counts
        ("higher", -0.005, 0.01, 0.03, 0.2, OPEN),
        ("higher", 0.001, 0.01, 0.03, 0.06, OPEN),  # corrected p decides, not the interval
        ("lower", -0.03, -0.02, -0.005, 0.01, HOLDS),
        ("lower", -0.009, -0.001, 0.005, 0.7, FAILS),
        ("lower", 0.01, 0.02, 0.03, 0.01, FAILS),
        ("lower", -0.03, -0.01, 0.005, 0.2, OPEN),
        ("alike", -0.004, 0.003, 0.009, 0.4, HOLDS),
        ("alike", 0.002, 0.005, 0.009, 0.01, HOLDS),
        ("alike", 0.005, 0.02, 0.03, 0.01, FAILS),
        ("alike", -0.03, -0.02, -0.005, 0.01, FAILS),
        ("alike", -0.005, 0.008, 0.02, 0.4, OPEN),
        ("alike", 0.002, 0.008, 0.02, 0.01, OPEN),
    ],
)
def test_a_verdict_follows_from_the_numbers(
    expect: str, low: float, mean: float, high: float, p: float, said: str
) -> None:
    assert judged(expect, low, mean, high, p) == said


def test_a_verdict_says_what_the_margin_has_to_do_with_it() -> None:
    assert finding("higher", 0.005, 0.02, 0.03, 0.01).told == HOLDS
    assert finding("higher", 0.001, 0.004, 0.007, 0.01).told == f"{HOLDS} (by less than 0.01)"
    assert finding("higher", 0.001, 0.004, 0.007, 0.01, 0.004, 0.012).told == HOLDS  # a seed reaches it
    assert finding("lower", -0.007, -0.004, -0.001, 0.01).told == f"{HOLDS} (by less than 0.01)"
    assert finding("higher", -0.03, -0.02, -0.01, 0.01).told == f"{FAILS} (the opposite does)"
    assert finding("lower", 0.01, 0.02, 0.03, 0.01).told == f"{FAILS} (the opposite does)"
    assert finding("higher", -0.005, 0.001, 0.009, 0.7).told == f"{FAILS} (less than 0.01)"
    assert finding("alike", -0.004, 0.003, 0.009, 0.4).told == f"{HOLDS} (within 0.01)"
    assert finding("alike", 0.005, 0.02, 0.03, 0.01).told == f"{FAILS} (beyond 0.01)"
    assert finding("higher", -0.005, 0.01, 0.03, 0.2).told == OPEN
    assert (
        finding("higher", 0.005, 0.02, 0.03, 0.01, missing="without seed 3").told
        == f"{OPEN} (without seed 3)"
    )


def test_seeds_that_disagree_make_no_difference_significant() -> None:
    assert judged("higher", 0.005, 0.02, 0.03, 0.01, 0.05, -0.001) == OPEN
    assert judged("higher", 0.005, 0.02, 0.03, 0.01, 0.05, 0.001) == HOLDS
    assert judged("higher", 0.005, 0.02, 0.03, 0.01, 0.05, 0.0) == OPEN


def test_seeds_that_disagree_make_nothing_alike_or_too_small() -> None:
    assert judged("alike", -0.004, 0.001, 0.006, 0.9, 0.03, -0.03, 0.003) == OPEN
    assert judged("alike", -0.004, 0.001, 0.006, 0.9, 0.009, -0.007, 0.001) == HOLDS
    assert judged("higher", -0.005, 0.001, 0.007, 0.9, 0.02, -0.018) == OPEN
    assert judged("lower", -0.007, -0.001, 0.005, 0.9, -0.02, 0.018) == OPEN
    assert judged("higher", -0.005, 0.001, 0.007, 0.9, 0.004, -0.002) == FAILS


def test_claims_without_rows_count_in_the_correction(tmp_path: Path) -> None:
    study = made_study(tmp_path / "001_part")
    whole = read_rows(study)
    part = [run for run in whole if run.cell != "again"]
    (first, missing), (both, _) = findings(study, part), findings(study, whole)
    assert missing.interval is None
    assert first.interval is not None
    assert both.interval is not None
    assert first.interval.p == both.interval.p
    assert first.interval.p_holm == pytest.approx(holm([first.interval.p, 1.0])[0])


def test_a_phase_that_no_run_has_is_an_error(tmp_path: Path) -> None:
    study = made_study(tmp_path / "001_phase")
    claim = Claim("x", {Term("two", "distil"): 1.0, Term("one"): -1.0}, "higher", 0.01)
    with pytest.raises(
        InputError, match=r"two/distil: the runs of two do not have it, but bm25@exact, before@exact"
    ):
        findings(replace(study, claims=(claim,)), read_rows(study))


def _mean_of(runs: Sequence[StudyRun], cell: str) -> np.ndarray:
    found = [run.values[Key("student", "distill")] for run in runs if run.cell == cell]
    mean: np.ndarray = np.mean(found, axis=0)
    return mean


def test_numbers_are_those_of_the_values(tmp_path: Path) -> None:
    study = made_study(tmp_path / "001_numbers")
    runs = read_rows(study)
    higher, alike = found = findings(study, runs)
    one, two, again = (_mean_of(runs, cell) for cell in ("one", "two", "again"))
    expected = bootstrap_interval(two - one)
    assert higher.interval is not None
    i = higher.interval
    assert (i.mean, i.low, i.high) == pytest.approx((expected.mean, expected.low, expected.high))
    assert expected.mean == pytest.approx(0.03, abs=1e-6)
    p = [randomisation_p(two - one), randomisation_p(again - two)]
    assert [each.interval.p for each in found if each.interval] == pytest.approx(p)
    assert [each.interval.p_holm for each in found if each.interval] == pytest.approx(holm(p))
    assert higher.by_seed == pytest.approx({1: 0.03, 2: 0.03, 3: 0.03}, abs=1e-5)
    assert (higher.verdict, alike.verdict) == (HOLDS, HOLDS)
    assert verdict(found) == "Of 2 claims, 2 hold (1, 2)."


def test_they_are_those_of_task_compare(tmp_path: Path) -> None:
    """The same runs, through folders and ``compare_runs``, and through rows."""
    gains = {"aa": [0.01 * n for n in range(8)], "bb": [0.02 * (n % 3) for n in range(8)]}
    folders = [
        write_run(tmp_path, config, seed, {"n": config}, {"distill": {"test": np.array(gain) * seed}})
        for config, gain in gains.items()
        for seed in (1, 2)
    ]
    compared = compare_runs(folders, measures=[MEASURE], splits=["test"])
    ((_, row),) = compared.compared.values()
    study = made_study(tmp_path / "rows", seeds=())
    runs = []
    for cell, config in (("one", "aa"), ("two", "bb")):
        for seed in (1, 2):
            run = made_run(study, cell, seed, {"distill": 0.0})
            values = {
                key: np.array([0.1 * n for n in range(8)]) + np.array(gains[config]) * seed
                for key in run.values
            }
            runs.append(replace(run, values=values))
    mine = findings(replace(study, claims=study.claims[:1]), runs)[0]
    assert mine.interval is not None
    assert row.difference is not None
    assert (mine.interval.mean, mine.interval.low) == pytest.approx((row.difference.mean, row.difference.low))
    assert mine.interval.p == pytest.approx(row.p)
    assert mine.interval.p_holm == pytest.approx(row.p_holm)
    assert mine.interval.detectable == pytest.approx(row.detectable)


def test_weights_phases_and_baselines_are_terms(tmp_path: Path) -> None:
    claims: list[dict[str, Any]] = [
        {"claim": "x", "weights": {"two": 0.5, "again": 0.5, "one": -1}, "expect": "higher", "margin": 0.01},
        {
            "claim": "y",
            "weights": {"two/supervised": 1, "two/before": -1},
            "expect": "higher",
            "margin": 0.001,
        },
        {"claim": "z", "weights": {"one": 1, "one/bm25": -1}, "expect": "higher", "margin": 0.01},
    ]
    study = made_study(tmp_path / "terms", claims=claims)
    found = findings(study, read_rows(study))
    means = [each.interval.mean for each in found if each.interval]
    assert means == pytest.approx([0.0305, 0.01, 0.12], abs=1e-5)
    before = value_of(read_rows(study), Term("two", "before"))
    assert before is not None
    assert before.mean == pytest.approx(BASE.mean())


def test_without_rows_nothing_is_said(tmp_path: Path) -> None:
    study = made_study(tmp_path / "none", seeds=())
    found = findings(study, read_rows(study))
    assert [each.verdict for each in found] == [OPEN, OPEN]
    assert "no rows of two, one" in found[0].missing
    assert verdict(found) == "No verdict yet: none of the 2 claims has the rows that it needs."


def test_seeds_that_one_cell_lacks_are_left_out_and_named(tmp_path: Path) -> None:
    study = made_study(tmp_path / "some")
    runs = [run for run in read_rows(study) if (run.cell, run.seed) != ("one", 3)]
    write_rows(study, runs)
    found = findings(study, read_rows(study))
    assert (found[0].missing, found[0].verdict) == ("without seed 3", OPEN)
    assert found[0].significant
    assert set(found[0].by_seed or {}) == {1, 2}
    assert set(found[1].by_seed or {}) == {1, 2, 3}


def test_a_seed_without_a_phase_is_an_error(tmp_path: Path) -> None:
    study = made_study(tmp_path / "phase")
    runs = read_rows(study)
    runs[0] = made_run(study, "one", 1, {"other": 0.1})
    with pytest.raises(InputError, match=r"one/distill: run .*-s1 \(seed 1\) does not have it"):
        value_of(runs, Term("one", "distill"))


def test_what_one_query_could_have_found_is_not_known(tmp_path: Path) -> None:
    study = made_study(tmp_path / "001_one")
    (row,) = claims_table(study, [replace(finding("higher", 0.1, 0.1, 0.1, 1.0), interval=ONE)]).rows
    assert row[-2] == "-"
