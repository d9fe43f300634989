"""The tables of a run, from a folder as a run leaves it."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from colbert_lab.analysis.tables import print_tables, run_tables, to_markdown
from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.evaluation.significance import bootstrap_interval
from colbert_lab.records.rankings import ranking_path, write_ranking
from colbert_lab.records.records import Record, append_records, read_records, rewrite_records

MEASURES = ("ndcg@10", "mrr@10", "recall@10", "recall@100", "map@100")
SIZES = {"dev": 40, "test": 60}
STUDENTS = ("before", "supervised", "distill")
NAMES = {"bm25": "BM25", "teacher": "a teacher of a rather long name", "dense": "MiniLM", "student": "MiniLM"}


def values_of(system: str, phase: str, split: str, measure: str) -> np.ndarray:
    """Values a query: every student is better than the last, except in recall@100, where all are equal."""
    n = SIZES[split]
    base = np.random.default_rng(MEASURES.index(measure)).beta(0.5, 0.5, n) * 0.7
    if measure == "recall@100":
        return base
    if system != "student":
        return base + 0.01 * len(system)
    noise = np.random.default_rng(STUDENTS.index(phase)).normal(0, 0.02, n)
    return base + 0.05 * STUDENTS.index(phase) + noise


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    systems = [("teacher", "baselines"), ("dense", "baselines"), ("bm25", "baselines")]
    for system, phase in systems + [("student", phase) for phase in STUDENTS]:
        for split, n in SIZES.items():
            values = {measure: values_of(system, phase, split, measure) for measure in MEASURES}
            queries = [f"q{i}" for i in range(n)]
            per_query = PerQuery(tuple(queries), values)
            write_ranking(
                ranking_path(tmp_path, system, phase, split),
                Ranking(queries, [["d"]] * n, [[1.0]] * n),
                per_query,
            )
            record = Record(
                run_id="x-s1",
                system=system,
                system_name=NAMES[system],
                phase=phase,
                dataset="scifact",
                split=split,
                measure="",
                value=0.0,
                n_queries=n,
            )
            append_records(
                tmp_path / "results.jsonl",
                [replace(record, measure=m, value=per_query.mean(m)) for m in MEASURES],
            )
    details = {split: {"split": split, "documents": 5183} for split in SIZES}
    (tmp_path / "splits.json").write_text(json.dumps(details))
    return tmp_path


def printed(run_dir: Path, width: int) -> str:
    text = io.StringIO()
    print_tables(run_tables(run_dir), Console(file=text, width=width))
    return text.getvalue()


def test_order_of_tables_and_rows(run_dir: Path) -> None:
    tables = run_tables(run_dir)
    assert [table.title for table in tables] == [
        "scifact, test: 60 queries, 5,183 documents",
        "scifact, dev: 40 queries, 5,183 documents",
    ]
    assert [row[0] for row in tables[0].rows] == [
        "BM25",
        "dense (MiniLM)",
        "teacher (a teacher of a rather long name)",
        "student before (MiniLM)",
        "after supervised",
        "  supervised vs before",
        "after distill",
        "  distill vs before",
        "  distill vs supervised",
    ]
    assert tables[0].columns == ("system", "nDCG@10", "MRR@10", "Recall@10", "Recall@100", "MAP@100")
    assert all(len(row) == len(tables[0].columns) for row in tables[0].rows)


def test_cells_are_the_intervals_of_the_files(run_dir: Path) -> None:
    rows = {row[0].strip(): row for row in run_tables(run_dir)[0].rows}
    supervised = values_of("student", "supervised", "test", "ndcg@10")
    distill = values_of("student", "distill", "test", "ndcg@10")
    alone = bootstrap_interval(distill)
    assert rows["after distill"][1] == f"{alone.mean:.4f} [{alone.low:.4f}, {alone.high:.4f}]"
    paired = bootstrap_interval(distill - supervised)
    expected = f"{paired.mean:+.4f} [{paired.low:+.4f}, {paired.high:+.4f}] higher"
    assert rows["distill vs supervised"][1] == expected
    assert rows["distill vs before"][4] == "+0.0000 [+0.0000, +0.0000] same"


def test_verdicts(run_dir: Path) -> None:
    verdicts = run_tables(run_dir)[0].verdicts
    assert len(verdicts) == 2
    assert verdicts[0].startswith("distill: nDCG@10 +0.")
    assert verdicts[0].endswith("over before on test (60 queries): higher.")
    assert verdicts[1].startswith("supervised: ")


@pytest.mark.parametrize("shift", [-0.1, 0.0])
def test_lower_and_unclear(run_dir: Path, shift: float) -> None:
    n = SIZES["test"]
    before = values_of("student", "before", "test", "ndcg@10")
    after = before + shift + np.random.default_rng(9).normal(0, 0.05, n) * (1 if shift else 0)
    if shift == 0:
        after = before + np.resize([0.05, -0.05], n)
    queries = [f"q{i}" for i in range(n)]
    path = ranking_path(run_dir, "student", "supervised", "test")
    write_ranking(path, Ranking([], [], []), PerQuery(tuple(queries), {"ndcg@10": after}))
    (record,) = (
        r
        for r in read_records(run_dir / "results.jsonl")
        if (r.phase, r.split, r.measure) == ("supervised", "test", "ndcg@10")
    )
    append_records(run_dir / "results.jsonl", [replace(record, value=float(after.mean()))])  # the last counts
    table = run_tables(run_dir)[0]
    (cell,) = (row[1] for row in table.rows if row[0] == "  supervised vs before")
    assert cell.endswith("] lower" if shift else "] unclear")
    assert ("unclear, no difference is shown" in table.verdicts[1]) == (not shift)


def test_every_number_is_printed_whole(run_dir: Path) -> None:
    for width in (100, 97, 60, 30):
        text = printed(run_dir, width)
        for table in run_tables(run_dir):
            for row in table.rows:
                for cell in row[1:]:
                    value, _, rest = cell.partition(" [")
                    assert value in text
                    assert f"[{rest.partition(']')[0]}]" in text
        assert "…" not in text
        if width >= 60:
            assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert all(word in printed(run_dir, 100) for word in ("rather long", "higher", "same", "95%"))


def test_without_a_terminal_it_is_100_wide(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(run_tables(run_dir))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert any("Recall@100" in line and "nDCG@10" in line for line in text.splitlines())
    assert text.count("95% bootstrap") == 1  # notes that tables share are printed once


def test_markdown(run_dir: Path) -> None:
    text = to_markdown(run_tables(run_dir))
    lines = text.splitlines()
    assert lines[0] == "## scifact, test: 60 queries, 5,183 documents"
    assert "| system | nDCG@10 | MRR@10 | Recall@10 | Recall@100 | MAP@100 |" in lines
    assert {line.count("|") for line in lines if line.startswith("|")} == {7}
    assert text.count("## ") == 2


def test_missing_or_stale_files_are_told(run_dir: Path) -> None:
    ranking_path(run_dir, "student", "supervised", "test").unlink()
    shutil.copy(ranking_path(run_dir, "dense", "", "test"), ranking_path(run_dir, "bm25", "", "test"))
    table = run_tables(run_dir)[0]
    rows = {row[0].strip(): row for row in table.rows}
    assert "[" not in rows["after supervised"][1]
    assert "[" not in rows["BM25"][1]
    assert rows["supervised vs before"][1] == "-"
    assert "[" in rows["distill vs before"][1]
    notes = " ".join(table.notes)
    assert "after supervised: no interval, supervised/rankings/test.parquet is missing" in notes
    assert "BM25: no interval where baselines/rankings/test.bm25.parquet and results.jsonl differ" in notes
    assert "60 queries" in printed(run_dir, 100)


def test_different_protocols_are_told(run_dir: Path) -> None:
    path = run_dir / "results.jsonl"
    records = [replace(r, protocol_hash=r.phase) for r in read_records(path)]
    rewrite_records(path, records)
    assert any("different protocols" in note for note in run_tables(run_dir)[0].notes)


def test_the_order_of_records_does_not_matter(run_dir: Path) -> None:
    """A resumed run can have measured ``before`` last; phases stay in the order of their records."""
    path, records = run_dir / "results.jsonl", read_records(run_dir / "results.jsonl")
    expected = run_tables(run_dir)
    rewrite_records(path, sorted(records, key=lambda record: record.phase in ("before", "baselines")))
    assert run_tables(run_dir) == expected


def test_a_run_that_only_evaluates_and_an_empty_one(run_dir: Path, tmp_path: Path) -> None:
    path = run_dir / "results.jsonl"
    kept = [replace(r, phase="evaluate") for r in read_records(path) if r.phase == "before"]
    rewrite_records(path, kept)
    (run_dir / "splits.json").unlink()
    (run_dir / "before").rename(run_dir / "evaluate")
    tables = run_tables(run_dir)
    assert [table.title for table in tables] == ["scifact, test: 60 queries", "scifact, dev: 40 queries"]
    assert [row[0] for row in tables[0].rows] == ["student (MiniLM)"]
    assert tables[0].verdicts == ()
    assert run_tables(tmp_path / "nothing") == []
    assert to_markdown([]) == ""


def test_phases_that_nobody_measured_are_in_the_order_of_the_schedule(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("schedule: [unsupervised, supervised, distill]\n")
    facts = json.dumps({"steps": 1, "queries": 2, "tokens": 3, "seconds": 4.0})
    for phase in ("distill", "supervised", "unsupervised"):
        (tmp_path / phase).mkdir()
        (tmp_path / phase / "phase.json").write_text(facts)
    (tmp_path / "results.jsonl").write_text("")
    (table,) = run_tables(tmp_path)
    parents = [row[:2] for row in table.rows]
    assert parents == [
        ("unsupervised", "untrained"),
        ("supervised", "unsupervised"),
        ("distill", "supervised"),
    ]
