"""Pairs and triples in the hub's layouts, from small local copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from colbert_lab.errors import InputError
from colbert_lab.text.hub_triples import load_triples
from tests.hub_copies import write_splits


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def pairs(name: str, n: int) -> list[dict[str, Any]]:
    return [
        {"query": f"{name} query {i}", "document": f"{name} document {i}", "dataset": name, "shard": i % 2}
        for i in range(n)
    ]


def triples(name: str, counts: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "query": f"{name} query {i}",
            "document": f"{name} document {i}",
            "negative": [f"{name} negative {i}.{k}" for k in range(count)],
            "dataset": name,
        }
        for i, count in enumerate(counts)
    ]


def test_every_split_is_a_source(tmp_path: Path) -> None:
    folder = write_splits(
        tmp_path / "unsupervised", {"agnews": pairs("agnews", 3), "squad": pairs("squad", 2)}
    )
    sources = load_triples(str(folder), negatives=None, columns={})
    assert [(source.name, len(source), source.fewest) for source in sources] == [
        ("unsupervised/agnews", 3, 1),
        ("unsupervised/squad", 2, 1),
    ]
    assert [source.scored for source in sources] == [False, False]
    example = sources[1].example(1, 1, np.random.default_rng(0))
    assert (example.query, list(example.documents), example.scores) == (
        "squad query 1",
        ["squad document 1"],
        None,
    )
    assert list(sources[1].training_queries()) == [("0", "squad query 0"), ("1", "squad query 1")]
    assert sources[0].fingerprint != sources[1].fingerprint


def test_splits_without_a_card_are_found_by_file_name(tmp_path: Path) -> None:
    folder = write_splits(
        tmp_path / "bare", {"agnews": pairs("agnews", 3), "squad": pairs("squad", 2)}, card=False
    )
    assert {source.name for source in load_triples(str(folder), negatives=None, columns={})} == {
        "bare/agnews",
        "bare/squad",
    }


def test_one_split_alone(tmp_path: Path) -> None:
    folder = write_splits(
        tmp_path / "unsupervised", {"agnews": pairs("agnews", 3), "squad": pairs("squad", 2)}
    )
    (source,) = load_triples(str(folder), negatives=None, columns={}, split="squad")
    assert (source.name, len(source)) == ("unsupervised/squad", 2)


def test_a_single_split_is_divided_by_its_column(tmp_path: Path) -> None:
    rows = [row for both in zip(triples("nq", [2, 3]), triples("fever", [4, 4]), strict=True) for row in both]
    folder = write_splits(tmp_path / "supervised", {"train": rows})
    fever, nq = load_triples(str(folder), negatives=10, columns={})
    assert (fever.name, len(fever), fever.negatives) == ("supervised/fever", 2, 4)
    assert (nq.name, len(nq), nq.negatives) == ("supervised/nq", 2, 2)
    assert [text for _, text in nq.training_queries()] == ["nq query 0", "nq query 1"]


def test_a_single_split_of_one_source_keeps_its_name(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "supervised", {"train": triples("nq", [2, 3])})
    (source,) = load_triples(str(folder), negatives=1, columns={})
    assert source.name == "supervised/train"


def test_negatives_are_the_fewest_of_the_source_and_no_more_than_asked_for(tmp_path: Path) -> None:
    data = {"nli": triples("nli", [12, 11]), "reddit": triples("reddit", [1, 5])}
    folder = write_splits(tmp_path / "supervised", data)
    found = {source.name: source.negatives for source in load_triples(str(folder), negatives=10, columns={})}
    assert found == {"supervised/nli": 10, "supervised/reddit": 1}


def test_jsonl_and_columns_of_other_names(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    rows = [{"question": "q", "query": "not this", "answer": "a", "bad": ["b", "c"], "query_id": 7}]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"query": "question", "document": "answer", "negative": "bad"}
    (source,) = load_triples(str(folder), negatives=2, columns=columns)
    example = source.example(0, 3, np.random.default_rng(0))
    assert (example.query_id, example.query, example.documents[0]) == ("7", "q", "a")
    assert sorted(example.documents[1:]) == ["b", "c"]


def test_two_columns_may_change_places(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "swapped", {"train": pairs("x", 1)})
    columns = {"query": "document", "document": "query"}
    (source,) = load_triples(str(folder), negatives=None, columns=columns)
    example = source.example(0, 1, np.random.default_rng(0))
    assert (example.query, example.documents) == ("x document 0", ["x query 0"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"document": "answer"},
            r"^data\.columns\.document=answer: s/train has no such column; it has query, ",
        ),
        ({"negatives": "negative"}, r"^data\.columns\.negatives: must be one of query, document, negative,"),
    ],
)
def test_columns_that_are_not_there_are_named(tmp_path: Path, columns: dict[str, str], message: str) -> None:
    folder = write_splits(tmp_path / "s", {"train": triples("nq", [2])})
    with pytest.raises(InputError, match=message):
        load_triples(str(folder), negatives=1, columns=columns)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "s", {"train": pairs("x", 2)})
    with pytest.raises(
        InputError, match=r"^data\.path: s/train has no column negative; it has .*data\.columns"
    ):
        load_triples(str(folder), negatives=1, columns={})


def test_an_empty_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    full = datasets.Dataset.from_list(pairs("full", 2))
    loaded = datasets.DatasetDict({"full": full, "hollow": full.select([])})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: loaded)
    with pytest.raises(InputError, match=r"^data\.path: s/hollow is empty; leave the source out"):
        load_triples("owner/s", negatives=None, columns={})


def test_a_broken_file_is_named_with_its_cause(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "s", {"full": pairs("full", 2)})
    table = pq.read_table(next((folder / "data").glob("full-*"))).slice(0, 0)
    pq.write_table(table, folder / "data" / "full-00000-of-00001.parquet")
    with pytest.raises(InputError, match=r"^data\.path: \S+s: cannot be loaded \(.*BatchSize"):
        load_triples(str(folder), negatives=None, columns={})


def test_rows_without_negatives_are_named(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "s", {"good": triples("g", [2]), "poor": triples("p", [2, 0, 1, 0])})
    with pytest.raises(InputError, match=r"^data\.path: s/poor: rows without negatives: 2 \(1, 3\)"):
        load_triples(str(folder), negatives=2, columns={})


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.path: /no/such/place: no such folder"):
        load_triples("/no/such/place", negatives=None, columns={})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"^data\.path: \S+empty: cannot be loaded \(") as caught:
        load_triples(str(tmp_path / "empty"), negatives=None, columns={})
    assert "\n" not in str(caught.value)
    folder = write_splits(tmp_path / "s", {"train": pairs("x", 2)})
    with pytest.raises(InputError, match=r"^data\.path: \S+s: cannot be loaded \(.*test"):
        load_triples(str(folder), negatives=None, columns={}, split="test")
