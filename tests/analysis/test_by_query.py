"""Each query before and after a phase."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from colbert_lab.analysis import by_query
from colbert_lab.analysis.by_query import query_table
from colbert_lab.records.rankings import ranking_path
from colbert_lab.records.records import read_records
from tests.records.run_folders import BASE, QUERIES, write_run

GAIN = np.zeros(len(QUERIES))
GAIN[2], GAIN[5] = -0.3, 0.1


def test_the_largest_changes_stand_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path, "aa", 1, {}, {"distill": {"test": GAIN, "dev": 0.0}})
    table = query_table(run, "distill", read_records(run / "results.jsonl"))
    assert table is not None
    assert table.columns == ("split", "query", "text", "before training", "after distill", "change")
    mine = [row for row in table.rows if row[0] == "test"]
    assert [row[1] for row in mine[:2]] == [QUERIES[2], QUERIES[5]]
    assert mine[0][3:] == (f"{BASE[2]:.4f}", f"{BASE[2] - 0.3:.4f}", "-0.3000")
    assert len(table.rows) == 2 * len(QUERIES)
    monkeypatch.setattr(by_query, "MOST", 3)
    few = query_table(run, "distill", read_records(run / "results.jsonl"))
    assert few is not None
    assert len(few.rows) == 6


def test_without_a_start_there_is_no_change_and_without_rankings_no_table(tmp_path: Path) -> None:
    run = write_run(tmp_path, "aa", 1, {}, {"distill": {"test": GAIN}})
    records = [r for r in read_records(run / "results.jsonl") if r.phase != "before"]
    ranking_path(run, "student", "before", "test").unlink()
    table = query_table(run, "distill", records)
    assert table is not None
    assert {row[3] for row in table.rows} == {"-"}
    ranking_path(run, "student", "distill", "test").unlink()
    assert query_table(run, "distill", records) is None
    assert query_table(run, "supervised", records) is None
