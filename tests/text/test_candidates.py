"""Held-out candidate lists from files and data sets."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.errors import InputError
from colbert_lab.text.candidates import load_candidates
from colbert_lab.text.hub_splits import Layout
from colbert_lab.text.hub_tables import Table
from colbert_lab.text.splits import SplitRequest, load_splits
from tests.hub_copies import write_splits

COLUMNS: Mapping[str, str | None] = {
    "query": "query",
    "positive": "positive?",
    "document": "document?",
    "negatives": "negatives",
    "source": "source?",
}
ROWS: list[dict[str, Any]] = [
    {"query": "one", "positive": "a", "negatives": ["b", "c"], "source": "books"},
    {"query": "two", "positive": "b", "negatives": ["a", "d", "e"], "source": "laws"},
    {"query": "three", "positive": "c", "negatives": ["a", "f"], "source": "books"},
]


def table(path: Path) -> Table:
    return Table(str(path), columns=COLUMNS)


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_every_source_is_a_split_over_its_own_documents(tmp_path: Path) -> None:
    splits = load_candidates("lists", "test", table(jsonl(tmp_path / "lists.jsonl", ROWS)))
    assert list(splits) == ["books", "laws"]
    books = splits["books"]
    assert (books.dataset, books.name) == ("lists books", "test")
    assert list(books.corpus.texts) == ["a", "b", "c", "f"]
    text = dict(zip(books.corpus.ids, books.corpus.texts, strict=True))
    assert books.queries == {"row1": "one", "row3": "three"}
    lists = {query: [text[name] for name in names] for query, names in books.candidates.items()}
    assert lists == {"row1": ["a", "b", "c"], "row3": ["c", "a", "f"]}
    assert {query: [text[d] for d in grades] for query, grades in books.qrels.items()} == {
        "row1": ["a"],
        "row3": ["c"],
    }


def test_file_types_and_data_sets_give_the_same(tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("query", "negatives")} | {"document": row["positive"]} for row in ROWS]
    paths = [jsonl(tmp_path / "a.jsonl", rows), tmp_path / "b.parquet"]
    pq.write_table(pa.Table.from_pylist(rows), paths[1])
    paths.append(write_splits(tmp_path / "c", {"train": rows}))
    marks = set()
    for path in paths:
        (found,) = load_candidates("lists", "test", table(path)).items()
        assert found[0] == ""
        marks.add(found[1].fingerprint)
    assert len(marks) == 1


def test_entries_become_one_split_a_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = jsonl(tmp_path / "lists.jsonl", ROWS)
    layout = Layout(rows=Table(columns=COLUMNS))
    request = SplitRequest("candidates", "test", str(path), queries=1, layout=layout, name="Held-out")
    with caplog.at_level(logging.INFO):
        splits = load_splits({"mine": request}, documents=2, cache_dir=tmp_path)
    assert list(splits) == ["mine.books", "mine.laws"]
    assert splits["mine.laws"].dataset == "Held-out laws"
    assert len(splits["mine.laws"].corpus) == 4
    assert len(splits["mine.books"].queries) == 1
    assert len(splits["mine.books"].corpus) == 3
    assert "evaluation.documents: has no effect on the candidate lists of mine" in caplog.text
    single = jsonl(tmp_path / "one.jsonl", [{**row, "source": None} for row in ROWS])
    alone = load_splits(
        {"mine": SplitRequest("candidates", "test", str(single), layout=layout)},
        documents=None,
        cache_dir=tmp_path,
    )
    assert {key: split.dataset for key, split in alone.items()} == {"mine": "one"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [ROWS[0], ROWS[1] | {"negatives": ["a", "b"]}, ROWS[2] | {"negatives": ["d", "d"]}],
            r"rows with a document twice, as positive or negative: 2 \(2, 3\)",
        ),
        ([ROWS[0] | {"positive": " "}], r"row 1: positive must be a text that is not empty"),
        ([ROWS[0], ROWS[1] | {"negatives": []}], r"row 2: negatives must be a list of at least one text"),
        ([ROWS[0] | {"query": 3}], r"row 1: query must be a text"),
        (
            [{"query": "x", "negatives": ["y"]}],
            r"layout\.rows\.columns: .* no column of the relevant documents",
        ),
        (
            [{"query": "x", "positive": "y"}],
            r"layout\.rows\.columns\.negatives=negatives: .*it has query, positive$",
        ),
        ([], r"holds no rows; at least one candidate list"),
    ],
)
def test_bad_rows_are_named(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_candidates("lists", "test", table(jsonl(tmp_path / "lists.jsonl", rows)))


def test_other_files_and_entries_without_a_layout_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lists.txt").write_text("x")
    with pytest.raises(InputError, match=r"layout\.rows: .*lists\.txt .*a file ending in \.jsonl"):
        load_candidates("lists", "test", table(tmp_path / "lists.txt"))
    with pytest.raises(InputError, match=r"^evaluation\.splits\.mine: layout\.rows: none"):
        load_splits({"mine": SplitRequest("candidates", "test", "x")}, documents=None, cache_dir=tmp_path)
