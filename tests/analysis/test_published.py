"""The published numbers: read back by hand from the cards, and consistent with themselves."""

from __future__ import annotations

import json
import statistics
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.analysis.compare import compare_runs
from colbert_lab.analysis.compare_table import comparison_csv, comparison_tables
from colbert_lab.analysis.published import PublishedTable, published_table, published_tables, set_beside
from colbert_lab.base.errors import InputError
from colbert_lab.records.records import read_records, rewrite_records
from tests.records.run_folders import write_run

BY_HAND = {
    ("colbert_zero_beir", "ModernBERT-embed-unsupervised", "MSMARCO", "ndcg@10"): 34.23,
    ("colbert_zero_beir", "gte-modernbert-base", "ArguAna", "ndcg@10"): 72.68,
    ("colbert_zero_beir", "ModernColBERT-embed-base-kd-only", "Avg", "ndcg@10"): 54.09,
    ("colbert_zero_beir", "ModernColBERT-embed-base", "Avg", "ndcg@10"): 55.12,
    ("colbert_zero_beir", "ColBERT-Zero distilled", "Avg", "ndcg@10"): 55.43,
    ("colbert_zero_beir", "ColBERT-Zero distilled", "TREC-COVID", "ndcg@10"): 78.69,
    ("colbert_zero_beir", "ColBERT-Zero supervised", "CQADupstack", "ndcg@10"): 45.16,
    ("colbert_zero_beir", "ColBERT-Zero-noprompts distilled", "SciFact", "ndcg@10"): 76.42,
    ("colbert_zero_beir", "ColBERT-Zero-noprompts unsupervised", "FEVER", "ndcg@10"): 81.88,
    ("colbert_zero_nano_beir", "ColBERT-Zero distilled", "NanoBEIR_mean", "ndcg@10"): 0.6813764173010564,
    ("colbert_zero_nano_beir", "ColBERT-Zero distilled", "NanoTouche2020", "accuracy@1"): 0.8163265306122449,
    (
        "colbert_zero_nano_beir",
        "ColBERT-Zero distilled",
        "NanoClimateFEVER",
        "mapmin@100",
    ): 0.35707500469760434,
    ("colbert_zero_nano_beir", "ColBERT-Zero distilled", "NanoDBPedia", "recall@3"): 0.21610834839667603,
    ("colbert_zero_nano_beir_steps", "ColBERT-Zero at step 12000", "NanoBEIR_mean", "ndcg@10"): 0.6865,
    ("colbert_zero_nano_beir_steps", "ColBERT-Zero at step 1500", "NanoTouche2020", "ndcg@10"): 0.6139,
    ("colbert_az_held_out", "ColBERT-AZ", "Legislation", "recall@3"): 0.8433,
    ("colbert_az_held_out", "ColBERT-AZ", "Macro average", "ndcg@10"): 0.8328,
    ("colbert_az_mirage", "ColBERT-AZ", "AZ-MIRAGE", "f1@10"): 0.1464,
    ("colbert_az_mirage", "ColBERT-AZ", "AZ-MIRAGE", "recall@5"): 0.7518,
    ("colbert_az_mirage_comparison", "intfloat/multilingual-e5-large", "AZ-MIRAGE", "mrr@10"): 0.4043,
    ("colbert_muvera_exact", "ColBERT v2", "SciFact", "ndcg@10"): 0.6456,
    ("colbert_muvera_rerank", "ColBERT MUVERA Pico", "SciDocs", "ndcg@10"): 0.1004,
    ("colbert_muvera_encoding", "ColBERT MUVERA Nano", "NFCorpus", "ndcg@10"): 0.2355,
    ("colbert_muvera_nano_beir", "ColBERT MUVERA Nano", "NanoBEIR_mean", "mapmin@100"): 0.4704,
    ("colbert_muvera_nano_climate_fever", "ColBERT MUVERA Nano", "NanoClimateFEVER", "recall@3"): 0.198,
    ("reason_mxbai_bright", "Reason-mxbai-colbert-v0-32m", "Earth Science", "ndcg@10"): 43.88,
    ("reason_mxbai_bright", "Reason-mxbai-colbert-v0-32m", "Theorem — T", "ndcg@10"): 2.25,
    ("reason_mxbai_bright", "Reason-ModernColBERT", "Full mean", "ndcg@10"): 22.62,
}
SIZES = {
    "colbert_zero_beir": 13 * 16, "colbert_zero_nano_beir": 15 * 14, "colbert_zero_nano_beir_steps": 13 * 14,
    "colbert_az_held_out": 16, "colbert_az_mirage": 7, "colbert_az_mirage_comparison": 24,
    "colbert_muvera_exact": 20, "colbert_muvera_rerank": 20, "colbert_muvera_encoding": 20,
    "colbert_muvera_nano_beir": 15, "colbert_muvera_nano_climate_fever": 10, "reason_mxbai_bright": 14,
}  # fmt: skip
AVERAGES_THAT_DIFFER: set[tuple[str, str, str]] = set()
"""(table, system, measure) whose printed average is not the mean of its printed row; none is."""


