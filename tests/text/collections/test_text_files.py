"""Rankings of other systems."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.text.collections.text_files import read_run


def test_a_run_is_read_by_its_scores(tmp_path: Path) -> None:
    file = tmp_path / "run.txt"
    file.write_text("q1 Q0 d1 1 2.5 tag\nq1\tQ0\td2\t2\t1e-3\ttag\n\nq2 Q0 d1 1 -4 tag\n")
    assert read_run(file, "run") == {"q1": {"d1": 2.5, "d2": 0.001}, "q2": {"d1": -4.0}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 d3 3 nan tag", r"line 2: the score 'nan' is not a finite number"),
        ("q1 Q0 d3 3 -inf tag", r"line 2: the score '-inf' is not a finite number"),
        ("q1 Q0 d3 3 high tag", r"line 2: the score 'high' is not a finite number"),
        ("q1 Q0 d3 3 1.0", r"line 2: 5 columns; a run has 6"),
        ("q1 Q0 d1 2 1.0 tag", r"line 2: document d1 is listed twice for query q1"),
    ],
)
def test_bad_lines_are_named(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "run.txt"
    file.write_text(f"q1 Q0 d1 1 2.5 tag\n{line}\n")
    with pytest.raises(InputError, match=rf"^evaluation\.rerank\.run: \S+run\.txt {message}"):
        read_run(file, "evaluation.rerank.run")


def test_a_missing_or_empty_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^run=\S+: no such file"):
        read_run(tmp_path / "none", "run")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(InputError, match=r"^run: \S+ is empty"):
        read_run(tmp_path / "empty", "run")


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("q1 Q0 d1 1 2.5 tag\nq\xe9 Q0 d1 1 2.5 tag\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"^run: \S+latin line 2: not UTF-8"):
        read_run(tmp_path / "latin", "run")


def test_only_white_space_of_ascii_separates_columns(tmp_path: Path) -> None:
    file = tmp_path / "run.txt.gz"
    file.write_bytes(gzip.compress("q1 Q0 d\u00a01\u2028 1 2.5 tag\r\n".encode()))
    assert read_run(file, "run") == {"q1": {"d\u00a01\u2028": 2.5}}
    file.write_text("q1 Q0 d1 1 1_0 tag\n")
    with pytest.raises(InputError, match=r"^run: \S+ line 1: the score '1_0' is not a finite number"):
        read_run(file, "run")
