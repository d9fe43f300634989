"""Rows on disk: read as written, and refused where they do not belong together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.records.records import read_records
from colbert_lab.studies.rows import read_rows, whole_rows, with_run, write_rows
from colbert_lab.studies.study import Study
from colbert_lab.studies.study_runs import PER_QUERY, RESULTS, RUNS, StudyRun
from tests.studies.made_up import GAINS, made_run, made_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return made_study(tmp_path / "001_rows")


def test_rows_are_read_as_written(study: Study) -> None:
    runs = read_rows(study)
    assert [(run.cell, run.seed) for run in runs] == [
        (cell, seed) for cell in study.cells for seed in study.seeds_of(cell)
    ]
    expected = made_run(study, "two", 2, GAINS["two"])
    found = next(run for run in runs if (run.cell, run.seed) == ("two", 2))
    assert found.phases == ("supervised", "distill")
    assert found.query_ids == expected.query_ids
    assert found.facts == expected.facts
    for key, values in expected.values.items():
        assert np.abs(found.values[key] - values).max() <= 1e-6
    text = {name: (study.folder / name).read_bytes() for name in (RESULTS, RUNS, PER_QUERY)}
    write_rows(study, reversed(runs))
    assert {name: (study.folder / name).read_bytes() for name in text} == text
    records = read_records(study.folder / RESULTS)
    assert {record.extra["cell"] for record in records} == set(study.cells)


def test_a_run_takes_the_place_of_an_older_one(study: Study) -> None:
    new = replace(made_run(study, "one", 2, GAINS["one"]), run_id="new")
    runs = with_run(read_rows(study), new)
    assert len(runs) == 10
    assert [run.run_id for run in runs if (run.cell, run.seed) == ("one", 2)] == ["new"]


def test_no_rows_are_no_error(tmp_path: Path) -> None:
    assert read_rows(made_study(tmp_path / "none", seeds=())) == []


def _cut(folder: Path) -> None:
    path = folder / RESULTS
    path.write_text(path.read_text()[:-40])


def _lost(folder: Path) -> None:
    lines = (folder / PER_QUERY).read_text().splitlines(keepends=True)
    (folder / PER_QUERY).write_text("".join(line for line in lines if '"0000000000-s1"' not in line))


def _other_value(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / PER_QUERY).read_text().splitlines()]
    lines[1]["values"][0] += 0.01
    (folder / PER_QUERY).write_text("".join(json.dumps(line) + "\n" for line in lines))


def _other_cell(folder: Path) -> None:
    path = folder / RUNS
    path.write_text(path.read_text().replace('"cell": "look"', '"cell": "gone"'))


def _twice(folder: Path) -> None:
    path = folder / RUNS
    path.write_text(path.read_text().replace('"cell": "two", "seed": 3', '"cell": "two", "seed": 2'))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_cut, r"results\.jsonl, line \d+: no whole row"),
        (_lost, r"run 0000000000-s1 is not in all of runs\.jsonl, results\.jsonl and per_query\.jsonl"),
        (
            _other_value,
            r"per_query\.jsonl: the values of run 0000000000-s1, bm25 baselines exact, are not those",
        ),
        (_other_cell, r"runs\.jsonl: run 0000000003-s1 is of the cell gone, which the study does not have"),
        (_twice, r"runs 0000000001-s2 and 0000000001-s3 are both two, seed 2"),
    ],
)
def test_damage_is_named(study: Study, harm: Callable[[Path], None], said: str) -> None:
    harm(study.folder)
    with pytest.raises(InputError, match=said):
        read_rows(study)


def test_rows_of_another_text_or_protocol_are_refused(study: Study) -> None:
    runs = read_rows(study)
    write_rows(study, with_run(runs, made_run(study, "two", 3, GAINS["two"], fingerprint="other")))
    with pytest.raises(
        InputError, match=r"two, seed 3 .* another text \(split fingerprint\) than one, seed 1"
    ):
        read_rows(study)
    write_rows(study, with_run(runs, made_run(study, "two", 3, GAINS["two"], depth=10)))
    with pytest.raises(InputError, match=r'another protocol of the split than .*"depth": 10.*"depth": 100'):
        read_rows(study)


def test_queries_in_another_order_are_put_in_the_order_of_the_others(study: Study) -> None:
    runs = read_rows(study)
    mine = runs[4]
    turned = replace(
        mine, query_ids=mine.query_ids[::-1], values={key: each[::-1] for key, each in mine.values.items()}
    )
    text = (study.folder / PER_QUERY).read_bytes()
    write_rows(study, with_run(runs, turned))
    assert (study.folder / PER_QUERY).read_bytes() == text
    with pytest.raises(InputError, match=f"run {mine.run_id}: has other queries than"):
        write_rows(study, with_run(runs, replace(mine, query_ids=("another", *mine.query_ids[1:]))))
    assert (study.folder / PER_QUERY).read_bytes() == text


def test_rows_of_other_settings_are_refused_until_they_are_replaced(study: Study) -> None:
    changed = replace(study, fixed=("+experiment=colbert_zero", "phases.distill.steps=60"))
    with pytest.raises(
        InputError, match=r"one, seed 1 .* no phases.distill.steps, and the study has phases.distill.steps=60"
    ):
        read_rows(changed)
    for run in whole_rows(changed):
        write_rows(
            changed, with_run(whole_rows(changed), made_run(changed, run.cell, run.seed, GAINS[run.cell]))
        )
    assert len(read_rows(changed)) == 10
    with pytest.raises(InputError, match=r"phases.distill.steps=60, and the study has no such setting"):
        read_rows(study)


def test_a_measure_of_ones_own_has_a_protocol_of_its_own(study: Study) -> None:
    def with_own(run: StudyRun, protocol: str) -> StudyRun:
        own = (replace(record, measure="rbp@5", protocol_hash=protocol) for record in run.records)
        return replace(run, records=(*run.records, *own))

    runs = [with_own(run, "of rbp") for run in read_rows(study)]
    write_rows(study, runs)
    assert len(read_rows(study)) == len(runs)
    mine = read_rows(study)[4]
    ours = tuple(record for record in mine.records if record.measure != "rbp@5")
    write_rows(study, with_run(runs, with_own(replace(mine, records=ours), "of another rbp")))
    with pytest.raises(InputError, match=rf"{mine.cell}, seed {mine.seed} .* was searched by other rules"):
        read_rows(study)


def test_seeds_of_a_cell_searched_by_other_rules_are_refused(study: Study) -> None:
    runs = read_rows(study)
    mine = runs[4]
    other = tuple(replace(record, protocol_hash="other") for record in mine.records)
    write_rows(study, with_run(runs, replace(mine, records=other)))
    with pytest.raises(
        InputError, match=rf"{mine.cell}, seed {mine.seed} .* was searched by other rules \(exact\)"
    ):
        read_rows(study)


@pytest.mark.parametrize("name", [RESULTS, RUNS, PER_QUERY])
def test_what_a_kill_between_the_files_left_can_be_collected_again(study: Study, name: str) -> None:
    runs = read_rows(study)
    path = study.folder / name
    kept = [line for line in path.read_text().splitlines(keepends=True) if '"0000000001-s2"' not in line]
    path.write_text("".join(kept))
    with pytest.raises(InputError, match=r"0000000001-s2 is not in all of"):
        read_rows(study)
    write_rows(study, with_run(whole_rows(study), made_run(study, "two", 2, GAINS["two"])))
    assert [run.run_id for run in read_rows(study)] == [run.run_id for run in runs]


def test_a_run_whose_values_are_damaged_can_be_collected_again(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    _other_value(study.folder)
    with pytest.raises(InputError, match="are not those"):
        read_rows(study)
    whole = whole_rows(study)
    assert len(whole) == 9
    assert "the values of run 0000000000-s1" in caplog.text
    write_rows(study, with_run(whole, made_run(study, "one", 1, GAINS["one"])))
    assert len(read_rows(study)) == 10


def test_two_cells_of_one_run_are_refused(study: Study) -> None:
    path = study.folder / RUNS
    path.write_text(path.read_text().replace("0000000001-s1", "0000000000-s1"))
    with pytest.raises(InputError, match=r"run 0000000000-s1 is there twice \(one and two\)"):
        read_rows(study)


@pytest.mark.parametrize("text", [b'{"run_id": "x"}\n', b"\xff\xfe\n"])
def test_lines_that_are_no_rows_are_named(study: Study, text: bytes) -> None:
    with (study.folder / PER_QUERY).open("ab") as file:
        file.write(text)
    with pytest.raises(InputError, match=r"per_query\.jsonl, line \d+: no whole row"):
        read_rows(study)


def test_another_measure_is_refused(study: Study) -> None:
    with pytest.raises(InputError, match=r"has ndcg@10, and the study is of mrr@10"):
        read_rows(replace(study, measure="mrr@10"))