def test_every_table_is_whole() -> None:
    assert {name: len(table.values) for name, table in published_tables().items()} == SIZES
    for table in published_tables().values():
        keys = [(value.system, value.split, value.measure) for value in table.values]
        assert len(set(keys)) == len(keys)
        assert "model card of " in table.source
        assert all(0 <= value.value <= 1 for value in table.values)


@pytest.mark.parametrize("key", BY_HAND, ids=lambda key: " ".join(key))
def test_values_are_those_of_the_card(key: tuple[str, str, str, str]) -> None:
    (value,) = [v for v in published_table(key[0]).values if (v.system, v.split, v.measure) == key[1:]]
    assert value.printed == BY_HAND[key]
    assert value.value == pytest.approx(BY_HAND[key] / (100 if BY_HAND[key] > 1 else 1), abs=1e-15)


def averages(table: PublishedTable) -> dict[tuple[str, str], tuple[float, list[float]]]:
    """By system and measure: the printed average, and the printed values that it is of."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for value in table.values:
        rows.setdefault((value.system, value.measure), {})[value.split] = value.printed
    given = {key: row.pop(str(table.average)) for key, row in rows.items() if table.average in row}
    return {key: (average, list(rows[key].values())) for key, average in given.items() if rows[key]}


def test_averages_are_the_means_of_their_rows() -> None:
    """To one unit of the last printed digit: half of it for the average, half for the values."""
    checked, differ = 0, set()
    for table in published_tables().values():
        printed = [str(value.printed) for value in table.values]
        unit = 10.0 ** min(int(Decimal(number).as_tuple().exponent) for number in printed)
        for (system, measure), (average, values) in averages(table).items():
            checked += 1
            if abs(statistics.fmean(values) - average) > max(unit, 1e-9):
                differ.add((table.name, system, measure))
    assert checked == 13 + 15 + 13 + 4 + 3 * 5 + 1
    assert differ == AVERAGES_THAT_DIFFER


def test_an_unknown_table_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"compare.published: no table beir; there are .*colbert_zero_beir"):
        published_table("beir")


GOOD = """
small:
  title: a table
  source: a card
  measure: ndcg@10
  rows: system
  columns: split
  scale: 100
  average: Mean
  protocol: {query_length: 32}
  aliases: {A: [other-a]}
  names: [Mean, A, B]
  values:
    one: [20.0, 10.0, 30.0]
    two: [null, 1, 2]
"""


def test_a_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (table,) = published_tables(tmp_path).values()
    assert table.splits == ("Mean", "A", "B")
    assert [(v.system, v.split, v.value) for v in table.values[2:4]] == [
        ("one", "B", 0.3),
        ("two", "A", 0.01),
    ]
    assert table.aliases == {"A": ("other-a",)}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("title: a table", "titel: a table", "unknown keys .*titel"),
        ("  source: a card\n", "", "missing keys .*source"),
        ("columns: split", "columns: system", "rows and columns must be two of"),
        ("  measure: ndcg@10\n", "", "measure must name the one measure"),
        ("measure: ndcg@10", "measure: nDCG", "measure 'nDCG'"),
        ("measure: ndcg@10", "measure: ndcg@10\n  split: A", "vary, and have no one name"),
        ("scale: 100", "scale: 10", "scale must be one of"),
        ("10.0, 30.0", "10.0", "one has 2 values for 3 names"),
        ("30.0]", "130.0]", "one, B: 130.0 is no value"),
        ("30.0]", "'30']", "one, B: '30' is no value"),
        ("average: Mean", "average: Avg", "no split is named 'Avg'"),
        ("{A: [other-a]}", "{C: [c]}", "aliases: no splits are named"),
        ("query_length: 32", "length: 32", "unknown keys of protocol .*length"),
        ("small:", "small: [", "no YAML"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in GOOD
    (tmp_path / "a.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(InputError, match=rf"a\.yaml.*{problem}"):
        published_tables(tmp_path)


def test_two_tables_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    with pytest.raises(InputError, match=r"b\.yaml: the name small is taken"):
        published_tables(tmp_path)


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
