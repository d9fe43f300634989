"""Published numbers set beside measured ones, and the differences that are spelled out."""

import json
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.analysis.compare import compare_runs
from colbert_lab.analysis.compare_table import comparison_csv, comparison_tables
from colbert_lab.analysis.published_rows import set_beside
from colbert_lab.base.errors import InputError
from colbert_lab.records.records import read_records, rewrite_records
from tests.records.run_folders import write_run

TOKENS: dict[str, Any] = {
    "query_length": 32, "document_length": 519, "query_prompt": "", "document_prompt": "search_document: ",
    "expansion": "none",
}  # fmt: skip


def scifact(tmp_path: Path, dataset: str = "scifact", part: str = "test") -> Path:
    """A run that measured a collection of this name, with a saved student."""
    path = write_run(tmp_path, "aa", 1, {}, {"distill": {"test": 0.1, "dev": 0.1}})
    records = [r.to_dict() | {"dataset": dataset} for r in read_records(path / "results.jsonl")]
    first = read_records(path / "results.jsonl")[0]
    rewrite_records(path / "results.jsonl", [first.from_dict(record) for record in records])
    (path / "splits.json").write_text(
        json.dumps({"test": {"split": part, "documents": 5183}, "dev": {"split": "dev", "documents": 5183}})
    )
    (path / "distill" / "student").mkdir()
    (path / "distill" / "student" / "colbert_lab.json").write_text(json.dumps({"tokens": TOKENS}))
    return path


def test_the_rows_of_the_measured_split_stand_beside_it(tmp_path: Path) -> None:
    comparison = compare_runs([scifact(tmp_path)])
    (beside,) = set_beside(["colbert_zero_beir"], comparison)
    assert {place.split for place in beside.values} == {"test"}  # never the dev split
    (values,) = beside.values.values()
    assert len(values) == 13
    assert {value.split for value in values} == {"SciFact"}
    (table,) = comparison_tables(comparison, [beside])
    rows = {row[0].strip(): row for row in table.rows}
    assert rows["ColBERT-Zero distilled"][1:] == ("0.7650", "published 1", "-", "-", "-", "-")
    line = next(
        line for line in comparison_csv(comparison, [beside]).splitlines() if "Zero distilled" in line
    )
    assert line.startswith("colbert_zero_beir,scifact,test,")
    assert ",0.765," in line


def test_the_differences_of_the_protocols_are_spelled_out(tmp_path: Path) -> None:
    (beside,) = set_beside(["colbert_zero_beir"], compare_runs([scifact(tmp_path)]))
    notes = " ".join(beside.notes)
    assert "Made with query length 39, document length 519, query prompt 'search_query: '" in notes
    assert "scifact, test: 8 queries, 5,183 documents" in notes
    assert (
        "measured with query length 32, document length 519, no query prompt, document prompt 'search_document: ', "
        "exact search; other than published: query length 32 (published query length 39), no query prompt "
        "(published query prompt 'search_query: ')."
    ) in notes
    assert "PLAID" in notes
    (muvera,) = set_beside(["colbert_muvera_encoding"], compare_runs([tmp_path / "study"]))
    assert "exact search (published muvera search)" in muvera.notes[-1]


def test_lengths_come_from_the_config_when_there_is_no_student(tmp_path: Path) -> None:
    path = scifact(tmp_path)
    folder = path / "distill" / "student"
    other = tmp_path / "elsewhere"
    folder.rename(other)
    config = (
        "student: {query_length: 39, document_length: 519, checkpoint: null}\n"
        "prompts: {query: 'search_query: ', document: 'search_document: '}\n"
    )
    (path / "config.yaml").write_text(config)
    (beside,) = set_beside(["colbert_zero_beir"], compare_runs([path]))
    assert beside.notes[-1].endswith("no setting that is known differs.")
    (path / "config.yaml").write_text(config.replace("checkpoint: null", f"checkpoint: {other}"))
    (beside,) = set_beside(["colbert_zero_beir"], compare_runs([path]))
    assert "query length 32 (published query length 39)" in beside.notes[-1]
    (path / "config.yaml").unlink()
    (beside,) = set_beside(["colbert_zero_beir"], compare_runs([path]))
    assert beside.notes[-1] == "study: exact search; its lengths and prompts are in its config.yaml."


@pytest.mark.parametrize(
    ("dataset", "part", "split"),
    [
        ("BeIR/scifact", "test", "SciFact"),
        ("TREC_Covid", "test", "TREC-COVID"),
        ("webis-touche2020", "test", "Touche"),
        ("msmarco", "dev", "MSMARCO"),
    ],
)
def test_splits_are_found_by_any_spelling(tmp_path: Path, dataset: str, part: str, split: str) -> None:
    (beside,) = set_beside(
        ["colbert_zero_beir"], compare_runs([scifact(tmp_path, dataset, part)], splits=["test"])
    )
    assert {value.split for values in beside.values.values() for value in values} == {split}


@pytest.mark.parametrize(("dataset", "part"), [("medquad", "test"), ("scifact", "dev"), ("msmarco", "test")])
def test_a_table_that_has_nothing_in_common_is_refused(tmp_path: Path, dataset: str, part: str) -> None:
    with pytest.raises(
        InputError, match=r"compare.published: nothing of colbert_zero_beir was measured; it has ndcg"
    ):
        set_beside(["colbert_zero_beir"], compare_runs([scifact(tmp_path, dataset, part)], splits=["test"]))
