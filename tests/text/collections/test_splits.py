"""Splits as a config names them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.text.collections import splits as subject
from colbert_lab.text.collections.beir import is_held_out, load_beir_splits
from colbert_lab.text.collections.hub_splits import Layout, Table
from colbert_lab.text.collections.splits import SplitRequest, is_dev, load_candidates, load_splits
from colbert_lab.text.documentation import Documentation, documentation_of
from colbert_lab.text.installed_docs_build import Row
from tests.hub_copies import write_splits
from tests.tiny import write_beir

N = 40
DOCUMENTS = {f"d{n}": f"document {n}" for n in range(N)}
QUERIES = {f"q{n}": f"query {n}" for n in range(N)}
JUDGED = [(f"q{n}", f"d{n}", 1) for n in range(N)]
HELD_OUT = [query for query, *_ in JUDGED[:30] if is_held_out(query)]


def load(
    requests: dict[str, SplitRequest], cache_dir: Path, documents: int | None = None
) -> dict[str, Split]:
    return load_splits(requests, documents=documents, cache_dir=cache_dir)


def beir(folder: Path, split: str, queries: int | None = None) -> SplitRequest:
    return SplitRequest("beir", split, str(folder), queries)


def installed(split: str, queries: int | None = None) -> SplitRequest:
    return SplitRequest("installed_docs", split, None, queries)


@pytest.fixture
def with_dev(tmp_path: Path) -> Path:
    qrels = {"train": JUDGED[:30], "dev": JUDGED[30:35], "test": JUDGED[35:]}
    return write_beir(tmp_path / "with_dev", DOCUMENTS, QUERIES, qrels)


@pytest.fixture
def with_train(tmp_path: Path) -> Path:
    return write_beir(
        tmp_path / "with_train", DOCUMENTS, QUERIES, {"train": JUDGED[:30], "test": JUDGED[35:]}
    )


@pytest.fixture
def with_test(tmp_path: Path) -> Path:
    return write_beir(tmp_path / "with_test", DOCUMENTS, QUERIES, {"test": JUDGED[35:]})


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> Documentation:
    """Documentation of eight functions: two of dev, four of test."""
    names = ["train", "dev", "test", "test"]
    rows = [Row(f"m{n}:f", f"document {n}", f"query {n}", names[n % 4]) for n in range(8)]
    made = documentation_of("installed_docs", rows, {})
    monkeypatch.setattr(subject, "load_installed_docs", lambda cache_dir: made)
    return made


def test_a_dev_split_is_found_and_shares_the_corpus(with_dev: Path, tmp_path: Path) -> None:
    splits = load({"test": beir(with_dev, "test"), "dev": beir(with_dev, "auto")}, tmp_path)
    assert list(splits) == ["test", "dev"]
    assert (splits["dev"].name, splits["dev"].dataset) == ("dev", "with_dev")
    assert list(splits["dev"].queries) == [query for query, *_ in JUDGED[30:35]]
    assert splits["dev"].corpus is splits["test"].corpus
    assert [is_dev(split) for split in splits.values()] == [False, True]


@pytest.mark.parametrize("name", ["validation", "valid"])
def test_dev_has_other_names(name: str, with_dev: Path, tmp_path: Path) -> None:
    (with_dev / "qrels" / "dev.tsv").rename(with_dev / "qrels" / f"{name}.tsv")
    split = load({"dev": beir(with_dev, "auto")}, tmp_path)["dev"]
    assert split.name == name
    assert list(split.queries) == [query for query, *_ in JUDGED[30:35]]
    assert is_dev(split)


def test_without_dev_training_queries_are_held_out_by_the_hash_of_their_ids(
    with_train: Path, tmp_path: Path
) -> None:
    splits = load({"dev": beir(with_train, "auto"), "same": beir(with_train, "heldout")}, tmp_path)
    assert splits["dev"].name == "heldout"
    assert 0 < len(HELD_OUT) < 30
    assert list(splits["dev"].queries) == list(splits["same"].queries) == HELD_OUT
    assert is_dev(splits["dev"])


def test_without_dev_and_training_queries_the_entry_is_left_out_and_said(
    with_test: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        splits = load({"dev": beir(with_test, "auto"), "test": beir(with_test, "test")}, tmp_path)
    assert list(splits) == ["test"]
    assert "evaluation.splits.dev" in caplog.text
    assert "nothing is selected" in caplog.text
    assert load({"dev": beir(with_test, "auto")}, tmp_path) == {}


def test_too_few_training_queries_to_hold_any_out_are_no_dev_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = [row for row in JUDGED if not is_held_out(row[0])][:3]
    folder = write_beir(tmp_path / "few", DOCUMENTS, QUERIES, {"train": kept, "test": JUDGED[35:]})
    with caplog.at_level(logging.INFO):
        assert load({"dev": beir(folder, "auto")}, tmp_path) == {}
    assert "nothing is selected" in caplog.text
    with pytest.raises(InputError, match=r"^evaluation\.splits\.dev: .*none of its 3 queries is held out"):
        load({"dev": beir(folder, "heldout")}, tmp_path)


def test_entries_cut_one_split_by_themselves_and_share_the_corpus(with_dev: Path, tmp_path: Path) -> None:
    requests = {
        "small": beir(with_dev, "test", 2),
        "whole": beir(with_dev, "test"),
        "dev": beir(with_dev, "dev", 3),
        "middle": beir(with_dev, "test", 4),
        "found": beir(with_dev, "auto", 1),
    }
    splits = load(requests, tmp_path)
    assert list(splits) == list(requests)
    assert [len(split.queries) for split in splits.values()] == [2, 5, 3, 4, 1]
    assert set(splits["small"].queries) < set(splits["middle"].queries) < set(splits["whole"].queries)
    assert splits["small"].fingerprint != splits["middle"].fingerprint
    assert len({id(split.corpus) for split in splits.values()}) == 1
    reordered = load(dict(reversed(requests.items())), tmp_path)
    assert {key: split.fingerprint for key, split in reordered.items()} == {
        key: split.fingerprint for key, split in splits.items()
    }


def test_entries_over_a_cut_corpus_share_it_and_keep_their_relevant_documents(
    with_dev: Path, tmp_path: Path
) -> None:
    requests = {
        "small": beir(with_dev, "test", 2),
        "more": beir(with_dev, "test", 4),
        "dev": beir(with_dev, "dev", 1),
    }
    splits = load(requests, tmp_path, documents=6)
    assert [len(split.queries) for split in splits.values()] == [2, 4, 1]
    assert len({id(split.corpus) for split in splits.values()}) == 1
    assert len(splits["small"].corpus) == 6
    relevant = {
        document for split in splits.values() for grades in split.qrels.values() for document in grades
    }
    assert relevant <= set(splits["small"].corpus.ids)
    with pytest.raises(
        InputError, match=r"^evaluation\.splits\.small, evaluation\.splits\.more, .*documents=4 is too few"
    ):
        load(requests, tmp_path, documents=4)


def test_entries_over_the_installed_documentation_too(docs: Documentation, tmp_path: Path) -> None:
    requests = {"small": installed("test", 1), "test": installed("test", 3), "dev": installed("dev")}
    splits = load(requests, tmp_path)
    assert [len(split.queries) for split in splits.values()] == [1, 3, 2]
    assert all(split.corpus is docs.corpus for split in splits.values())
    cut = load(requests, tmp_path, documents=6)
    assert [len(split.queries) for split in cut.values()] == [1, 3, 2]
    assert len({id(split.corpus) for split in cut.values()}) == 1
    assert len(cut["dev"].corpus) == 6


@pytest.mark.usefixtures("docs")
def test_different_collections_keep_their_own_corpus(with_dev: Path, with_test: Path, tmp_path: Path) -> None:
    requests = {
        "a": beir(with_dev, "test"),
        "docs": installed("test"),
        "b": beir(with_test, "test"),
        "c": beir(with_dev, "dev"),
    }
    splits = load(requests, tmp_path)
    assert list(splits) == list(requests)
    datasets = [split.dataset for split in splits.values()]
    assert datasets == ["with_dev", "installed_docs", "with_test", "with_dev"]
    assert len({id(split.corpus) for split in splits.values()}) == 3
    assert splits["a"].corpus is splits["c"].corpus


def test_a_folder_is_read_once(with_dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[str]] = []

    def watched(path: str, names: list[str], **keywords: bool) -> dict[str, Split]:
        read.append(list(names))
        return load_beir_splits(path, names, **keywords)

    monkeypatch.setattr(subject, "load_beir_splits", watched)
    load(
        {"a": beir(with_dev, "test", 1), "b": beir(with_dev, "dev"), "c": beir(with_dev, "test", 2)}, tmp_path
    )
    assert read == [["test", "dev"]]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            SplitRequest("trec", "test", "x"),
            r"^evaluation\.splits\.mine\.type=trec: must be one of installed_docs",
        ),
        (SplitRequest("beir", "test"), r"^evaluation\.splits\.mine\.path: no folder given"),
        (SplitRequest("beir", "test", "no/such"), r"^evaluation\.splits\.mine\.path=no/such: no such folder"),
        (SplitRequest("beir", "auto", "no/such"), r"^evaluation\.splits\.mine\.path=no/such: no such folder"),
        (installed("validation"), r"^evaluation\.splits\.mine\.split=validation: .* train, dev, test"),
    ],
)
def test_bad_entries_are_named(entry: SplitRequest, message: str, with_dev: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load({"good": beir(with_dev, "test"), "mine": entry}, tmp_path)


def test_missing_splits_are_named_with_those_that_are_there(
    with_dev: Path, with_test: Path, tmp_path: Path
) -> None:
    good = {"good": beir(with_dev, "test")}
    with pytest.raises(
        InputError, match=r"^evaluation\.splits\.mine\.split=tset: .* there: dev, test, train$"
    ):
        load(good | {"mine": beir(with_dev, "tset")}, tmp_path)
    with pytest.raises(InputError, match=r"^evaluation\.splits\.mine\.split=heldout: .* there: test$"):
        load(good | {"mine": beir(with_test, "heldout")}, tmp_path)
    with pytest.raises(InputError, match=r"^evaluation\.splits\.mine\.split=test: .* there: none$"):
        load({"mine": beir(tmp_path, "test")}, tmp_path)


def test_damaged_files_are_named_with_their_entries(with_train: Path, tmp_path: Path) -> None:
    train = with_train / "qrels" / "train.tsv"
    train.write_text(train.read_text() + "q1\td1\n")
    with pytest.raises(InputError, match=r"^evaluation\.splits\.dev: \S+train\.tsv line 32: 2 columns"):
        load({"dev": beir(with_train, "auto")}, tmp_path)
    (with_train / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match=r"^evaluation\.splits\.test: \S+corpus\.jsonl: no such file"):
        load({"test": beir(with_train, "test")}, tmp_path)


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
    with pytest.raises(InputError, match=r"layout\.rows: .*lists\.txt: unknown file type; there are \.jsonl"):
        load_candidates("lists", "test", table(tmp_path / "lists.txt"))
    with pytest.raises(InputError, match=r"^evaluation\.splits\.mine: layout\.rows: none"):
        load_splits({"mine": SplitRequest("candidates", "test", "x")}, documents=None, cache_dir=tmp_path)
