"""Passes in several processes find what one process finds."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.run.contamination import overlaps
from colbert_lab.text import passes, spans
from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.fingerprint import overlapping_queries, text_keys
from colbert_lab.text.rows.hub_triples import load_triples
from colbert_lab.text.rows.triples import Triples
from colbert_lab.training.positives import KnownPositives

SIZE, ROWS = 7, 40


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = passes._folder
    passes.keep_passes_in(None)
    monkeypatch.setattr(spans, "SPAN", SIZE)
    yield
    passes.keep_passes_in(before)


def have(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(spans, "cores", lambda: number)


def written(folder: Path, **changes: list[object]) -> Path:
    columns: dict[str, list[object]] = {
        "query": [f"query {n % 17}" for n in range(ROWS)],
        "document": [f"document {n % 23}" for n in range(ROWS)],
        "negative": [[f"negative {n}", f"other {n}"] for n in range(ROWS)],
        "query_id": [f"id {n % 17}" for n in range(ROWS)],
    }
    folder.mkdir()
    pq.write_table(pa.table(columns | changes), folder / "train-00000-of-00001.parquet")
    return folder


def loaded(folder: Path, skip: bool = False) -> Triples:
    (source,) = load_triples(str(folder), negatives=2, columns={}, skip_empty=skip)
    assert isinstance(source, Triples)
    return source


def positives(source: Triples) -> list[list[int]]:
    known = KnownPositives([source])
    return [sorted(known.of(f"query {n}").tolist()) for n in range(17)]


@pytest.mark.parametrize("flawed", [False, True])
def test_any_number_of_processes_finds_the_same(
    flawed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, list[object]] = {}
    if flawed:
        changes["query"] = [None if n == 9 else f"query {n % 17}" for n in range(ROWS)]
        changes["document"] = [" " if n in (0, 39) else f"document {n % 23}" for n in range(ROWS)]
    folder = written(tmp_path / "rows", **changes)
    queries = {"a": "Query 3.", "b": "query 9", "c": "nothing"}
    judged = {query: {"d": 1} for query in queries}
    split = build_split("toy", "test", build_corpus(["d"], ["x"]), queries, judged, {})
    found = []
    for number in (1, 3):
        have(monkeypatch, number)
        source = loaded(folder, skip=flawed)
        named = overlaps(source, {"test": split})
        assert named == overlapping_queries(source.training_queries(), {"test": split})
        assert (
            source.query_keys().tolist() == text_keys(text for _, text in source.training_queries()).tolist()
        )
        found.append(
            (source.fingerprint, source.ids_fingerprint, source.dropped.tolist(), named, positives(source))
        )
    assert found[0] == found[1]
    assert found[0][2] == ([0, 9, 39] if flawed else [])
    assert found[0][3] == {"test": ["id 3", "id 9"]}
    monkeypatch.setattr(spans, "SPAN", ROWS)  # one span: the hash of the texts themselves
    assert loaded(folder, skip=flawed).fingerprint != found[0][0]


def test_content_and_order_decide_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, 2)
    texts: list[object] = [f"document {n % 23}" for n in range(ROWS)]
    marks = {loaded(written(tmp_path / "first", document=texts)).fingerprint}
    for n in (0, 20, 39):
        other = [*texts[:n], "another", *texts[n + 1 :]]
        marks.add(loaded(written(tmp_path / f"other{n}", document=other)).fingerprint)
    marks.add(loaded(written(tmp_path / "turned", document=texts[::-1])).fingerprint)
    assert len(marks) == 5
    assert loaded(written(tmp_path / "same", document=texts)).fingerprint in marks


def test_the_first_fault_is_told_as_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids: list[object] = [None if n in (11, 30) else f"id {n}" for n in range(ROWS)]
    folder = written(tmp_path / "rows", query_id=ids)
    said = []
    for number in (1, 3):
        have(monkeypatch, number)
        with pytest.raises(InputError, match="query_id is null in row 11") as refused:
            loaded(folder)
        said.append(str(refused.value))
    assert said[0] == said[1]


def in_memory_or_not(folder: Path) -> Iterator[datasets.Dataset]:
    from_file = datasets.load_dataset(str(folder), split="train", cache_dir=str(folder / "cache"))
    assert from_file.cache_files
    yield from_file
    yield datasets.Dataset.from_dict(from_file.to_dict())


def numbers_of(rows: datasets.Dataset, start: int, done: Callable[[int], object]) -> dict[str, np.ndarray]:
    done(len(rows))
    return {"start": np.array([start]), "process": np.array([os.getpid()]), "rows": np.array([len(rows)])}


def ends(
    rows: datasets.Dataset, start: int, done: Callable[[int], object], parent: int, more: str = ""
) -> dict[str, np.ndarray]:
    if os.getpid() != parent and start:
        os.kill(os.getpid(), signal.SIGKILL)
    return numbers_of(rows, start, done)


def test_spans_go_to_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_file, in_memory = in_memory_or_not(written(tmp_path / "rows"))
    have(monkeypatch, 3)
    found = spans.over_spans(from_file, numbers_of, desc="counting")
    assert [int(part["start"][0]) for part in found] == list(range(0, ROWS, SIZE))
    assert [int(part["rows"][0]) for part in found] == [7, 7, 7, 7, 7, 5]
    processes = [int(part["process"][0]) for part in found]
    assert len(set(processes)) == 3
    assert os.getpid() not in processes
    assert processes[:3] == processes[3:]
    here = spans.over_spans(in_memory, numbers_of, desc="counting")
    assert {int(part["process"][0]) for part in here} == {os.getpid()}


def test_what_a_process_did_not_do_is_done_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from_file, _ = in_memory_or_not(written(tmp_path / "rows"))
    have(monkeypatch, 2)
    with caplog.at_level(logging.WARNING):
        found = spans.over_spans(from_file, ends, os.getpid(), desc="counting")
    assert [int(part["start"][0]) for part in found] == list(range(0, ROWS, SIZE))
    assert "counting: a process ended before its work was done; this one does 5 of 6 parts" in caplog.text


def waits(
    rows: datasets.Dataset, start: int, done: Callable[[int], object], folder: str
) -> dict[str, np.ndarray]:
    Path(folder, str(start)).touch()
    if start == SIZE:
        raise InputError("the second span is damaged")
    print("a line that is none of the answers")
    while start == 0 and not Path(folder, str(SIZE)).exists():
        time.sleep(0.05)  # it is not done when the other process fails
    done(0)
    time.sleep({0: 0.5, 14: 10.0}.get(start, 0.0))  # and it is ended while it does what comes after
    return numbers_of(rows, start, done)


def test_after_a_fault_what_follows_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_file, _ = in_memory_or_not(written(tmp_path / "rows"))
    have(monkeypatch, 2)
    begun = tmp_path / "begun"
    begun.mkdir()
    with pytest.raises(InputError, match="the second span is damaged"):
        spans.over_spans(from_file, waits, str(begun), desc="counting")
    assert {path.name for path in begun.iterdir()} <= {"0", "7", "14"}


def test_processes_that_cannot_start_leave_the_work_to_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_file, _ = in_memory_or_not(written(tmp_path / "rows"))
    have(monkeypatch, 2)
    big = "x" * 400_000  # more than a pipe holds: the other process is gone before it has read all
    for program in ("/no/such/python", "/bin/true"):
        monkeypatch.setattr("sys.executable", program)
        found = spans.over_spans(from_file, ends, os.getpid(), big, desc="counting")
        assert {int(part["process"][0]) for part in found} == {os.getpid()}
    monkeypatch.undo()
    monkeypatch.setattr(spans, "SPAN", SIZE)
    have(monkeypatch, 2)
    for name, value in ((spans, "LARGEST"), (os.environ, "LOCAL_RANK")):
        with monkeypatch.context() as patch:
            if name is spans:
                patch.setattr(spans, value, 10)
            else:
                patch.setenv(value, "1")
            found = spans.over_spans(from_file, numbers_of, desc="counting")
        assert {int(part["process"][0]) for part in found} == {os.getpid()}
