"""Score files in every format give the same scores, and a bad one is refused with one line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.sources.score_files import QueryScores, combine, read_scores

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


def scored(**scores: float) -> QueryScores:
    return QueryScores(list(scores), np.array(list(scores.values()), dtype=np.float64))


# Over 10, 20, 60 the mean is 30 and the deviation sqrt(1400 / 3); over 4, 2 they are 3 and 1.
A, B = scored(a=10.0, b=20.0, c=60.0), scored(c=4.0, a=2.0)
DEVIATION = math.sqrt(1400 / 3)


def combined(how: str, missing: str, *lists: QueryScores) -> dict[str, float]:
    members = {f"m{n}": {"q": own} for n, own in enumerate(lists)}
    found = combine(members, how, missing)["q"]
    return dict(zip(found.documents, found.scores.tolist(), strict=True))


def test_zscores_with_the_lowest_for_what_a_member_lacks() -> None:
    found = combined("zscore", "lowest", A, B)
    expected = {
        "c": (30 / DEVIATION + 1) / 2,
        "b": (-10 / DEVIATION - 1) / 2,  # B lacks it: its lowest z-score is that of a
        "a": (-20 / DEVIATION - 1) / 2,
    }
    assert found == pytest.approx(expected)
    assert list(found) == list(expected)


def test_zscores_over_the_documents_that_all_have() -> None:
    # Of A, 10 and 60 are left: mean 35, deviation 25.
    assert combined("zscore", "drop", A, B) == pytest.approx({"c": 1.0, "a": -1.0})


def test_ranks_scaled_to_one_and_zero() -> None:
    assert combined("rank", "lowest", A, B) == pytest.approx({"c": 1.0, "b": 0.25, "a": 0.0})
    assert combined("rank", "drop", A, B) == pytest.approx({"c": 1.0, "a": 0.0})
    ties = scored(a=5.0, b=5.0, c=9.0, d=1.0, e=5.0)  # a, b and e share the mean rank 3 of 5
    found = combined("rank", "lowest", ties, ties)
    assert found == pytest.approx({"c": 1.0, "e": 0.5, "b": 0.5, "a": 0.5, "d": 0.0})
    assert list(found) == ["c", "e", "b", "a", "d"]


def test_the_scale_of_a_member_does_not_matter() -> None:
    scaled = QueryScores(B.documents, 1000 * B.scores - 5)
    for how in ("zscore", "rank"):
        assert combined(how, "lowest", A, scaled) == pytest.approx(combined(how, "lowest", A, B))


def test_equal_scores_count_for_nothing() -> None:
    flat = scored(a=0.1, b=0.1, c=0.1)
    assert combined("zscore", "lowest", A, flat) == pytest.approx(
        {"c": 15 / DEVIATION, "b": -5 / DEVIATION, "a": -10 / DEVIATION}
    )


def test_every_member_scores_every_query() -> None:
    with pytest.raises(InputError, match=r"queries of x that y does not score: 1 \(q2\)"):
        combine({"x": {"q1": A, "q2": A}, "y": {"q1": B}}, "zscore", "lowest")
    with pytest.raises(InputError, match=r"queries of y that x does not score: 1 \(q2\)"):
        combine({"x": {"q1": A}, "y": {"q2": B, "q1": B}}, "zscore", "lowest")


def test_too_few_common_documents_are_named() -> None:
    members = {"x": {"q1": A, "q2": scored(a=1.0, b=2.0)}, "y": {"q1": B, "q2": scored(b=1.0, c=2.0)}}
    with pytest.raises(InputError, match=r"fewer than 2 documents that all files score: 1 \(q2\).*lowest"):
        combine(members, "zscore", "drop")
    none = {"x": {"q": scored(a=1.0, b=2.0)}, "y": {"q": scored(c=1.0, d=2.0)}}
    with pytest.raises(InputError, match=r"1 \(q\)"):
        combine(none, "rank", "drop")
