"""Score files in every format give the same scores, and a bad one is refused with one line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.errors import InputError
from colbert_lab.teachers.score_files import read_scores

SCORES = {"q1": {"d1": 2.5, "d2": -1.0, "d3": 0.0}, "q2": {"d3": 7.0, "d1": 6.5}}
QUERIES, DOCUMENTS = {"q1", "q2", "q3"}, {"d1", "d2", "d3"}
ROWS = [{"query_id": q, "document_ids": list(own), "scores": list(own.values())} for q, own in SCORES.items()]
OBJECTS = "".join(json.dumps(row) + "\n" for row in ROWS)
NWAY = "".join(json.dumps([q, *([d, s] for d, s in own.items())]) + "\n" for q, own in SCORES.items())
TSV = "".join(f"{q}\t{d}\t{s}\n" for q, own in SCORES.items() for d, s in own.items())
RUN = "".join(f"{q} Q0 {d} 1 {s} tag\n" for q, own in SCORES.items() for d, s in own.items())


def read(path: Path) -> dict[str, dict[str, float]]:
    found = read_scores(path, QUERIES, DOCUMENTS)
    return {
        query: dict(zip(scored.documents, scored.scores.tolist(), strict=True))
        for query, scored in found.items()
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", OBJECTS),
        ("a.json", OBJECTS),
        ("a.jsonl", NWAY),
        ("a.json", "\n" + NWAY),
        ("a.tsv", TSV),
        ("a.run", RUN),
        ("a.trec", RUN),
        ("a.txt", RUN),
    ],
)
def test_every_format_gives_the_same_scores(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read(tmp_path / name) == SCORES
    assert list(read(tmp_path / name)) == list(SCORES)


def test_parquet_and_a_folder_of_it_give_the_same_scores(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == SCORES
    (tmp_path / "train").mkdir()
    (tmp_path / "a.parquet").rename(tmp_path / "train" / "part-0.parquet")
    assert read(tmp_path) == SCORES


def test_ids_may_be_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[1, [10, 0.5], [11, 2]]\n")
    assert list(read_scores(tmp_path / "a.jsonl", {"1"}, {"10", "11"})) == ["1"]


LINE = '{"query_id": "q1", "document_ids": %s, "scores": %s}'
BAD = {
    "lengths": ("a.jsonl", LINE % ('["d1", "d2"]', "[1]"), "line 1: lists with more or fewer scores"),
    "NaN": ("a.jsonl", LINE % ('["d1", "d2"]', "[1, NaN]"), "line 1: lists with NaN or infinite scores"),
    "one document": ("a.jsonl", LINE % ('["d1"]', "[1]"), "fewer than 2 documents"),
    "repeated": ("a.jsonl", LINE % ('["d1", "d1"]', "[1, 2]"), "hold a document twice"),
    "two lists": ("a.jsonl", OBJECTS + OBJECTS, "line 3: queries with more than one list: 2"),
    "document": (
        "a.jsonl",
        LINE % ('["d1", "d9"]', "[1, 2]"),
        r"documents .* not in the collection: 1 \(d9\)",
    ),
    "query": ("a.tsv", TSV + "q9\td1\t1\nq9\td2\t1\n", r"queries .* not in the collection: 1 \(q9\)"),
    "column": ("a.jsonl", '{"qid": "q1", "scores": []}', "line 1: no column query_id; it has qid, scores"),
    "text score": ("a.jsonl", LINE % ('["d1", "d2"]', '[1, "x"]'), "line 1: scores must be numbers"),
    "JSON": ("a.jsonl", OBJECTS + "{", "line 3: not valid JSON"),
    "n-way JSON": ("a.jsonl", NWAY + "[1,", "line 3: not valid JSON"),
    "triples": ("a.json", '["q1", "d1", "d2"]', r"line 1: \[query, \[document, score\]"),
    "TSV columns": ("a.tsv", TSV + "q1\td1\n", "line 6: 2 columns; there should be 3"),
    "TSV score": ("a.tsv", "query\tdocument\tscore\n", "line 1: the score 'score' is not a finite number"),
    "TSV NaN": ("a.tsv", "q1\td1\tnan\n", "line 1: the score 'nan' is not a finite number"),
    "TSV id": ("a.tsv", "\td1\t1\n", "line 1: the first column must hold ids"),
    "run": ("a.run", "q1 d1 1\n", "line 1: 3 columns; a run has 6"),
    "type": ("a.csv", TSV, "unknown file type; there are .jsonl"),
    "empty": ("a.jsonl", "\n", "holds no scores"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_line(case: str, tmp_path: Path) -> None:
    name, text, part = BAD[case]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"^score\.files: \S+{name}.*{part}") as raised:
        read(tmp_path / name)
    assert "\n" not in str(raised.value)
    assert "data.scores" not in str(raised.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.tsv", "a.run"])
def test_bytes_that_are_not_utf8_are_named(name: str, tmp_path: Path) -> None:
    text = {"a.jsonl": OBJECTS, "a.json": NWAY, "a.tsv": TSV, "a.run": RUN}[name]
    (tmp_path / name).write_bytes(text.encode() + b"\xff\xfe\n")
    number = text.count("\n") + 1
    with pytest.raises(InputError, match=rf"^score\.files: \S+{name} line {number}: not UTF-8"):
        read(tmp_path / name)


def test_a_truncated_parquet_file_or_one_of_other_columns_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"^score\.files: \S+a\.parquet: not readable as Parquet"):
        read(file)
    pq.write_table(pa.table({"query_id": ["q1"], "pids": [["d1"]]}), file)
    with pytest.raises(InputError, match=r"row 1: no column document_ids; it has query_id, pids"):
        read(file)


def test_a_missing_file_and_another_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^score\.files: \S+none: no such file"):
        read(tmp_path / "none")
    with pytest.raises(InputError, match=r"a folder without train/\*\.parquet"):
        read(tmp_path)
