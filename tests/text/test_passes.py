"""What a pass over much text found is kept, and a second start does not read the text."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.run import contamination
from colbert_lab.run.contamination import overlaps
from colbert_lab.text import passes
from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.passes import keep_passes_in, kept_pass
from colbert_lab.text.rows import triples
from colbert_lab.text.rows.hub_triples import load_triples
from colbert_lab.training import positives
from colbert_lab.training.positives import KnownPositives

ARRAYS = {"a": np.arange(5), "texts": np.array(["x", "yy"])}


@pytest.fixture(autouse=True)
def _kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = passes._folder
    keep_passes_in(tmp_path / "passes")
    for module in (triples, positives, contamination):
        monkeypatch.setattr(module, "MANY", 1)
    yield
    keep_passes_in(before)


def fails() -> dict[str, np.ndarray]:
    raise AssertionError("made again")


def test_a_pass_is_made_once() -> None:
    kept_pass("rows", ["content"], lambda: ARRAYS)
    found = kept_pass("rows", ["content"], fails)
    assert {name: values.tolist() for name, values in found.items()} == {
        name: values.tolist() for name, values in ARRAYS.items()
    }
    assert isinstance(found["a"], np.memmap)
    with pytest.raises(AssertionError):
        kept_pass("rows", ["other content"], fails)
    with pytest.raises(AssertionError):
        kept_pass("another pass", ["content"], fails)


def test_without_a_folder_or_a_content_nothing_is_kept(tmp_path: Path) -> None:
    assert kept_pass("rows", None, lambda: ARRAYS).keys() == ARRAYS.keys()
    keep_passes_in(None)
    assert kept_pass("rows", ["content"], lambda: ARRAYS).keys() == ARRAYS.keys()
    assert not (tmp_path / "passes").exists()


def test_a_damaged_pass_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept_pass("rows", ["content"], lambda: ARRAYS)
    (file,) = (tmp_path / "passes").glob("*/a.npy")
    file.write_bytes(file.read_bytes()[:20])
    with caplog.at_level(logging.WARNING):
        again = kept_pass("rows", ["content"], lambda: ARRAYS)
    assert "it is made anew" in caplog.text
    assert again["a"].tolist() == [0, 1, 2, 3, 4]
    assert kept_pass("rows", ["content"], fails)["a"].tolist() == [0, 1, 2, 3, 4]


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "passes").write_text("")
    with caplog.at_level(logging.WARNING):
        assert kept_pass("rows", ["content"], lambda: ARRAYS).keys() == ARRAYS.keys()
    assert "cannot be" in caplog.text


def write_pairs(folder: Path, last: str = "a red fish") -> Path:
    rows = [("what swims", "a fish"), ("what flies", "a bird"), ("what flies", "a kite"), ("what reds", last)]
    table = pa.Table.from_pylist([{"query": query, "document": document} for query, document in rows])
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    return folder


def test_a_second_start_reads_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_pairs(tmp_path / "pairs")
    asked = build_split(
        "toy", "test", build_corpus(["d"], ["a bird"]), {"q": "What flies?"}, {"q": {"d": 1}}, {}
    )

    def start() -> tuple[object, ...]:
        (source,) = load_triples(str(folder), negatives=None, columns={})
        known = KnownPositives([source])
        positives = [sorted(known.of(query)) for query in ("what flies", "what swims")]
        found = overlaps(source, {"test": asked})
        return source.fingerprint, len(source), known.queries, known.pairs, positives, found

    first = start()
    assert first[1:4] == (4, 1, 2)
    assert first[5] == {"test": ["1", "2"]}
    for module, name in (
        (triples, "checked_rows"),
        (positives, "_positives"),
        (triples, "queries_among"),
    ):
        monkeypatch.setattr(module, name, lambda *_: fails())
    assert start() == first
    write_pairs(folder, last="another text")
    with pytest.raises(AssertionError, match="made again"):
        start()


def test_other_ids_of_the_same_texts_are_other_overlaps(tmp_path: Path) -> None:
    asked = build_split(
        "toy", "test", build_corpus(["d"], ["a bird"]), {"q": "What flies?"}, {"q": {"d": 1}}, {}
    )
    marks = []
    for ids in (None, ["a", "b", "c", "d"], ["e", "f", "g", "h"]):
        folder = tmp_path / f"pairs-{ids and ids[0]}"
        write_pairs(folder)
        if ids:
            file = next(folder.glob("*.parquet"))
            pq.write_table(pq.read_table(file).append_column("query_id", pa.array(ids)), file)
        (source,) = load_triples(str(folder), negatives=None, columns={})
        marks.append((source.fingerprint, source.ids_fingerprint))
        assert overlaps(source, {"test": asked})["test"] == (ids or list("0123"))[1:3]
    assert len({mark for mark, _ in marks}) == 1
    assert len({mark for _, mark in marks}) == 3


def test_rows_that_are_left_out_are_told_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_pairs(tmp_path / "pairs", last=" ")
    for _ in range(2):
        with pytest.raises(InputError, match=r"document is empty in rows 1 \(3\); mend them"):
            load_triples(str(folder), negatives=None, columns={})
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            (source,) = load_triples(str(folder), negatives=None, columns={}, skip_empty=True)
        assert "train: 1 rows left out (data.skip_empty): document is empty in rows 1 (3)" in caplog.text
        assert len(source) == 3
