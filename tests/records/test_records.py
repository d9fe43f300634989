"""Records: what is written is read, whatever happened to the file in between."""

import json
import logging
import math
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from colbert_lab.records.records import (
    FIELDS,
    SCHEMA_VERSION,
    Record,
    append_records,
    read_records,
    rewrite_records,
)

RECORD = Record(
    run_id="0123456789-s1",
    name="kd",
    factors={"phases.distill.optimizer.lr": "1e-4"},
    seed=1,
    step=100,
    system="student",
    system_name="mini é",
    phase="distill",
    dataset="scifact",
    split="test",
    measure="ndcg@10",
    value=0.1 + 0.2,
    n_queries=300,
    seconds_train=1.5,
    time=1.0,
)


def test_fields_are_the_documented_ones_in_their_order(tmp_path: Path) -> None:
    expected = (
        "schema run_id name config_hash phase_hash student_hash factors seed step system system_name phase dataset "
        "split split_fingerprint protocol_hash mode storage pool_factor dim measure value n_queries commit dirty "
        "seconds_train seconds_eval seconds_index seconds_search index_bytes n_documents hardware time"
    )
    assert tuple(expected.split()) == FIELDS
    append_records(tmp_path / "results.jsonl", [RECORD])
    assert list(json.loads((tmp_path / "results.jsonl").read_text())) == expected.split()
    assert RECORD.schema == SCHEMA_VERSION == 1


def test_round_trip_and_append(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    other = replace(RECORD, value=-0.0, split="dev", commit="abc", dirty=True, extra={"future": [1]})
    append_records(path, [RECORD])
    append_records(path, [other, RECORD])
    append_records(path, [])
    assert read_records(path) == [RECORD, other, RECORD]
    assert len(path.read_bytes().splitlines()) == 3
    assert read_records(tmp_path / "missing.jsonl") == []


def test_nan_is_valid_json(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_records(path, [replace(RECORD, value=math.nan)])
    assert json.loads(path.read_text())["value"] is None
    assert math.isnan(read_records(path)[0].value)


def test_older_schema_and_unknown_fields(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    old = {
        "run_id": "x",
        "system": "bm25",
        "dataset": "d",
        "split": "test",
        "measure": "mrr@10",
        "value": 1,
        "colour": "red",
    }
    path.write_text(json.dumps(old) + "\n")
    (record,) = read_records(path)
    assert record.schema == 0
    assert record.value == 1.0
    assert record.extra == {"colour": "red"}
    rewrite_records(path, [record])
    assert json.loads(path.read_text())["colour"] == "red"
    assert read_records(path) == [record]


def test_a_line_cut_by_a_crash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "results.jsonl"
    append_records(path, [RECORD, RECORD])
    path.write_bytes(path.read_bytes()[:-30])
    with caplog.at_level(logging.WARNING):
        assert read_records(path) == [RECORD]
    assert "line 2 is skipped" in caplog.text
    assert str(path) in caplog.text
    append_records(path, [RECORD])
    assert read_records(path) == [RECORD, RECORD]


def test_a_line_that_only_lacks_its_newline_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "results.jsonl"
    append_records(path, [RECORD])
    path.write_bytes(path.read_bytes()[:-1])
    append_records(path, [RECORD])
    assert read_records(path) == [RECORD, RECORD]
    assert not caplog.text


@pytest.mark.parametrize(
    "bad", ["{", "[1]", "{}", '{"run_id": 1}', "\x00\x00", '"text"', json.dumps({"value": "high"}), "é\x9f"]
)
def test_malformed_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: str) -> None:
    path = tmp_path / "results.jsonl"
    append_records(path, [RECORD])
    with path.open("ab") as file:
        file.write(bad.encode("latin-1") + b"\n")
    append_records(path, [RECORD])
    with caplog.at_level(logging.WARNING):
        assert read_records(path) == [RECORD, RECORD]
    assert f"{path}, line 2 is skipped" in caplog.text


def test_a_value_that_is_no_number_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({**RECORD.to_dict(), "value": "0.5"}) + "\n")
    assert read_records(path) == []


def test_nothing_stays_of_records_without_room(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_records(path, [RECORD])
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append_records(path, [RECORD])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before


def test_nothing_is_written_when_a_record_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_records(path, [RECORD])
    with pytest.raises(TypeError):
        append_records(path, [RECORD, replace(RECORD, factors={"x": object()})])
    assert read_records(path) == [RECORD]
