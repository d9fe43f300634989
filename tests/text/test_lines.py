import gzip
from pathlib import Path

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.text.collections.text_files import as_grade
from colbert_lab.text.lines import as_id, as_score, read_jsonl, read_lines


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


def test_a_line_ends_at_a_line_feed_alone(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes('{"a": "x\u2028y\x85z"}\r\n'.encode() + b"one\rtwo\x0cthree\n")
    assert [line for _, _, line in read_lines(file)] == ['{"a": "x\u2028y\x85z"}', "one\rtwo\x0cthree"]


@pytest.mark.parametrize("text", [r'{"a": ["\ud83d"]}', r'{"\uDE00": 1}', r'{"a": "\ude00\ud83d"}'])
def test_half_of_a_surrogate_pair_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(r'{"a": "\ud83d\ude00"}' + "\n" + text + "\n")
    rows = read_jsonl(file)
    assert next(rows) == (1, {"a": "\U0001f600"})
    with pytest.raises(
        InputError, match=r"rows\.jsonl line 2: \\u[d][8-f][0-9a-f]{2} is half of a character"
    ):
        next(rows)


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea\nsize 12345\n")
    with pytest.raises(
        InputError, match=r"^\S+corpus\.jsonl: is a pointer of Git LFS.*; type git lfs pull in"
    ):
        list(read_jsonl(file))


def test_gzipped_lines_are_read_and_damage_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % n for n in range(5000)))
    file.write_bytes(whole)
    assert [row["a"] for _, row in read_jsonl(file)] == list(range(5000))
    for damaged in (whole[:-100], whole[:500] + b"\x00" * 40 + whole[540:]):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"rows\.jsonl\.gz: the gzip data is damaged \("):
            list(read_jsonl(file))


@pytest.mark.parametrize("value", ["1_0", "١", "nan", "1e999", "0x1", "", "1,5", 10**400, True, None, [1]])
def test_what_is_no_finite_number_is_no_score(value: object) -> None:
    with pytest.raises(InputError, match=r"^here: the score .* is not a finite number"):
        as_score(value, "here")


def test_scores_come_in_every_notation() -> None:
    assert [as_score(value, "here") for value in ("-1.5e-2", " +.5 ", "3.", 2, 0.25)] == [
        -0.015,
        0.5,
        3,
        2,
        0.25,
    ]


@pytest.mark.parametrize("value", ["", "d\0x", None, 1.0, True, ["a"]])
def test_what_is_no_id(value: object) -> None:
    with pytest.raises(InputError, match=r"^here: _id must hold ids \(strings or whole numbers\), not "):
        as_id(value, "_id", "here")


@pytest.mark.parametrize("value", ["1_0", "١", "0.5", "high", "", "1e2", 0.5, True, None])
def test_a_grade_is_a_whole_number(value: object) -> None:
    with pytest.raises(InputError, match=r"^here: the score must be a whole number, not "):
        as_grade(value, "here")


@pytest.mark.parametrize(
    "value", [2**31, "9223372036854775807", "-" + 400 * "9", 99_999_999_999, 1e300, -2_000_000]
)
def test_a_grade_beyond_what_trec_eval_bears_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^here: the score must be between -1000000 and 1000000"):
        as_grade(value, "here")


def test_grades_come_as_numbers_and_as_texts() -> None:
    assert [as_grade(value, "here") for value in (3, 1.0, "2", "+1", "-1", " 2.0 ", 1_000_000)] == [
        3, 1, 2, 1, -1, 2, 1_000_000,
    ]  # fmt: skip
