"""Files that someone else wrote: bounds, types, and one line where they are damaged."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import json_text
from colbert_lab.base.outside import json_value, parse_json, problem, read_json


class Known(TypedDict, total=False):
    n: int
    x: float | None
    names: list[str]
    inside: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Fact:
    n: int
    x: float = 0.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"n": true}', "n: must be a whole number, not True"),
        ('{"n": 1.0}', "n: must be a whole number, not 1.0"),
        ('{"n": 99999999999999999999}', "n: must be a whole number"),
        ('{"x": NaN}', "x: must be a finite number or null, not nan"),
        ('{"x": "1"}', "x: must be a finite number or null, not '1'"),
        ('{"names": ["a", 1]}', "names.1: must be text, not 1"),
        ('{"inside": {"a": {"b": []}}}', "inside.a.b: must be a whole number, not a list"),
        ("[]", "its content: must be an object with keys, not a list"),
        ("", "line 1: not valid JSON: Expecting value"),
        ('{\n"n": 1,\n}', "line 3: not valid JSON"),
        ("[" * 100_000, "not valid JSON: maximum recursion depth"),
        ('{"more": ' + "[" * 100 + "]" * 100 + "}", "nested more than 64 deep"),
        ('{"n": ' + "9" * 5000 + "}", "not valid JSON: Exceeds the limit"),
    ],
)
def test_json_is_checked_against_types(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "facts.json"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        read_json(file, Known, "make it anew")
    assert str(refused.value).startswith(str(file))
    assert said in str(refused.value)
    assert str(refused.value).endswith("; make it anew")
    assert "\n" not in str(refused.value)


def test_what_fits_is_read_and_what_is_unknown_stays() -> None:
    text = '{"n": 1, "x": 2, "names": [], "newer": [1]}'
    assert parse_json(text, Known, "f") == {"n": 1, "x": 2, "names": [], "newer": [1]}
    assert parse_json('{"n": 3, "newer": 1}', Fact, "f") == Fact(3)
    with pytest.raises(InputError, match=r"^f: n: is missing$"):
        parse_json("{}", Fact, "f")
    assert problem({"a": object()}, dict[str, Any]) is None


def test_other_kinds_of_files(tmp_path: Path) -> None:
    (tmp_path / "utf").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b" " * 11)
    for name, largest, said in (
        ("none", 10, "is missing"), ("utf", 10, "not UTF-8"), ("large", 10, "has 11 bytes, and at most 10 are read"),
        (".", 10, "is no file"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            read_json(tmp_path / name, Known, largest=largest)


def test_json_that_is_shown_is_the_same_data() -> None:
    data = {"a\x1b": ["\x9b31m", "\ud83d", "é", "\u202e", "x\ny"]}
    text = json_text(data)
    text.encode()
    assert parse_json(text, dict[str, Any], "f") == data
    assert "é" in text
    assert not {"\x9b", "\u202e"} & set(text)


def test_json_is_read_as_by_the_standard_library() -> None:
    generator = random.Random(0)
    numbers = [
        generator.choice([-1, 1]) * generator.random() * 10.0 ** generator.randint(-300, 300)
        for _ in range(5000)
    ]
    text = json.dumps(
        {"n": numbers, "m": [0.1, 1e-320, -0.0, 2**63 - 1, -(2**63)], "t": 'é\u2028\ud83d\ude00 "\\'}
    )
    assert json_value(text) == json_value(text.encode()) == json.loads(text)
    assert math.isnan(json_value(b'{"x": NaN}')["x"])
    assert json_value(b'"\\ud83d"') == json_value(b'"\xed\xa0\xbd"') == "\ud83d"
    for broken in ("", "[1", '{"a": }', "nul"):
        with pytest.raises(json.JSONDecodeError) as ours:
            json_value(broken)
        with pytest.raises(json.JSONDecodeError) as known:
            json.loads(broken)
        assert str(ours.value) == str(known.value)
