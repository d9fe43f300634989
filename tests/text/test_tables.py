"""Rows of files and folders: paths are literal, and values are what the files say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.text.collections.hub_splits import Layout, Table, load_hub_splits, read_columns
from colbert_lab.text.rows.hub_triples import load_triples
from colbert_lab.text.rows.parted_triples import PartedTriples, load_parted
from colbert_lab.text.rows.triples import Triples
from colbert_lab.text.scored_lists import read_scored_lists
from colbert_lab.text.tables import find_rows
from tests.hub_copies import write_configs, write_splits

LITERAL = ["p[1]", "st*r", "wh?t", "a::b", "{a,b}", "[!x]", "plain"]
TWINS = ["p1", "star", "stir", "what", "a", "b", "y"]  # what those would match as patterns


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def write_jsonl(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def queries(sources: list[Triples]) -> list[str]:
    return [row["query"] for source in sources for row in source.rows()]


def pair(name: str) -> list[dict[str, Any]]:
    return [{"query": f"q of {name}", "document": f"d of {name}"}]


@pytest.mark.parametrize("name", LITERAL)
def test_the_path_of_a_file_is_literal(tmp_path: Path, name: str) -> None:
    for each in (*TWINS, name):
        write_jsonl(tmp_path / f"{each}.jsonl", pair(each))
        (tmp_path / f"{each}.tsv").write_text(f"q of {each}\td of {each}\n")
        pq.write_table(pa.Table.from_pylist(pair(each)), tmp_path / f"{each}.parquet")
    for end in ("jsonl", "tsv", "parquet"):
        found = load_triples(str(tmp_path / f"{name}.{end}"), negatives=None, columns={})
        assert queries(found) == [f"q of {name}"]
    table = Table(path=str(tmp_path / f"{name}.jsonl"), columns={"query": "query"})
    assert read_columns(table, "rows") == {"query": [f"q of {name}"]}
    table = Table(path=str(tmp_path), file=f"{name}.parquet", columns={"query": "query"})
    assert read_columns(table, "rows") == {"query": [f"q of {name}"]}


@pytest.mark.parametrize("name", LITERAL)
def test_the_path_of_a_folder_is_literal(tmp_path: Path, name: str) -> None:
    for each in (*TWINS, name):
        write_jsonl(tmp_path / "json" / each / "train.jsonl", pair(each))
        write_splits(tmp_path / "parquet" / each, {"train": pair(each)})
        lists: dict[str, list[dict[str, Any]]] = {
            "train": [{"query_id": each, "document_ids": ["1", "2"], "scores": [1.0, 2.0]}],
            "queries": [{"query_id": each, "text": each}],
            "documents": [{"document_id": "1", "text": each}, {"document_id": "2", "text": "other"}],
        }
        write_configs(tmp_path / "lists" / each, lists)
    for form in ("json", "parquet"):
        folder = str(tmp_path / form / name)
        assert queries(load_triples(folder, negatives=None, columns={})) == [f"q of {name}"]
        streamed = load_triples(folder, negatives=None, columns={}, rows=5, stream_to=tmp_path / "kept")
        assert queries(streamed) == [f"q of {name}"]
    found = read_scored_lists(tmp_path / "lists" / name, cache_dir=tmp_path / "own")
    assert (list(found.query_ids), found.corpus.texts[0]) == ([name], name)


def test_names_below_a_folder_are_literal_too(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "s" / "data" / "train-p[1]::x.jsonl", pair("odd"))
    write_jsonl(tmp_path / "s" / "data" / "train-p1.jsonl", pair("even"))
    assert sorted(queries(load_triples(str(tmp_path / "s"), negatives=None, columns={}))) == [
        "q of even",
        "q of odd",
    ]


DATES: list[dict[str, Any]] = [
    {"query_id": "2024-01-01", "query": "2024-01-01T10:00:00", "document": "12:30:00"},
    {"query_id": "002", "query": "1e5", "document": "true"},
    {"query_id": 7, "query": "NA", "document": "null"},
]


@pytest.mark.parametrize("name", ["a.jsonl", "b.json", "c.csv", "d.tsv", "e.jsonl.gz"])
def test_a_text_stays_a_text(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    columns = list(DATES[0])
    if ".json" in name:
        write_jsonl(file, DATES)
        if name == "b.json":
            file.write_text(json.dumps(DATES, indent=1))
    else:
        mark = "\t" if name.endswith("tsv") else ","
        lines = [columns, *([str(row[column]) for column in columns] for row in DATES)]
        file.write_text("".join(mark.join(line) + "\r\n" for line in lines))
    if name.endswith("gz"):
        file.write_bytes(gzip.compress(file.read_bytes()))
    (found,) = load_triples(str(file), negatives=None, columns={})
    assert list(found.rows()) == [
        {name: str(row[name]) for name in ("query", "document", "query_id")} for row in DATES
    ]
    read = read_columns(Table(path=str(file), columns={"id": "query_id", "text": "query"}), "queries")
    assert [str(value) for value in read["id"]] == ["2024-01-01", "002", "7"]
    assert read["text"] == [row["query"] for row in DATES]


def test_empty_lists_come_first_and_texts_later(tmp_path: Path) -> None:
    row: dict[str, Any] = {"query": "q", "document": "d" * 10_000}
    rows = [row | {"negative": []}] * 1100 + [row | {"negative": ["n"]}]
    file = write_jsonl(tmp_path / "late.jsonl", rows)
    (found,) = load_triples(str(file), negatives=1, columns={}, skip_empty=True)
    assert [row["negative"] for row in found.rows()] == [["n"]]


@pytest.mark.parametrize("end", [".tsv", ".csv"])
def test_a_carriage_return_alone_is_part_of_a_text(tmp_path: Path, end: str) -> None:
    file = tmp_path / f"a{end}"
    mark = b"\t" if end == ".tsv" else b","
    file.write_bytes(
        mark.join([b"query", b"document"]) + b"\r\n" + mark.join([b'"q\r1"', b'"d\xc2\x851"']) + b"\r\n"
    )
    (found,) = load_triples(str(file), negatives=None, columns={})
    quote = '"' if end == ".tsv" else ""
    assert list(found.rows()) == [
        {"query": f"{quote}q\r1{quote}", "document": f"{quote}d\x851{quote}"},
    ]


def test_a_table_of_text_may_hold_long_and_quoted_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('query,document\n"a ""b""\n\nc",' + "x" * 200_000 + "\n")
    (found,) = load_triples(str(tmp_path / "a.csv"), negatives=None, columns={})
    assert list(found.rows()) == [{"query": 'a "b"\n\nc', "document": "x" * 200_000}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"query": "a", "document": "b"}\n{"query": 1, "document": "b"}\n',
            r"line 2: query must be text, not 1$",
        ),
        ('{"query": "a", "document": "b"}\n[1]\n', r"line 2: a JSON object in braces is expected"),
        ('[{"query": "a", "document": "b"}, 3]', r"entry 2: a JSON object in braces is expected"),
        ('{"query": "a", "document": "\\ud83d"}\n', r"line 1: \\ud83d is half of a character"),
        ("version https://git-lfs.github.com/spec/v1\n", r": is a pointer of Git LFS"),
        ('{"query": "a", "document": "b", "query_id": 1.5}\n', r"line 1: query_id must hold ids"),
        (
            '{"query": "a", "document": "b"}\n' * 1000 + '{"query": "a", "query_id": "b"}\n',
            r"line 1001: the column query_id is in none of the first rows; give it to all",
        ),
    ],
)
def test_a_bad_row_of_json_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError, match=rf"^data\.path: \S+a\.jsonl( |$)?{message}"):
        load_triples(str(tmp_path / "a.jsonl"), negatives=None, columns={})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "query\tdocument\na\tb\tc\n", r"line 2: 3 values; there are 2 columns \(query, document\)"),
        ("a.tsv", "a\tb\nc\n", r"line 2: 1 values; there are 2 columns"),
        ("a.csv", "query,query\na,b\n", r"line 1: two columns have one name"),
        ("a.csv", 'query,document\na,"b\n', r"line 3: not valid CSV"),
        ("a.csv", "query,document\na,\udcff\n", r"line 2: not valid CSV in UTF-8"),
    ],
)
def test_a_bad_row_of_a_table_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=rf"^data\.path: \S+ {message}"):
        load_triples(str(tmp_path / name), negatives=None, columns={})


def test_grades_of_parquet_layouts_have_a_range(tmp_path: Path) -> None:
    tables = {
        "corpus": [{"_id": "d", "text": "x"}],
        "queries": [{"_id": "q", "text": "y"}],
        "qrels": [{"query-id": "q", "corpus-id": "d", "score": 99_999_999_999}],
    }
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    layout = Layout(
        Table(path=str(tmp_path / "corpus.parquet"), columns={"id": "_id", "text": "text"}),
        Table(path=str(tmp_path / "queries.parquet"), columns={"id": "_id", "text": "text"}),
        Table(
            path=str(tmp_path / "qrels.parquet"),
            columns={"query": "query-id", "document": "corpus-id", "grade": "score"},
        ),
    )
    with pytest.raises(InputError, match=r"qrels\.parquet \(train\): the score must be between -1000000 and"):
        load_hub_splits("toy", layout, ["test"])


def parquet(file: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), file.with_suffix(".parquet"))
    return file.with_suffix(".parquet")


def table(file: Path, rows: list[dict[str, Any]]) -> Path:
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    file.with_suffix(".tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    return file.with_suffix(".tsv")


Write = Callable[[Path, list[dict[str, Any]]], Path]
WRITE: dict[str, Write] = {"parquet": parquet, "jsonl": write_jsonl, "tsv": table}


@pytest.mark.parametrize("form", WRITE)
@pytest.mark.parametrize("names", [("anchor", "positive"), ("query", "document"), ("query", "positive")])
def test_the_names_of_the_peers_are_understood(tmp_path: Path, form: str, names: tuple[str, str]) -> None:
    query, document = names
    row = {query: "q", document: "d"}
    many = {f"negative_{n}": f"n{n}" for n in (10, 2, 1)}
    file = WRITE[form](tmp_path / "a.jsonl", [row | many])
    (found,) = load_triples(str(file), negatives=5, columns={})
    assert list(found.rows()) == [{"query": "q", "document": "d", "negative": ["n1", "n2", "n10"]}]
    file = WRITE[form](tmp_path / "b.jsonl", [row | {"negative": "n"}])
    (found,) = load_triples(str(file), negatives=5, columns={})
    assert list(found.rows()) == [{"query": "q", "document": "d", "negative": ["n"]}]
    (found,) = load_triples(str(file), negatives=None, columns={})
    assert list(found.rows()) == [{"query": "q", "document": "d"}]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_missing_numbered_negative_is_none(tmp_path: Path, form: str) -> None:
    row = {"anchor": "q", "positive": "d", "negative_1": "n1"}
    file = WRITE[form](tmp_path / "a.jsonl", [row | {"negative_2": "n2"}, row | {"negative_2": None}])
    (found,) = load_triples(str(file), negatives=5, columns={})
    assert ([each["negative"] for each in found.rows()], found.negatives) == ([["n1", "n2"], ["n1"]], 1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"anchor": "x"},
            r"^data\.columns\.query: a/train has the columns query and anchor, which may both be",
        ),
        (
            {"positive": "x"},
            r"^data\.columns\.document: a/train has the columns document and positive, which",
        ),
        (
            {"negative": ["x"]},
            r"^data\.columns\.negative: a/train has the columns negative and negative_1, which",
        ),
    ],
)
@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_two_columns_for_one_must_be_told_apart(tmp_path: Path, form: str, more: Any, message: str) -> None:
    row = {"query": "q", "document": "d", "negative_1": "n"} | more
    file = WRITE[form](tmp_path / "a.jsonl", [row])
    with pytest.raises(InputError, match=message):
        load_triples(str(file), negatives=1, columns={})
    (ours,) = [name for name in ("query", "document", "negative") if f".{name}:" in message.replace("\\", "")]
    (found,) = load_triples(str(file), negatives=1, columns={ours: next(iter(more))})
    assert next(iter(found.rows()))[ours] in ("x", ["x"])


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
@pytest.mark.parametrize("column", ["label", "score"])
@pytest.mark.parametrize("labels", [[1, 0, 2], [0.5, 0.0, 1.0], [True, False, True]])
def test_a_row_whose_label_says_irrelevant_is_no_positive(
    form: str, column: str, labels: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"query": f"q{n}", "document": f"d{n}", column: label} for n, label in enumerate(labels)]
    file = WRITE[form](tmp_path / "a.jsonl", rows)
    message = (
        r"^data\.path: a/train: the label says not relevant \(0 or below\) in rows 1 \(1\); mend them, or set"
    )
    with pytest.raises(InputError, match=message):
        load_triples(str(file), negatives=None, columns={})
    (found,) = load_triples(str(file), negatives=None, columns={}, skip_empty=True)
    assert list(found.rows()) == [{"query": f"q{n}", "document": f"d{n}"} for n in (0, 2)]
    assert "1 rows left out (data.skip_empty): the label says not relevant" in caplog.text


def test_labels_above_0_and_those_of_texts_are_alike(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"query": "q", "document": "d", "label": label} for label in (1, "0.5", "good", [0, 1], None)]
    (found,) = load_triples(str(write_jsonl(tmp_path / "a.jsonl", rows)), negatives=None, columns={})
    assert len(found) == 5
    assert "all rows whose label is above 0 count as relevant pairs alike" in caplog.text


def test_parted_triples_read_a_literal_folder_and_texts_as_texts(tmp_path: Path) -> None:
    for name in ("set[a]", "seta"):
        write_jsonl(
            tmp_path / name / "x.jsonl", [{"query": "2024-01-01", "positives": [name], "negatives": ["n"]}]
        )
    wanted = PartedTriples(str(tmp_path / "set[a]"), None, "*.jsonl", {}, "{query}", None, 1, 1, 1)
    assert list(load_parted(wanted).rows()) == [
        {"query": "2024-01-01", "document": "set[a]", "negative": ["n"]}
    ]


def test_a_pointer_of_git_lfs_in_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "train.parquet").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:1\n"
    )
    with pytest.raises(
        InputError, match=r"^data\.path: \S+train\.parquet: is a pointer of Git LFS.*git lfs pull"
    ):
        load_triples(str(tmp_path / "s"), negatives=None, columns={})


def test_files_on_the_hub_are_streamed_or_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the hub: the library's builder over a local copy, its files named by addresses."""
    import datasets

    write_jsonl(tmp_path / "hub" / "train.jsonl", [{"query": "2024-01-01", "document": "002"}])
    real = datasets.load_dataset_builder

    def builder(path: str, *_: Any, **__: Any) -> Any:
        assert path == "owner/name"
        found = real(str(tmp_path / "hub"), cache_dir=str(tmp_path / "hf"))
        address = f"file://{tmp_path / 'hub' / 'train.jsonl'}"
        found.config.data_files = {"train": [address]}
        return found

    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    rows = find_rows("owner/name")
    assert rows.form.remote
    wanted = [{"query": "2024-01-01", "document": "002"}]
    assert [row for _, row in rows.rows("train")] == wanted
    (found,) = load_triples("owner/name", negatives=None, columns={})
    assert list(found.rows()) == wanted
    (found,) = load_triples("owner/name", negatives=None, columns={}, rows=3, stream_to=tmp_path / "kept")
    assert list(found.rows()) == wanted


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_stream_of_several_files_draws_what_it_always_drew(tmp_path: Path, form: str) -> None:
    for shard in range(3):
        rows = [
            {"query": f"q{shard}-{n}", "document": f"d{shard}-{n}", "negative": ["a", "b"]}
            for n in range(200)
        ]
        file = tmp_path / "s" / f"train-0000{shard}-of-00003.jsonl"
        file.parent.mkdir(exist_ok=True)
        WRITE[form](file, rows)
    (found,) = load_triples(
        str(tmp_path / "s"), negatives=2, columns={}, rows=50, stream_to=tmp_path / "kept"
    )
    assert [text for _, text in found.training_queries()][:3] == ["q1-176", "q0-29", "q0-163"]
    assert found.fingerprint == "8aa8b8b256565897"  # as the library's own stream gave it


@pytest.mark.parametrize("other", ["more.csv", "more.jsonl"])
def test_files_of_a_folder_that_are_not_read_are_told(
    tmp_path: Path, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for name in ("train.jsonl", other):
        (folder / name).write_text('{"query": "q", "document": "d"}\n')
        told = f"not read, being of another format or not named after a split as others are: {name};"
        assert [len(source) for source in load_triples(str(folder), negatives=None, columns={})] == [1]
        assert (told in caplog.text) == (name == other)
