"""A run that is made once more beside its rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.records.rankings import ranking_path, write_ranking
from colbert_lab.records.records import read_records, rewrite_records
from colbert_lab.records.run_files import add_protocol
from colbert_lab.studies.collecting import Check, check_table, collect
from colbert_lab.studies.reading import read_study
from colbert_lab.studies.study_runs import StudyRun, without_folders
from tests.records.run_folders import BASE, QUERIES, write_run
from tests.studies.made_up import GAINS, made_run, write_study

OWN = {"own_measure": {"_target_": "my_rbp.RankBiased", "persistence": 0.5}}
EMPTY = Ranking(list(QUERIES), [[] for _ in QUERIES], [[] for _ in QUERIES])


def two(tmp_path: Path, added: float = 0.0) -> Check:
    """A run, and one that is better by so much after distillation."""
    study = read_study(write_study(tmp_path / "001_x"))
    row = made_run(study, "one", 2, GAINS["one"])
    records = [replace(r, value=r.value + added * (r.phase == "distill")) for r in row.records]
    return Check(row, replace(row, records=tuple(records)))


def test_the_same_numbers_came_out_again(tmp_path: Path) -> None:
    check = two(tmp_path)
    assert (check.others, check.made_otherwise) == ([], {})
    assert check.verdict == "one, seed 2: all 3 numbers came out again"
    table = check_table(read_study(tmp_path / "001_x"), check)
    assert [row[-1] for row in table.rows] == ["same"] * 3


def test_another_number_is_named_with_its_difference(tmp_path: Path) -> None:
    check = two(tmp_path, -0.0004)
    assert [(key.system, key.phase) for key, _ in check.others] == [("student", "distill")]
    assert check.verdict.endswith("1 of 3 numbers did not come out again; the largest difference is 0.0004")
    table = check_table(read_study(tmp_path / "001_x"), check)
    assert [row[-1] for row in table.rows] == ["same", "same", "-0.000400"]


def test_a_difference_of_one_rank_counts(tmp_path: Path) -> None:
    """One relevant document of a thousand queries, from rank 99 to 100 of MRR@100."""
    assert two(tmp_path, (1 / 99 - 1 / 100) / 1000).others


def test_a_number_that_is_missing_did_not_come_out(tmp_path: Path) -> None:
    check = two(tmp_path)
    for less in (
        Check(check.row, replace(check.row, records=check.row.records[:-1])),
        Check(replace(check.row, records=check.row.records[:-1]), check.row),
    ):
        assert less.verdict == "one, seed 2: 1 of 3 numbers did not come out again"
        assert check_table(read_study(tmp_path / "001_x"), less).rows[-1][-1] == "-"


def test_what_they_were_made_with_is_told_where_it_differs(tmp_path: Path) -> None:
    check = two(tmp_path)
    facts = {**check.row.facts, "hardware": "Other CPU", "packages": {"torch": "2.14.0", "numpy": "2.4.6"}}
    other: StudyRun = replace(check.again, facts=facts)
    assert check_table(read_study(tmp_path / "001_x"), Check(check.row, other)).notes == (
        "hardware: Some CPU, 2 cores, 23 GiB in the row, Other CPU now",
        "packages: torch 2.13.0 in the row, 2.14.0 now, numpy - in the row, 2.4.6 now",
    )


@pytest.mark.parametrize(
    ("measure", "rules"), [("ndcg@10", {"depth": 100}), ("rbp@5", {"depth": 100, **OWN})]
)
def test_the_rules_are_those_of_the_measure_of_the_study(
    measure: str, rules: dict[str, object], tmp_path: Path
) -> None:
    """A measure of one's own has a protocol of its own, and may be the last one."""
    folder = write_run(tmp_path, "aa", 1, {}, {"distill": {"test": 0.1}})
    (folder / "environment.json").write_text("{}")
    (folder / "splits.json").write_text("{}")
    records = [
        replace(r, measure=name, protocol_hash=add_protocol(folder, {"mode": "exact", "depth": 100, **own}))
        for name, own in (("ndcg@10", {}), ("rbp@5", OWN))
        for r in read_records(folder / "results.jsonl")
    ]
    rewrite_records(folder / "results.jsonl", records)
    for system, phase in (("bm25", "baselines"), ("student", "before"), ("student", "distill")):
        per_query = PerQuery(QUERIES, {"ndcg@10": BASE, "rbp@5": BASE})
        write_ranking(ranking_path(folder, system, phase, "test"), EMPTY, per_query)
    study = replace(read_study(write_study(tmp_path / "001_x")), measure=measure, split="test")
    cell = study.cells["one"]
    assert collect(study, cell, 1, folder).facts["rules"] == rules


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("/a/b/lists", "lists"),
        ("~/lists", "lists"),
        ("{type:beir,path:/a/b/scifact,split:test}", "{type:beir,path:scifact,split:test}"),
        ("[/a/x.jsonl, '~/b/y.run']", "[x.jsonl, 'y.run']"),
        ("a/b", "a/b"),
        ("[exact,muvera]", "[exact,muvera]"),
        (3, 3),
    ],
)
def test_rows_keep_no_folder_of_a_machine(value: object, kept: object) -> None:
    assert without_folders(value) == kept
    assert without_folders(kept) == kept
