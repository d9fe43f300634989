"""Triples of ids over a collection."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.text.collections.text_files import tsv_documents
from colbert_lab.text.rows.id_triples import read_id_triples

ROWS = [["q2", "d3", "d1", "d2"], ["q1", "d1", "d2"], ["q2", "d2", "d4", "d1"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "marco"
    root.mkdir()
    (root / "collection.tsv").write_text("".join(f"d{n}\ttext {n}\n" for n in range(5)))
    (root / "queries.tsv").write_text("".join(f"q{n}\tquery {n}\n" for n in range(4)))
    (root / "triples.tsv").write_text("".join("\t".join(row) + "\n" for row in ROWS))
    return root


def test_ids_are_joined_to_their_texts(folder: Path, tmp_path: Path) -> None:
    triples = read_id_triples(folder, folder / "triples.tsv", 5, tmp_path / "cache")
    assert (triples.name, len(triples), triples.negatives, triples.fewest) == ("marco/triples", 3, 1, 2)
    example = triples.example(0, 2, np.random.default_rng(0))
    assert (example.query_id, example.query, example.scores) == ("q2", "query 2", None)
    assert list(example.document_ids) == ["d3", "d1"]  # a row's first negative, as the shortest row has one
    assert list(example.documents) == ["text 3", "text 1"]
    assert list(triples.training_queries()) == [("q2", "query 2"), ("q1", "query 1")]
    pairs = read_id_triples(folder, folder / "triples.tsv", None, tmp_path / "cache")
    assert (pairs.fewest, list(pairs.example(1, 1, np.random.default_rng(0)).documents)) == (1, ["text 1"])
    assert pairs.fingerprint != triples.fingerprint


def test_json_lines_and_beir_folders_give_the_same(folder: Path, tmp_path: Path) -> None:
    wanted = read_id_triples(folder, folder / "triples.tsv", 2, tmp_path / "cache").fingerprint
    (folder / "triples.json").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert read_id_triples(folder, folder / "triples.json", 2, tmp_path / "cache").fingerprint == wanted
    (folder / "collection.tsv").unlink()
    lines = [json.dumps({"_id": f"d{n}", "text": f"text {n}"}) for n in range(5)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "queries.jsonl").write_text(
        "\n".join(json.dumps({"_id": f"q{n}", "text": f"query {n}"}) for n in range(4))
    )
    assert read_id_triples(folder, folder / "triples.json", 2, tmp_path / "cache").fingerprint == wanted


def test_queries_can_be_left_out(folder: Path, tmp_path: Path) -> None:
    triples = read_id_triples(folder, folder / "triples.tsv", 1, tmp_path / "cache")
    fewer = triples.without({"q1"})
    assert [fewer.example(n, 1, np.random.default_rng(0)).documents[0] for n in range(2)] == [
        "text 3",
        "text 2",
    ]
    assert list(fewer.training_queries()) == [("q2", "query 2")]
    assert fewer.fingerprint != triples.fingerprint
    assert len(fewer.without({"q2"})) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "q9\td1\td2",
            r"^data\.triples: \S+triples\.tsv line 4: queries that are not in the collection: 1 \(q9\)",
        ),
        ("q1\td1\td9", r"line 4: documents that are not in the collection: 1 \(d9\)"),
        ("q1\td1\td1", r"line 4: positives among their own negatives: 1 \(d1\)"),
        ("q1", r"line 4: a query and its positive are needed at least"),
        ("q1\td1", r"triples\.tsv line 4: no negative; use data=pairs"),
        ("q1\td0\td2", r"line 4: documents with an empty text: 1 \(d0\)"),
    ],
)
def test_mistakes_are_named_and_nothing_is_kept(
    line: str, message: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "collection.tsv").write_text((folder / "collection.tsv").read_text().replace("text 0", ""))
    with (folder / "triples.tsv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=message):
        read_id_triples(folder, folder / "triples.tsv", 1, tmp_path / "cache")
    if "no negative" not in message:
        assert not list((tmp_path / "cache" / "id_triples").iterdir())


def test_files_that_are_no_triples(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.triples: \S+none\.tsv: no such file of triples"):
        read_id_triples(folder, folder / "none.tsv", 1, tmp_path)
    (folder / "a.json").write_text('{"query": 1}\n')
    with pytest.raises(
        InputError, match=r"a\.json line 1: \[query, positive, negative, \.\.\.\] is expected"
    ):
        read_id_triples(folder, folder / "a.json", 1, tmp_path)
    (folder / "b.tsv").write_text("\n")
    with pytest.raises(InputError, match="holds no row"):
        read_id_triples(folder, folder / "b.tsv", 1, tmp_path)


def test_names_of_columns_and_compression_change_nothing(folder: Path, tmp_path: Path) -> None:
    wanted = read_id_triples(folder, folder / "triples.tsv", 2, tmp_path / "cache").fingerprint
    for name, header in (
        ("collection.tsv", "pid\tpassage\n"),
        ("queries.tsv", "id\ttext\n"),
        ("triples.tsv", ""),
    ):
        whole = header + (folder / name).read_text()
        (folder / name).unlink()
        (folder / f"{name}.gz").write_bytes(gzip.compress(whole.encode()))
    assert read_id_triples(folder, folder / "triples.tsv.gz", 2, tmp_path / "cache").fingerprint == wanted


def test_a_carriage_return_alone_is_part_of_a_text(folder: Path) -> None:
    (folder / "collection.tsv").write_bytes(b"d0\tone\rtwo\r\nd1\tthree\n")
    assert list(tsv_documents(folder)) == [("d0", "one\rtwo"), ("d1", "three")]
