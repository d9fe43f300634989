"""Other splits than the one that a study's claims are about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from colbert_lab.studies.answer import answer
from colbert_lab.studies.beside import beside_table, values_beside
from colbert_lab.studies.reading import read_study
from colbert_lab.studies.rows import read_rows, write_rows
from tests.studies.made_up import GAINS, made_run, write_study


def test_values_are_those_of_the_last_phase_and_of_baselines(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "001_x", beside=["other"]))
    own = made_run(study, "two", 1, GAINS["two"]).records
    other = [replace(r, split="other", value=r.value / 2) for r in own]
    deeper = [replace(r, measure="recall@10", value=0.9) for r in other]
    found = values_beside(study, [*own, *other, *deeper])
    last = next(r.value for r in own if r.phase == "distill")
    bm25 = next(r.value for r in own if r.system == "bm25")
    assert found == {"other": {"student": last / 2, "bm25": bm25 / 2}}
    assert values_beside(replace(study, beside=()), other) == {}


def test_they_are_kept_and_shown_with_their_spread_over_seeds(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "001_x", beside=["other", "none"]))
    runs = []
    for seed, value in ((1, 0.5), (2, 0.6)):
        run = made_run(study, "two", seed, GAINS["two"])
        beside = {"other": {"student": value, "bm25": 0.3}}
        runs.append(replace(run, facts={**run.facts, "beside": beside}))
    write_rows(study, runs)
    table = beside_table(study, read_rows(study))
    assert table is not None
    shown = {row[0]: row[1:] for row in table.rows}
    assert shown["BM25"] == ("0.3000", "-")
    assert shown["two phases"] == ("0.5500 ± 0.0707", "-")
    assert shown["one phase"] == ("-", "-")
    assert "On other splits, after the last phase" in [each.title for each in answer(study).tables]


def test_without_such_values_there_is_no_table(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "001_x", beside=["other"]))
    assert beside_table(study, [made_run(study, "two", 1, GAINS["two"])]) is None
