from pathlib import Path

import pytest

from colbert_lab.errors import InputError
from colbert_lab.text.jsonl import read_jsonl


def test_rows_come_with_their_line_numbers(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"a": "\xc3\xbc"}\r\n')
    assert list(read_jsonl(file)) == [(1, {"a": 1}), (3, {"a": "ü"})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": ', r"rows\.jsonl line 2: not valid JSON \(.+\)"),
        (b"[1, 2]", r"rows\.jsonl line 2: a JSON object .* not list"),
        (b'{"a": "\xff"}', r"rows\.jsonl line 2: not UTF-8"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: bytes, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n' + line + b"\n")
    with pytest.raises(InputError, match=message) as caught:
        list(read_jsonl(file))
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.jsonl: no such file"):
        list(read_jsonl(tmp_path / "nothing.jsonl"))
