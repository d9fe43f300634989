import functools
import gzip
import json
import logging
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.text import list_store
from colbert_lab.text.list_store import write_scored_lists
from colbert_lab.text.rows.examples import ScoredLists
from colbert_lab.text.scored_lists import read_scored_lists
from tests.hub_copies import write_configs

Read = Callable[..., ScoredLists]
SHARED = Path(__file__).parents[3] / "shared" / "data"
ROWS: list[dict[str, Any]] = [
    {"query_id": "q1", "document_ids": ["d3", "d1"], "scores": [0.5, -1.25]},
    {"query_id": "q2", "document_ids": ["d1", "d2", "d3"], "scores": [3, 2, 1]},
]


@pytest.fixture
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ScoredLists]:
    """Read lists with a cache of their own."""
    return functools.partial(read_scored_lists, cache_dir=tmp_path_factory.mktemp("cache"))


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "kd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "toy"
    root.mkdir()
    documents = [{"_id": f"d{n}", "title": "T", "text": f"text {n}"} for n in (1, 2, 3)]
    (root / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    queries = [{"_id": f"q{n}", "text": f"query {n}"} for n in (1, 2, 3)]
    (root / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    write_rows(root, ROWS)
    return root


def test_lists_are_joined_to_the_collection(folder: Path, read: Read) -> None:
    lists = read(folder, "kd.jsonl")
    assert lists.name == "toy/kd"
    assert list(lists.query_ids) == ["q1", "q2"]
    assert list(lists.queries) == ["query 1", "query 2"]
    assert [rows.tolist() for rows in lists.documents] == [[2, 0], [0, 1, 2]]
    assert [values.tolist() for values in lists.scores] == [[0.5, -1.25], [3.0, 2.0, 1.0]]
    assert {rows.dtype for rows in lists.documents} == {np.dtype(np.int64)}
    assert {values.dtype for values in lists.scores} == {np.dtype(np.float32)}
    assert lists.corpus.texts[2] == "T text 3"
    assert lists.details["documents_per_list"] == {"fewest": 2, "most": 3}
    assert lists.details["constant_lists"] == 0


def test_parquet_json_texts_integer_ids_and_absolute_paths(folder: Path, tmp_path: Path, read: Read) -> None:
    for name in ("corpus.jsonl", "queries.jsonl"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"_id": "d', '"_id": "').replace('"_id": "q', '"_id": "'))
    table = {"query_id": [1], "document_ids": ["[3, 1]"], "scores": ["[0.5, 1e-3]"]}
    pq.write_table(pa.table(table), tmp_path / "kd.parquet")
    lists = read(str(folder), str(tmp_path / "kd.parquet"))
    assert list(lists.query_ids) == ["1"]
    assert lists.documents[0].tolist() == [2, 0]
    assert lists.scores[0].tolist() == pytest.approx([0.5, 0.001])


def test_written_lists_are_read_back(folder: Path, tmp_path: Path, read: Read) -> None:
    lists = read(folder, "kd.jsonl")
    write_scored_lists(lists, tmp_path / "written")
    back = read(tmp_path / "written")
    assert back.name == "written"
    assert back.fingerprint == lists.fingerprint
    assert back.corpus.fingerprint == lists.corpus.fingerprint
    assert [list(back.query_ids), list(back.queries)] == [list(lists.query_ids), list(lists.queries)]
    for mine, theirs in zip((*back.documents, *back.scores), (*lists.documents, *lists.scores), strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.tolist() == theirs.tolist()
    write_scored_lists(lists, tmp_path / "written")  # replaces its own


def test_the_datasets_library_reads_the_written_layout(folder: Path, tmp_path: Path, read: Read) -> None:
    path = tmp_path / "written"
    write_scored_lists(read(folder, "kd.jsonl"), path)

    def load(config: str) -> Any:
        return datasets.load_dataset(str(path), config, split="train", cache_dir=str(tmp_path / "cache"))

    assert load("train")[0] == ROWS[0]
    assert load("queries")["text"][:] == ["query 1", "query 2"]
    assert load("documents")[2] == {"document_id": "d3", "text": "T text 3"}


def test_a_foreign_folder_is_not_replaced(folder: Path, read: Read) -> None:
    lists = read(folder, "kd.jsonl")
    with pytest.raises(InputError, match=r"toy: exists and is not a folder of score lists"):
        write_scored_lists(lists, folder)
    assert (folder / "corpus.jsonl").is_file()


def test_a_hub_id_goes_to_the_datasets_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Read
) -> None:
    tables: dict[str, list[dict[str, Any]]] = {
        "train": [{"query_id": 7, "document_ids": "[20, 10]", "scores": "[1.5, 2.5]"}],
        "queries": [{"query_id": 7, "text": "seven"}],
        "documents": [{"document_id": 10, "text": "ten"}, {"document_id": 20, "text": "twenty"}],
    }
    write_configs(tmp_path / "hub", tables)
    asked = []
    real = datasets.load_dataset_builder

    def builder(path: str, config: str, **more: Any) -> Any:
        asked.append((path, config))
        return real(str(tmp_path / "hub"), config, cache_dir=str(tmp_path / f"hf{len(asked)}"))

    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    lists = read("lightonai/ms-marco-en-bge-gemma")
    assert lists.name == "ms-marco-en-bge-gemma"
    assert (list(lists.query_ids), list(lists.queries)) == (["7"], ["seven"])
    assert lists.documents[0].tolist() == [1, 0]
    assert lists.scores[0].tolist() == [1.5, 2.5]
    assert asked == [("lightonai/ms-marco-en-bge-gemma", name) for name in ("documents", "queries", "train")]
    shutil.rmtree(tmp_path / "hub")
    write_configs(tmp_path / "hub", tables | {"documents": tables["documents"][:1] * 2})
    with pytest.raises(InputError, match=r"data\.path: .*\(documents\): document_id occurs twice: 1 \(10\)"):
        read("lightonai/ms-marco-en-bge-gemma")


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    def builder(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    message = (
        r"^data\.path: some/lists: cannot load the config documents of this hub.*ConnectionError: no route"
    )
    with pytest.raises(InputError, match=message):
        read("some/lists")


def row(document_ids: Any, scores: Any, query_id: Any = "q3") -> dict[str, Any]:
    return {"query_id": query_id, "document_ids": document_ids, "scores": scores}


PLACE = r"^data\.scores: \S+kd\.jsonl line 3: "


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(["d1", "x1"], [1, 2]), row(["x2", "x1"], [1, 2], "q9")], "queries that are not .*: 1 \\(q9\\)"),
        ([row(["d1", "x1"], [1, 2])], PLACE + r"documents that are not in the collection: 1 \(x1\)"),
        (
            [row([f"x{n}" for n in range(7)], [1] * 7)],
            PLACE + r"documents .*: 7 \(first: x0, x1, x2, x3, x4\)",
        ),
        ([row(["d1", "d2"], [1])], PLACE + r"lists with more or fewer scores than documents.* 1 \(q3\)"),
        (
            [row(["d1", "d2"], [1]), row(["d1", "d2"], [], "q2000")],
            PLACE + r"lists with more or fewer scores.* 2 \(q3, q2000\);",
        ),
        ([row(["d1"], [1])], PLACE + r"lists with fewer than 2 documents, of queries 1 \(q3\)"),
        ([row(["d1", "d2"], [1, float("nan")])], PLACE + r"lists with NaN or infinite scores .*1 \(q3\)"),
        ([row(["d1", "d2"], [1, float("-inf")])], PLACE + r"lists with NaN or infinite scores"),
        ([row(["d1", "d2"], [1, 1e39])], PLACE + r"lists with NaN or infinite scores"),
        ([row(["d1", "d1"], [1, 2])], PLACE + r"lists that hold a document twice, of queries 1 \(q3\)"),
        ([row(["d1", "d2"], [1, 2], "q1")], PLACE + r"queries with more than one list: 1 \(q1\)"),
        ([row(["d1", "d2"], [1, None])], PLACE + "scores must be numbers, not None"),
        ([row(["d1", 2.5], [1, 2])], PLACE + "document_ids must hold ids .* not 2.5"),
        ([row(["d1", "d2"], [1, 2], None)], PLACE + "query_id must hold ids"),
        ([row("['d1', 'd2']", [1, 2])], PLACE + "document_ids is a text: not valid JSON"),
        (
            [{"query_id": "q3", "scores": [1]}],
            PLACE + r"no column document_ids; it has query_id, scores",
        ),
    ],
)
def test_mistakes_are_named(folder: Path, rows: list[dict[str, Any]], message: str, read: Read) -> None:
    write_rows(folder, ROWS + rows)
    with pytest.raises(InputError, match=message) as caught:
        read(folder, "kd.jsonl")
    assert "\n" not in str(caught.value)


