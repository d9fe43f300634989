"""Pairs and triples in the hub's layouts, from small local copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.text.row_files import Form
from colbert_lab.text.rows.hub_triples import load_triples
from colbert_lab.text.rows.triples import Triples
from colbert_lab.text.tables import Rows
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
        InputError, match=r"^data\.path: s/train has no column negative; it has .*document.*data\.columns"
    ):
        load_triples(str(folder), negatives=1, columns={})
    (tmp_path / "r.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    with pytest.raises(InputError, match="r/train has no column query; it has question, answer"):
        load_triples(str(tmp_path / "r.jsonl"), negatives=None, columns={})
    (tmp_path / "r.jsonl").write_text("")
    with pytest.raises(InputError, match="r/train has no row with columns; leave the source out"):
        load_triples(str(tmp_path / "r.jsonl"), negatives=None, columns={})


def test_an_empty_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    full = datasets.Dataset.from_list(pairs("full", 2))
    loaded = datasets.DatasetDict({"full": full, "hollow": full.select([])})
    monkeypatch.setattr(Rows, "_loaded", lambda self, split, stream: loaded[split])
    found = Rows("owner/s", {"full": [], "hollow": []}, Form("parquet"))
    monkeypatch.setattr("colbert_lab.text.rows.hub_triples.find_rows", lambda *_, **__: found)
    with pytest.raises(InputError, match=r"^data\.path: s/hollow is empty; leave the source out"):
        load_triples("owner/s", negatives=None, columns={})


def test_a_broken_file_is_named_with_its_cause(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "s", {"full": pairs("full", 2)})
    table = pq.read_table(next((folder / "data").glob("full-*"))).slice(0, 0)
    pq.write_table(table, folder / "data" / "full-00000-of-00001.parquet")
    with pytest.raises(InputError, match=r"^data\.path: \S+s: cannot be loaded: .*BatchSize"):
        load_triples(str(folder), negatives=None, columns={})


def test_rows_without_negatives_are_named(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "s", {"good": triples("g", [2]), "poor": triples("p", [2, 0, 1, 0])})
    with pytest.raises(InputError, match=r"^data\.path: s/poor: rows without negatives: 2 \(1, 3\)"):
        load_triples(str(folder), negatives=2, columns={})


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.path: /no/such/place: no such file or folder"):
        load_triples("/no/such/place", negatives=None, columns={})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"^data\.path: \S+empty: cannot be loaded: ") as caught:
        load_triples(str(tmp_path / "empty"), negatives=None, columns={})
    assert "\n" not in str(caught.value)
    folder = write_splits(tmp_path / "s", {"train": pairs("x", 2)})
    with pytest.raises(
        InputError, match=r"^data\.path: \S+s: cannot be loaded: .*no split test; there are train"
    ):
        load_triples(str(folder), negatives=None, columns={}, split="test")


def queries_of(sources: list[Triples]) -> list[list[str]]:
    return [[text for _, text in source.training_queries()] for source in sources]


def test_some_rows_of_each_split_always_the_same(tmp_path: Path) -> None:
    folder = str(write_splits(tmp_path / "s", {"a": pairs("a", 50), "b": pairs("b", 3)}))
    first = load_triples(folder, negatives=None, columns={}, rows=5)
    assert [len(source) for source in first] == [5, 3]
    drawn = queries_of(first)
    assert drawn[0] != [f"a query {n}" for n in range(5)]
    assert len(set(drawn[0])) == 5
    assert queries_of(load_triples(folder, negatives=None, columns={}, rows=5)) == drawn


@pytest.mark.parametrize("split", [None, "a"])
def test_a_stream_is_read_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str | None
) -> None:
    folder = write_splits(tmp_path / "s", {"a": triples("a", [2] * 50), "b": triples("b", [3] * 3)})
    kept = tmp_path / "streams"
    opened = []
    real = Rows.stream

    def counted(*arguments: Any) -> Any:
        opened.append(arguments[1])
        return real(*arguments)

    monkeypatch.setattr(Rows, "stream", counted)

    def load(rows: int = 5) -> list[Triples]:
        return load_triples(str(folder), negatives=9, columns={}, rows=rows, stream_to=kept, split=split)

    first = load()
    assert [(source.name, len(source), source.negatives) for source in first] == [
        ("s/a", 5, 2),
        ("s/b", 3, 3),
    ][: 1 if split else 2]
    drawn = queries_of(first)
    assert drawn[0] != [f"a query {n}" for n in range(5)]
    assert set(drawn[0]) < {f"a query {n}" for n in range(50)}
    example = first[0].example(2, 3, np.random.default_rng(0))
    number = drawn[0][2].removeprefix("a query ")
    assert (example.query, example.documents[0]) == (drawn[0][2], f"a document {number}")
    assert sorted(example.documents[1:]) == [f"a negative {number}.{k}" for k in range(2)]
    again = load()
    assert queries_of(again) == drawn
    assert [source.fingerprint for source in again] == [source.fingerprint for source in first]
    assert opened == ["a", "b"][: 1 if split else 2]  # the second time, nothing was opened
    assert queries_of(load(6))[0][:5] == drawn[0]
    file = next((folder / "data").glob("a-*"))
    pq.write_table(pq.read_table(file).slice(0, 4), file)
    assert len(load()[0]) == 4  # a changed copy is read anew
    assert opened == ["a", "b"][: 1 if split else 2] * 3


def test_settings_of_a_stream_that_do_not_fit_are_named(tmp_path: Path) -> None:
    folder = str(write_splits(tmp_path / "s", {"a": pairs("a", 5)}))
    with pytest.raises(InputError, match=r"^data\.streaming: .* set data\.rows"):
        load_triples(folder, negatives=None, columns={}, stream_to=tmp_path / "streams")
    with pytest.raises(InputError, match=r"^data\.revision: has no effect on local data"):
        load_triples(folder, negatives=None, columns={}, revision="main")
    with pytest.raises(InputError, match=r"^data\.path: \S+s: cannot be loaded: .*no split no; there are a"):
        load_triples(folder, negatives=None, columns={}, stream_to=tmp_path / "streams", rows=3, split="no")
    assert not list((tmp_path / "streams").glob("*"))


def test_empty_rows_are_left_out_when_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = triples("a", [2, 0, 3, 2, 2])
    rows[3]["query"] = " "
    rows[4]["negative"][1] = ""
    folder = str(write_splits(tmp_path / "s", {"a": rows}))
    with pytest.raises(InputError, match=r"query is empty in rows 1 \(3\); .* data\.skip_empty=true"):
        load_triples(folder, negatives=2, columns={})
    with caplog.at_level("WARNING"):
        (source,) = load_triples(folder, negatives=2, columns={}, skip_empty=True)
    assert "s/a: 3 rows left out (data.skip_empty)" in caplog.text
    assert list(source.training_queries()) == [("0", "a query 0"), ("2", "a query 2")]
    assert source.example(1, 2, np.random.default_rng(0)).documents[0] == "a document 2"
    left = source.without({"0"})
    assert (len(left), list(left.training_queries())) == (1, [("2", "a query 2")])
    assert left.example(0, 1, np.random.default_rng(0)).query == "a query 2"
    assert len({source.fingerprint, left.fingerprint}) == 2


def test_single_files(tmp_path: Path) -> None:
    rows = [{"query": f"q {n}", "document": f'd "{n}', "negative": [f"n {n}", "other"]} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    lines = ["\t".join([r["query"], r["document"], *r["negative"]]) for r in rows]  # type: ignore[list-item]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n")
    for name in ("rows.jsonl", "rows.parquet", "rows.tsv"):
        (found,) = load_triples(str(tmp_path / name), negatives=4, columns={})
        assert (found.name, len(found), found.negatives) == ("rows/train", 3, 2)
        assert [found.table[1][key] for key in ("query", "document", "negative")] == list(rows[1].values())
    (tmp_path / "pairs.tsv").write_text("a\t1\nb\t2\n")
    (pairs,) = load_triples(str(tmp_path / "pairs.tsv"), negatives=None, columns={})
    assert [row["document"] for row in pairs.rows()] == ["1", "2"]


def test_bad_single_files(tmp_path: Path) -> None:
    for name, content, message in (
        ("a.tsv", b"only one\n", r"a\.tsv: two tab-separated texts a line are needed"),
        ("b.tsv", b"a\tb\n\xff\tc\n", r"b\.tsv line 2: not UTF-8"),
        ("c.txt", b"", r"c\.txt: unknown file type; there are \.jsonl, \.json, \.parquet"),
        ("d.parquet", b"PAR1 cut short", r"d\.parquet: cannot be loaded"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_triples(str(tmp_path / name), negatives=None, columns={})
    with pytest.raises(InputError, match=r"data\.split: has no effect on a file"):
        load_triples(str(tmp_path / "a.tsv"), negatives=None, columns={}, split="train")


def test_folders_of_one_name_are_not_taken_for_each_other(tmp_path: Path) -> None:
    readme = "---\nconfigs:\n- config_name: default\n  data_files: train/*.parquet\n---\n"
    found = []
    for place, state in (("a", 1), ("b", 2), ("b", 3)):
        folder = tmp_path / place / "mined"
        (folder / "train").mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(readme)
        rows = [{"query": f"{place} {n}", "document": str(state)} for n in range(state)]
        pq.write_table(pa.Table.from_pylist(rows), folder / "train" / "0.parquet")
        (pairs,) = load_triples(str(folder), negatives=None, columns={})
        found.append([(row["query"], row["document"]) for row in pairs.rows()])
    assert found == [
        [("a 0", "1")],
        [("b 0", "2"), ("b 1", "2")],
        [("b 0", "3"), ("b 1", "3"), ("b 2", "3")],
    ]
