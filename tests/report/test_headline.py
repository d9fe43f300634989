"""The number that a page of runs opens with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from colbert_lab.records.records import append_records, read_records, rewrite_records
from colbert_lab.report.headline import headline
from tests.records.run_folders import BASE, write_run
from tests.report.support import a_sweep, compared, one_run


def test_a_run_alone_is_compared_with_itself_untrained(tmp_path: Path) -> None:
    comparison = compared(one_run(tmp_path))
    found = headline(comparison)
    assert (found.place.split, found.place.measure, found.reference.row.phase) == (
        "test",
        "ndcg@10",
        "before",
    )
    assert found.subject is not None
    assert found.subject.row.phase == "distill"
    (same,) = [each for each in comparison.compared[found.place] if each.row.phase == "distill"]
    assert same.difference is not None
    i = same.difference
    assert found.sentence == (
        "Training shows no clear change of nDCG@10 on test: from 0.3500 to 0.4500, +0.1000 "
        f"[{i.low:+.4f}, {i.high:+.4f}] (95% interval; p {i.p_holm:.4f}; 8 queries)."
    )
    assert found.chosen == ""
    assert {each.row.system for each in found.rows} == {"student", "bm25"}


def test_of_several_the_best_on_dev_is_told_and_not_the_best_on_test(tmp_path: Path) -> None:
    found = headline(compared(*a_sweep(tmp_path)))
    assert found.subject is not None
    assert found.subject.row.label == "f0=1, f1=0"
    assert (
        max(found.rows, key=lambda each: each.row.value * (each.row.system == "student")).row.label
        == "f0=1, f1=1"
    )
    assert found.chosen == "f0=1, f1=0 is the best of 4 configurations by nDCG@10 on dev."
    assert found.sentence.startswith(
        "f0=1, f1=0 has a higher nDCG@10 on test than f0=0, f1=0: 0.4150 and 0.3650, +0.0500 [+0.0500, +0.0500]"
    )
    assert found.sentence.endswith("8 queries, 2 seeds).")


def test_where_the_reference_is_the_best_the_next_one_is_told(tmp_path: Path) -> None:
    runs = a_sweep(tmp_path)
    found = headline(compared(*runs[2:4], *runs[:2], *runs[4:]))
    assert found.reference.row.label == "f0=1, f1=0"
    assert found.subject is not None
    assert "is the best after the reference of 4 configurations" in found.chosen
    found = headline(compared(*runs[:2], *runs[4:6], *runs[6:]))  # all the same on dev
    assert "is with the reference the best of 3 configurations by nDCG@10 on dev" in found.chosen


def test_without_a_dev_split_the_choice_is_said_to_flatter(tmp_path: Path) -> None:
    for number in range(3):
        write_run(
            tmp_path, f"a{number}", 1, {"n": str(number)}, {"distill": {"test": 0.1 * number}}, time=number
        )
    found = headline(compared(tmp_path / "study"))
    assert found.chosen == (
        "n=2 is the best of 3 configurations by nDCG@10 on test, on which its number below is a little flattered."
    )


def test_two_runs_are_compared_without_a_choice(tmp_path: Path) -> None:
    a = write_run(tmp_path, "aa", 1, {"n": "1"}, {"distill": {"test": 0.1}})
    b = write_run(tmp_path, "bb", 1, {"n": "2"}, {"distill": {"test": 0.1}})
    found = headline(compared(a, b))
    assert found.sentence.startswith(
        "n=2 and n=1 differ in no query's nDCG@10 on test: 0.4500 and 0.4500, +0.0000"
    )
    assert found.chosen == ""


def test_before_the_first_phase_is_measured_it_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path, "aa", 1, {}, {"distill": {"test": 0.1}})
    records = [record for record in read_records(run / "results.jsonl") if record.phase != "distill"]
    rewrite_records(run / "results.jsonl", records)
    found = headline(compared(run))
    assert found.subject is None
    assert found.sentence.endswith("; no phase is measured yet.")


@pytest.mark.parametrize("names", [{"evaluate"}, {"evaluate", "bm25"}])
def test_a_student_that_was_measured_alone_stands_beside_a_baseline(tmp_path: Path, names: set[str]) -> None:
    run = write_run(tmp_path, "aa", 1, {}, {"evaluate": {"test": 0.1}})
    kept = [r for r in read_records(run / "results.jsonl") if r.phase in names or r.system in names]
    rewrite_records(run / "results.jsonl", kept)
    found = headline(compared(run))
    if "bm25" in names:
        assert found.sentence == (
            "study and bm25 show no clear difference in nDCG@10 on test: 0.4500 and 0.9000, -0.4500, "
            "which is not tested."
        )
    else:
        assert found.sentence.endswith("; nothing stands beside it.")


def test_a_mean_of_splits_comes_before_its_members(tmp_path: Path) -> None:
    run = write_run(tmp_path, "aa", 1, {}, {"distill": {"a": 0.1, "b": 0.2}})
    (run / "splits.json").write_text(json.dumps({"all": {"split": "mean", "mean_of": {"a": 0.5, "b": 0.5}}}))
    records = [r for r in read_records(run / "results.jsonl") if (r.system, r.split) == ("student", "a")]
    mean = float(BASE.mean())
    append_records(
        run / "results.jsonl",
        [replace(r, split="all", value=mean + 0.15 * (r.phase == "distill"), n_queries=16) for r in records],
    )
    found = headline(compared(run))
    assert found.place.split == "all"
    assert "from 0.3500 to 0.5000, +0.1500" in found.sentence