def test_missing_and_malformed_files_are_named(folder: Path, tmp_path: Path, read: Read) -> None:
    with pytest.raises(InputError, match=r"^data\.scores: \S+none\.jsonl: no such file"):
        read(folder, "none.jsonl")
    with pytest.raises(InputError, match=r"^data\.path: \S+elsewhere: no such folder"):
        read(tmp_path / "elsewhere", folder / "kd.jsonl")
    with pytest.raises(InputError, match=r"^data\.path: /no/such/folder: no such file or folder"):
        read("/no/such/folder")
    with pytest.raises(
        InputError, match=r"^data\.scores: .* is a folder with corpus\.jsonl, so name the file"
    ):
        read(folder)
    (folder / "queries.csv").write_text("")
    with pytest.raises(
        InputError, match=r"^data\.scores: .*queries\.csv: unknown file type; there are \.jsonl"
    ):
        read(folder, "queries.csv")
    (folder / "kd.jsonl").write_text('{"query_id": ')
    with pytest.raises(InputError, match=r"^data\.scores: \S+kd\.jsonl line 1: not valid JSON"):
        read(folder, "kd.jsonl")
    (folder / "kd.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"^data\.scores: \S+kd\.jsonl: holds no list"):
        read(folder, "kd.jsonl")
    (folder / "kd.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"^data\.scores: \S+kd\.parquet: not readable as Parquet"):
        read(folder, "kd.parquet")


def test_a_folder_without_a_config_is_named(folder: Path, tmp_path: Path, read: Read) -> None:
    write_scored_lists(read(folder, "kd.jsonl"), tmp_path / "written")
    readme = tmp_path / "written" / "README.md"
    readme.write_text(readme.read_text().replace("config_name: queries", "config_name: questions"))
    with pytest.raises(InputError, match=r"^data\.path: .*cannot load the config queries of this folder"):
        read(tmp_path / "written")


def test_constant_lists_are_counted_and_logged(
    folder: Path, caplog: pytest.LogCaptureFixture, read: Read
) -> None:
    write_rows(folder, [*ROWS, row(["d1", "d2"], [4, 4])])
    with caplog.at_level(logging.WARNING):
        lists = read(folder, "kd.jsonl")
    assert lists.details["constant_lists"] == 1
    assert "lists whose scores are all equal: 1 (q3)" in caplog.text


def watched(part: str, calls: list[str]) -> Callable[..., None]:
    original: Callable[..., None] = getattr(list_store, part)

    def call(*given: Any) -> None:
        calls.append(part)
        original(*given)

    return call


def test_a_source_is_converted_once_and_again_when_it_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[str] = []
    for part in ("_convert_texts", "_convert_lists"):
        monkeypatch.setattr(list_store, part, watched(part, converted))
    cache = tmp_path / "cache"
    first = read_scored_lists(folder, "kd.jsonl", cache_dir=cache)
    again = read_scored_lists(folder, "kd.jsonl", cache_dir=cache)
    assert converted == ["_convert_texts", "_convert_lists"]
    assert again.fingerprint == first.fingerprint
    (folder / "other.jsonl").write_text(json.dumps(row(["d1", "d2"], [1, 2])) + "\n")
    other = read_scored_lists(folder, "other.jsonl", cache_dir=cache)
    assert converted[2:] == ["_convert_lists"]  # the texts are shared
    assert other.corpus.fingerprint == first.corpus.fingerprint
    write_rows(folder, ROWS[:1])
    assert len(read_scored_lists(folder, "kd.jsonl", cache_dir=cache)) == 1
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d4", "title": "", "text": "more"}\n')
    more = read_scored_lists(folder, "kd.jsonl", cache_dir=cache)
    assert converted[3:] == ["_convert_lists", "_convert_texts", "_convert_lists"]
    assert len(more.corpus) == 4


def test_an_error_leaves_nothing_that_looks_converted(folder: Path, tmp_path: Path) -> None:
    write_rows(folder, [*ROWS, row(["d1", "x"], [1, 2])])
    for _ in range(2):
        with pytest.raises(InputError, match="line 3: documents that are not in the collection"):
            read_scored_lists(folder, "kd.jsonl", cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "list_rows").iterdir())


def test_empty_texts_stop_or_leave_their_lists_out(
    folder: Path, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    documents = (folder / "corpus.jsonl").read_text().replace('"title": "T", "text": "text 2"', '"text": " "')
    (folder / "corpus.jsonl").write_text(documents)
    message = r"line 2: lists with an empty query or document: 1 \(document d2\); .*data\.skip_empty=true"
    with pytest.raises(InputError, match=message):
        read(folder, "kd.jsonl")
    with caplog.at_level(logging.WARNING):
        lists = read(folder, "kd.jsonl", skip_empty=True)
    assert list(lists.query_ids) == ["q1"]
    assert lists.details["skipped_lists"] == 1
    assert "lists left out (data.skip_empty), as a text of theirs is empty: 1 (q2)" in caplog.text
    queries = (folder / "queries.jsonl").read_text().replace("query 1", "")
    (folder / "queries.jsonl").write_text(queries)
    with pytest.raises(InputError, match=r"line 1: lists .*: 2 \(query q1, document d2\)"):
        read(folder, "kd.jsonl")


def test_columns_under_other_names(folder: Path, read: Read) -> None:
    rows = [{"qid": r["query_id"], "pids": r["document_ids"], "s": r["scores"], "query_id": 9} for r in ROWS]
    write_rows(folder, rows)
    theirs = {"query_id": "qid", "document_ids": "pids", "scores": "s"}
    lists = read(folder, "kd.jsonl", columns=theirs)
    assert [rows.tolist() for rows in lists.documents] == [[2, 0], [0, 1, 2]]
    with pytest.raises(InputError, match=r"line 1: no column document_ids; it has qid, pids, s, query_id"):
        read(folder, "kd.jsonl", columns={"query_id": "qid"})
    with pytest.raises(
        InputError, match=r"^data\.columns\.text: must be one of query_id, document_ids, scores"
    ):
        read(folder, "kd.jsonl", columns={"text": "body"})


@pytest.mark.parametrize("name", ["{}.jsonl", "{}/data.jsonl", "{}.parquet", "{}.jsonl.gz"])
def test_the_data_sets_of_pylate_may_be_files(folder: Path, tmp_path: Path, read: Read, name: str) -> None:
    wanted = read(folder, "kd.jsonl")
    tables: dict[str, list[dict[str, Any]]] = {
        "train": ROWS,
        "queries": [{"query_id": f"q{n}", "text": f"query {n}"} for n in (1, 2, 3)],
        "documents": [{"document_id": f"d{n}", "text": f"T text {n}"} for n in (1, 2, 3)],
    }
    for table, rows in tables.items():
        file = tmp_path / "pylate" / name.format(table)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if file.suffix == ".parquet":
            datasets.Dataset.from_list(rows).to_parquet(file)
        elif file.suffix == ".gz":
            file.write_bytes(gzip.compress(text.encode()))
        else:
            file.write_text(text)
    found = read(tmp_path / "pylate")
    assert (found.name, found.fingerprint) == ("pylate", wanted.fingerprint)
    over = read(tmp_path / "pylate", folder / "kd.jsonl")  # other lists over the same texts
    assert (over.name, over.fingerprint) == ("pylate/kd", wanted.fingerprint)
    theirs = [{"qid": r["query_id"], "document_ids": r["document_ids"], "scores": r["scores"]} for r in ROWS]
    write_rows(tmp_path / "pylate", theirs)
    with pytest.raises(
        InputError, match=r"^data\.scores: \S+kd\.jsonl line 1: no column query_id; it has qid"
    ):
        read(tmp_path / "pylate", "kd.jsonl")


def test_a_data_set_kept_as_files_lacks_one(tmp_path: Path, read: Read) -> None:
    write_rows(tmp_path, ROWS)
    (tmp_path / "kd.jsonl").rename(tmp_path / "train.jsonl")
    with pytest.raises(
        InputError, match=r"cannot load the config documents .*train\.jsonl, queries\.jsonl and doc"
    ):
        read(tmp_path)
    for name in ("documents.jsonl", "documents.csv"):
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=r"both documents\.csv and documents\.jsonl are there; keep one"):
        read(tmp_path)


def test_a_file_of_lists_may_be_named_from_where_one_is(
    folder: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = read(folder, "kd.jsonl").fingerprint
    monkeypatch.chdir(folder.parent)
    assert read("toy", "toy/kd.jsonl").fingerprint == wanted
    with pytest.raises(InputError, match=r"^data\.scores: toy/toy/none\.jsonl: no such file"):
        read("toy", "toy/none.jsonl")


def test_tab_separated_collections(folder: Path, read: Read) -> None:
    whole = read(folder, "kd.jsonl")
    (folder / "collection.tsv").write_text("".join(f"d{n}\ttext {n}\tT\n" for n in (1, 2, 3)))
    (folder / "queries.train.tsv").write_text("".join(f"q{n}\tquery {n}\r\n" for n in (1, 2, 3)))
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / name).unlink()
    assert read(folder, "kd.jsonl").fingerprint == whole.fingerprint
    (folder / "queries.dev.tsv").write_text("q9\tother\n")
    with pytest.raises(
        InputError, match=r"one file queries\.tsv .* there are queries\.dev\.tsv, queries\.train"
    ):
        read(folder, "kd.jsonl")
    (folder / "queries.tsv").write_bytes(b"q1\t\xff\n")
    with pytest.raises(InputError, match=r"^data\.path: \S+queries\.tsv line 1: not UTF-8"):
        read(folder, "kd.jsonl")
    (folder / "queries.tsv").write_text("q1 no tab\n")
    with pytest.raises(InputError, match=r"queries\.tsv line 1: 2 tab-separated values are expected, not 1"):
        read(folder, "kd.jsonl")


def test_files_of_other_tools(folder: Path, read: Read) -> None:
    wanted = read(folder, "kd.jsonl").fingerprint
    pairs = [(r["query_id"], list(zip(r["document_ids"], r["scores"], strict=True))) for r in ROWS]
    (folder / "nway.json").write_text("".join(json.dumps([q, *map(list, own)]) + "\n" for q, own in pairs))
    (folder / "kd.tsv").write_text("".join(f"{q}\t{d}\t{s}\n" for q, own in pairs for d, s in own))
    (folder / "kd.run").write_text("".join(f"{q} Q0 {d} 1 {s} tag\n" for q, own in pairs for d, s in own))
    for name in ("nway.json", "kd.tsv", "kd.run"):
        assert read(folder, name).fingerprint == wanted
        with pytest.raises(
            InputError, match=r"^data\.columns: has no effect on \S+, which has no column names"
        ):
            read(folder, name, columns={"scores": "s"})


def test_folders_of_scores_are_told_apart(folder: Path, read: Read) -> None:
    for name, rows in (("one", ROWS), ("two", ROWS[:1])):
        (folder / name / "train").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / name / "train" / "part-0.parquet")
    assert [len(read(folder, name)) for name in ("one", "two")] == [2, 1]
    pq.write_table(pa.Table.from_pylist(ROWS[1:]), folder / "one" / "train" / "part-0.parquet")
    assert list(read(folder, "one").query_ids) == ["q2"]


