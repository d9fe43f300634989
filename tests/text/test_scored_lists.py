import json
import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.errors import InputError
from colbert_lab.text.scored_lists import read_scored_lists, write_scored_lists

SHARED = Path(__file__).parents[3] / "shared" / "data"
ROWS: list[dict[str, Any]] = [
    {"query_id": "q1", "document_ids": ["d3", "d1"], "scores": [0.5, -1.25]},
    {"query_id": "q2", "document_ids": ["d1", "d2", "d3"], "scores": [3, 2, 1]},
]


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


def test_lists_are_joined_to_the_collection(folder: Path) -> None:
    lists = read_scored_lists(folder, "kd.jsonl")
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


def test_parquet_json_texts_integer_ids_and_absolute_paths(folder: Path, tmp_path: Path) -> None:
    for name in ("corpus.jsonl", "queries.jsonl"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"_id": "d', '"_id": "').replace('"_id": "q', '"_id": "'))
    table = {"query_id": [1], "document_ids": ["[3, 1]"], "scores": ["[0.5, 1e-3]"]}
    pq.write_table(pa.table(table), tmp_path / "kd.parquet")
    lists = read_scored_lists(str(folder), str(tmp_path / "kd.parquet"))
    assert list(lists.query_ids) == ["1"]
    assert lists.documents[0].tolist() == [2, 0]
    assert lists.scores[0].tolist() == pytest.approx([0.5, 0.001])


def test_written_lists_are_read_back(folder: Path, tmp_path: Path) -> None:
    lists = read_scored_lists(folder, "kd.jsonl")
    write_scored_lists(lists, tmp_path / "written")
    back = read_scored_lists(tmp_path / "written")
    assert back.name == "written"
    assert back.fingerprint == lists.fingerprint
    assert back.corpus.fingerprint == lists.corpus.fingerprint
    assert [list(back.query_ids), list(back.queries)] == [list(lists.query_ids), list(lists.queries)]
    for mine, theirs in zip((*back.documents, *back.scores), (*lists.documents, *lists.scores), strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.tolist() == theirs.tolist()
    write_scored_lists(lists, tmp_path / "written")  # replaces its own


def test_the_datasets_library_reads_the_written_layout(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "written"
    write_scored_lists(read_scored_lists(folder, "kd.jsonl"), path)

    def load(config: str) -> Any:
        return datasets.load_dataset(str(path), config, split="train", cache_dir=str(tmp_path / "cache"))

    assert load("train")[0] == ROWS[0]
    assert load("queries")["text"][:] == ["query 1", "query 2"]
    assert load("documents")[2] == {"document_id": "d3", "text": "T text 3"}


def test_a_foreign_folder_is_not_replaced(folder: Path) -> None:
    lists = read_scored_lists(folder, "kd.jsonl")
    with pytest.raises(InputError, match=r"toy: exists and is not a folder of score lists"):
        write_scored_lists(lists, folder)
    assert (folder / "corpus.jsonl").is_file()


def test_a_hub_id_goes_to_the_datasets_library(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: dict[str, dict[str, list[Any]]] = {
        "train": {"query_id": [7], "document_ids": ["[20, 10]"], "scores": ["[1.5, 2.5]"]},
        "queries": {"query_id": [7], "text": ["seven"]},
        "documents": {"document_id": [10, 20], "text": ["ten", "twenty"]},
    }
    asked = []

    def load_dataset(path: str, config: str, *, split: str, streaming: bool) -> Any:
        asked.append((path, config, split, streaming))
        return datasets.Dataset.from_dict(tables[config])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    lists = read_scored_lists("lightonai/ms-marco-en-bge-gemma")
    assert lists.name == "ms-marco-en-bge-gemma"
    assert (list(lists.query_ids), list(lists.queries)) == (["7"], ["seven"])
    assert lists.documents[0].tolist() == [1, 0]
    assert lists.scores[0].tolist() == [1.5, 2.5]
    assert {entry[0] for entry in asked} == {"lightonai/ms-marco-en-bge-gemma"}
    assert [entry[2:] for entry in asked] == [("train", False)] * 3
    tables["documents"]["document_id"] = [10, 10]
    with pytest.raises(InputError, match=r"data\.path: .*\(documents\): document_id occurs twice: 1 \(10\)"):
        read_scored_lists("lightonai/ms-marco-en-bge-gemma")


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    message = (
        r"^data\.path: some/lists: cannot load the config documents of this hub.*ConnectionError: no route"
    )
    with pytest.raises(InputError, match=message):
        read_scored_lists("some/lists")


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
        ([row("['d1', 'd2']", [1, 2])], PLACE + "document_ids is a text that is not valid JSON"),
        ([{"query_id": "q3", "scores": [1]}], PLACE + "document_ids must be a list, not None"),
    ],
)
def test_mistakes_are_named(folder: Path, rows: list[dict[str, Any]], message: str) -> None:
    write_rows(folder, ROWS + rows)
    with pytest.raises(InputError, match=message) as caught:
        read_scored_lists(folder, "kd.jsonl")
    assert "\n" not in str(caught.value)


def test_missing_and_malformed_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.scores: \S+none\.jsonl: no such file"):
        read_scored_lists(folder, "none.jsonl")
    with pytest.raises(InputError, match=r"^data\.path: \S+elsewhere: no such folder"):
        read_scored_lists(tmp_path / "elsewhere", folder / "kd.jsonl")
    with pytest.raises(InputError, match=r"^data\.path: /no/such/folder: no such folder"):
        read_scored_lists("/no/such/folder")
    with pytest.raises(
        InputError, match=r"^data\.scores: .* is a folder with corpus\.jsonl, so name the file"
    ):
        read_scored_lists(folder)
    (folder / "queries.txt").write_text("")
    with pytest.raises(InputError, match=r"^data\.scores: .*queries\.txt: a file ending in"):
        read_scored_lists(folder, "queries.txt")
    (folder / "kd.jsonl").write_text('{"query_id": ')
    with pytest.raises(InputError, match=r"^data\.scores: \S+kd\.jsonl line 1: not valid JSON"):
        read_scored_lists(folder, "kd.jsonl")
    (folder / "kd.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"^data\.scores: \S+kd\.jsonl: holds no list"):
        read_scored_lists(folder, "kd.jsonl")
    (folder / "kd.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"^data\.scores: \S+kd\.parquet: not readable as Parquet"):
        read_scored_lists(folder, "kd.parquet")


def test_a_folder_without_a_config_is_named(folder: Path, tmp_path: Path) -> None:
    write_scored_lists(read_scored_lists(folder, "kd.jsonl"), tmp_path / "written")
    readme = tmp_path / "written" / "README.md"
    readme.write_text(readme.read_text().replace("config_name: queries", "config_name: questions"))
    with pytest.raises(InputError, match=r"^data\.path: .*cannot load the config queries of this folder"):
        read_scored_lists(tmp_path / "written")


def test_constant_lists_are_counted_and_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_rows(folder, [*ROWS, row(["d1", "d2"], [4, 4])])
    with caplog.at_level(logging.WARNING):
        lists = read_scored_lists(folder, "kd.jsonl")
    assert lists.details["constant_lists"] == 1
    assert "lists whose scores are all equal: 1 (q3)" in caplog.text


def test_real_lists() -> None:
    pool = SHARED / "msmarco-dl-pool"
    if not pool.is_dir():
        pytest.skip(f"the collection msmarco-dl-pool is not at {SHARED}")
    lists = read_scored_lists(pool, "kd/dl19.REP_LLAMA.jsonl")
    assert (lists.name, len(lists)) == ("msmarco-dl-pool/dl19.REP_LLAMA", 43)
    assert {len(rows) for rows in lists.documents} == {200}
