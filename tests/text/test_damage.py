"""Damaged files, by every reader of users' files: they are read, or refused in one line."""

from __future__ import annotations

import gzip
import json
import random
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Ranking, Split
from colbert_lab.evaluation.measures import evaluate
from colbert_lab.sources.score_files import read_scores
from colbert_lab.text.collections.beir import load_beir
from colbert_lab.text.collections.hub_splits import Layout, Table, load_hub_splits
from colbert_lab.text.collections.splits import load_candidates
from colbert_lab.text.collections.text_files import read_run
from colbert_lab.text.rows.hub_triples import load_triples
from colbert_lab.text.rows.id_triples import read_id_triples
from colbert_lab.text.rows.parted_triples import PartedTriples, load_parted
from colbert_lab.text.scored_lists import read_scored_lists
from tests.hub_copies import write_configs, write_splits

INPUTS = 32  # of each reader
DOCUMENTS = {f"d{n}": f"text of document {n}" for n in range(6)}
QUERIES = {f"q{n}": f"query {n}" for n in range(4)}
QRELS = [(query, f"d{n}", n % 2 + 1) for n, query in enumerate(QUERIES)]
TRIPLES = [
    {"query_id": q, "query": text, "document": f"to {q}", "negative": ["a", "b"]}
    for q, text in QUERIES.items()
]
LISTS = [{"query_id": q, "document_ids": ["d1", "d2", "d3"], "scores": [1.5, 0.25, -3.0]} for q in QUERIES]
PARTED = [
    {"query": ["do", text], "positives": [["", "p"]], "negatives": [["", "n"]]} for text in QUERIES.values()
]
ROWS = [{"query": text, "positive": f"to {q}", "negatives": ["a", "b"]} for q, text in QUERIES.items()]
STRANGE = [
    "null", "true", "1e400", "-1", "NaN", "0.5", "2147483648", "9223372036854775807", "9" * 400, '""', '"1_0"', '" "',
    '"\\ud83d"', '"\\udc00\\ud800"', '"d\\u0000x"', '"2024-01-01"', '"\\r\\u2028"', "[]", "{}", "[[1]]", '[null, ""]',
    "[" * 3000, "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000, '"' + "[" * 3000 + '"', "'", "\\",
]  # fmt: skip


class Reader(NamedTuple):
    """How to write whole files below a folder, and how to read them."""

    write: Callable[[Path], object]
    read: Callable[[Path], object]


def lines(file: Path, rows: list[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def tabs(file: Path, rows: list[Any], mark: str = "\t") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(mark.join(map(str, row)) + "\n" for row in rows), encoding="utf-8")


def parquet(file: Path, rows: list[Any]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), file)


def beir(folder: Path) -> None:
    lines(
        folder / "corpus.jsonl", [{"_id": key, "text": text, "title": ""} for key, text in DOCUMENTS.items()]
    )
    lines(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in QUERIES.items()])
    tabs(folder / "qrels" / "test.tsv", [("query-id", "corpus-id", "score"), *QRELS])


def gzipped(folder: Path) -> None:
    beir(folder)
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()


def collection(folder: Path) -> None:
    tabs(folder / "collection.tsv", list(DOCUMENTS.items()))
    tabs(folder / "queries.tsv", list(QUERIES.items()))
    tabs(folder / "triples.tsv", [(query, "d1", "d2") for query in QUERIES])
    lines(folder / "triples.json", [[query, "d1", "d2"] for query in QUERIES])


def measured(split: Split) -> None:
    """What is read may be measured: trec_eval's own code would end the process."""
    ids = list(split.corpus.ids)
    falling = [float(n) for n in range(len(ids), 0, -1)]
    evaluate(
        Ranking(list(split.queries), [ids] * len(split.queries), [falling] * len(split.queries)),
        split.qrels,
        ["ndcg@10"],
    )