def test_leaving_queries_out_keeps_the_others_in_order(folder: Path, read: Read) -> None:
    write_rows(folder, [*ROWS, row(["d1", "d2"], [4, 5])])
    lists = read(folder, "kd.jsonl")
    fewer = lists.without({"q1"})
    assert list(fewer.training_queries()) == [("q2", "query 2"), ("q3", "query 3")]
    assert [rows.tolist() for rows in fewer.documents] == [[0, 1, 2], [0, 1]]
    assert (fewer.fewest, len(fewer)) == (2, 2)
    assert fewer.fingerprint != lists.fingerprint
    assert list(fewer.without({"q3"}).query_ids) == ["q2"]


def test_documents_are_drawn_or_taken_in_order(folder: Path, read: Read) -> None:
    write_rows(folder, [row(["d1", "d2", "d3"], [1, 2, 3])])
    lists = read(folder, "kd.jsonl")
    drawn = {tuple(lists.example(0, 2, np.random.default_rng(n)).document_ids) for n in range(20)}
    assert drawn == {("d3", "d1"), ("d3", "d2")}
    ordered = replace(lists, draw="order").example(0, 2, np.random.default_rng(0))
    assert (list(ordered.document_ids), ordered.documents[0]) == (["d3", "d1"], "T text 3")
    assert ordered.scores is not None
    assert ordered.scores.tolist() == [3, 1]


def test_columns_on_disk_travel_to_other_processes(folder: Path, read: Read) -> None:
    lists = read(folder, "kd.jsonl")
    data = pickle.dumps(lists)
    assert len(data) < 4000  # paths, not contents
    back = pickle.loads(data)
    assert list(back.queries) == list(lists.queries)
    assert back.scores[1].tolist() == lists.scores[1].tolist()
    assert [lists.corpus.texts[1:], lists.corpus.texts[-1]] == [["T text 2", "T text 3"], "T text 3"]
    with pytest.raises(IndexError):
        lists.documents[2]


def test_real_lists(read: Read) -> None:
    pool = SHARED / "msmarco-dl-pool"
    if not pool.is_dir():
        pytest.skip(f"the collection msmarco-dl-pool is not at {SHARED}")
    lists = read(pool, "kd/dl19.REP_LLAMA.jsonl")
    assert (lists.name, len(lists)) == ("msmarco-dl-pool/dl19.REP_LLAMA", 43)
    assert {len(rows) for rows in lists.documents} == {200}


def test_numbers_beyond_64_bits_and_deep_nesting_are_told(folder: Path, read: Read) -> None:
    line = '{"query_id": "q1", "document_ids": ["d1", "d2"], "scores": [1, %s]}\n'
    (folder / "kd.jsonl").write_text(line % ("9" * 400))
    with pytest.raises(InputError, match=r"^data\.scores: \S+ line 1: lists with NaN or infinite scores"):
        read(folder, "kd.jsonl")
    (folder / "kd.jsonl").write_text(line % ('"' + "[" * 100_000 + '"'))
    with pytest.raises(InputError, match=r"line 1: scores must be numbers, not '\[\["):
        read(folder, "kd.jsonl")
    deep = {"query_id": "q1", "document_ids": "[" * 100_000, "scores": [1, 2]}
    (folder / "kd.jsonl").write_text(json.dumps(deep))
    with pytest.raises(
        InputError, match=r"line 1: document_ids is a text: not valid JSON \(maximum recursion"
    ):
        read(folder, "kd.jsonl")


def test_gzipped_lists_are_the_same(folder: Path, read: Read) -> None:
    plain = read(folder, "kd.jsonl")
    (folder / "kd.jsonl.gz").write_bytes(gzip.compress((folder / "kd.jsonl").read_bytes()))
    packed = read(folder, "kd.jsonl.gz")
    assert (packed.fingerprint, packed.name) == (plain.fingerprint, plain.name)


def test_scores_may_have_the_names_of_the_peers(folder: Path, read: Read) -> None:
    plain = read(folder, "kd.jsonl").fingerprint
    rows = [json.loads(line) for line in (folder / "kd.jsonl").read_text().splitlines()]
    for name in ("score", "label", "labels"):
        renamed = [{**row, name: row["scores"]} for row in rows]
        for row in renamed:
            del row["scores"]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in renamed))
        assert read(folder, f"{name}.jsonl").fingerprint == plain
    (folder / "both.jsonl").write_text("".join(json.dumps({**row, "label": [1, 2]}) + "\n" for row in rows))
    with pytest.raises(
        InputError, match=r"line 1: the columns scores and label may both be meant; say which"
    ):
        read(folder, "both.jsonl")
    assert read(folder, "both.jsonl", columns={"scores": "scores"}).fingerprint == plain