def layout(write: Callable[[Path, list[Any]], None], end: str) -> Reader:
    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        write(folder / f"corpus{end}", [{"_id": key, "text": text} for key, text in DOCUMENTS.items()])
        write(folder / f"queries{end}", [{"_id": key, "text": text} for key, text in QUERIES.items()])
        write(
            folder / f"qrels{end}",
            [{"q": query, "d": document, "score": grade} for query, document, grade in QRELS],
        )

    def read(folder: Path) -> None:
        table = {"id": "_id", "text": "text"}
        judged = {"query": "q", "document": "d", "grade": "score"}
        corpus, queries, qrels = (
            Table(path=str(folder), file=f"{name}{end}", columns=columns)
            for name, columns in (("corpus", table), ("queries", table), ("qrels", judged))
        )
        found = Layout(corpus, queries, qrels)
        measured(load_hub_splits("toy", found, ["test"])["test"])

    return Reader(make, read)


def named(write: Callable[[Path, list[Any]], None], end: str, rows: list[Any]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        write(folder / f"a{end}", rows)

    return make


def triples(end: str | None = None) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        path = folder if end is None else folder / f"a{end}"
        return [list(found.rows()) for found in load_triples(str(path), negatives=2, columns={})]

    return read


def scores(end: str) -> Callable[[Path], object]:
    return lambda folder: read_scores(folder / f"a{end}", QUERIES, DOCUMENTS)


def table_of(rows: Sequence[Mapping[str, Any]], mark: str) -> Callable[[Path], None]:
    flat = [(row["query"], row["document"], *row["negative"]) for row in rows]
    names = ("query", "document", "negative_1", "negative_2")
    end = ".tsv" if mark == "\t" else ".csv"
    return lambda folder: tabs(folder / f"a{end}", [names, *flat], mark)


def array(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps(TRIPLES, indent=1), encoding="utf-8")


CANDIDATES = Table(columns={"query": "query", "positive": "positive", "negatives": "negatives"})
READERS = {
    "beir": Reader(beir, lambda folder: measured(load_beir(folder, "test"))),
    "beir.gz": Reader(gzipped, lambda folder: measured(load_beir(folder, "test"))),
    "id triples": Reader(collection, lambda f: read_id_triples(f, f / "triples.tsv", 1, f.parent / "cache")),
    "id triples, json": Reader(collection, lambda f: read_id_triples(f, f / "triples.json", 1, f.parent / "cache")),
    "run": Reader(
        lambda folder: tabs(folder / "a.run", [(q, "Q0", d, 1, 2.5, "x") for q in QUERIES for d in DOCUMENTS], " "),
        lambda folder: read_run(folder / "a.run", "run"),
    ),
    "scores.jsonl": Reader(named(lines, ".jsonl", LISTS), scores(".jsonl")),
    "scores.json": Reader(named(lines, ".json", [[q, ["d1", 1.5], ["d2", 2]] for q in QUERIES]), scores(".json")),
    "scores.tsv": Reader(named(tabs, ".tsv", [(q, d, 0.5) for q in QUERIES for d in DOCUMENTS]), scores(".tsv")),
    "scores.parquet": Reader(named(parquet, ".parquet", LISTS), scores(".parquet")),
    "triples.jsonl": Reader(named(lines, ".jsonl", TRIPLES), triples(".jsonl")),
    "triples.json": Reader(array, triples(".json")),
    "triples.tsv": Reader(table_of(TRIPLES, "\t"), triples(".tsv")),
    "triples.csv": Reader(table_of(TRIPLES, ","), triples(".csv")),
    "triples.parquet": Reader(named(parquet, ".parquet", TRIPLES), triples(".parquet")),
    "triples, folder": Reader(lambda folder: write_splits(folder, {"a": TRIPLES}), triples()),
    "lists, folder": Reader(
        lambda folder: write_configs(
            folder,
            {
                "train": LISTS,
                "queries": [{"query_id": key, "text": text} for key, text in QUERIES.items()],
                "documents": [{"document_id": key, "text": text} for key, text in DOCUMENTS.items()],
            },
        ),
        lambda folder: read_scored_lists(folder, cache_dir=folder.parent / "cache"),
    ),
    "layout.jsonl": layout(lines, ".jsonl"),
    "layout.parquet": layout(parquet, ".parquet"),
    "candidates": Reader(
        named(lines, ".jsonl", ROWS),
        lambda folder: load_candidates("toy", "test", CANDIDATES.filled(path=str(folder / "a.jsonl"))),
    ),
    "parted": Reader(
        named(lines, ".jsonl", PARTED),
        lambda folder: load_parted(PartedTriples(str(folder), None, None, {}, "{prompt} {query}", None, 1, 1, 1)),
    ),
}  # fmt: skip


def damaged(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """What was done, and what is left."""
    kind = chance.choice(
        ["flip", "flips", "cut", "noise", "strange", "strange", "strange", "line", "ends", "whole"]
    )
    if kind in ("flip", "flips"):
        changed = bytearray(data)
        for _ in range(1 if kind == "flip" else 20):
            changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return kind, bytes(changed)
    if kind == "cut":
        return kind, data[: chance.randrange(len(data))]
    if kind == "noise":
        place = chance.randrange(len(data))
        return kind, data[:place] + chance.randbytes(chance.choice([1, 8, 200])) + data[place:]
    if kind == "ends":
        return kind, data.replace(
            b"\n", chance.choice([b"\r", b"\r\n", b"\x85", "\u2028".encode(), b"\x00", b"\n\n"])
        )
    if kind == "whole":
        text = data.decode("utf-8", "replace")
        wholes = [
            b"", b"\n\n", b"\x00" * 50, text.encode("utf-16"), b"\xef\xbb\xbf" + data, gzip.compress(data), data * 2,
            b"version https://git-lfs.github.com/spec/v1\n", b"[1, 2]", b"{}", b"[]", b"PAR1" + data + b"PAR1",
        ]  # fmt: skip
        return kind, chance.choice(wholes)
    rows = data.split(b"\n")
    place = chance.randrange(len(rows))
    if kind == "line":
        return kind, b"\n".join([*rows[:place], *rows[place + chance.choice([0, 1]) :], rows[place]])
    value = chance.choice(STRANGE).encode()
    marks = [n for n, byte in enumerate(rows[place]) if byte in b'[,:{"\t ']
    if not marks:
        return kind, data + value
    start = chance.choice(marks) + 1
    later = [n for n in marks if n >= start]
    stop = later[0] if later and chance.random() < 0.8 else len(rows[place])
    rows[place] = rows[place][:start] + value + rows[place][stop:]
    return f"{kind} {value[:20]!r}", b"\n".join(rows)


def read_damaged(
    name: str, folder: Path, inputs: int, chance: random.Random, limit: Callable[[], Any] = nullcontext
) -> tuple[int, list[str]]:
    """Damage a reader's files again and again, one at a time.

    Args:
        name: of ``READERS``.
        folder: where the files go.
        inputs: how often.
        chance: what decides file and damage.
        limit: makes a context in which one input is read.

    Returns:
        How many were refused, and what went wrong with others.
    """
    reader = READERS[name]
    reader.write(folder)
    reader.read(folder)
    files = {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    refused, problems = 0, []
    for number in range(inputs):
        file = chance.choice(list(files))
        what, data = damaged(files[file], chance)
        file.write_bytes(data)
        place = f"{name}, input {number}: {file.name}, {what}"
        try:
            with limit():
                reader.read(folder)
        except InputError as error:
            refused += 1
            said = str(error)
            said.encode()
            if "\n" in said or len(said) >= 1500:
                problems.append(f"{place}: no short line: {said!r}")
        except Exception:
            problems.append(f"{place}: {traceback.format_exc(limit=-4)}")
        file.write_bytes(files[file])
    return refused, problems


@pytest.mark.parametrize("name", READERS)
def test_damage_is_read_or_refused_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    refused, problems = read_damaged(name, tmp_path / "data", INPUTS, random.Random(name))
    assert not problems, "\n".join(problems)
    assert refused > INPUTS // 4
