"""YAML that someone else wrote: bounds, and one line where it is damaged."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.yaml_files import parse_yaml, read_yaml
from tests.command import command

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{now}: &{now} [{','.join([f'*{before}'] * 9)}]\n"
    for before, now in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Nine lines that stand for 9^9 values."""
MERGES = "a: &a {k0: 1}\n" + "".join(
    f"{now}: &{now} {{<<: [{','.join([f'*{before}'] * 9)}], k{now}: 1}}\n"
    for before, now in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, r"line \d: its aliases stand for more than 200,000 values"),
        (MERGES, r"line \d: its aliases stand for more than 200,000 values"),
        ("a: &a [*a]", "the alias .a names nothing before it"),
        ("[" * 100_000, "line 1: nested more than 64 deep"),
        ("- " * 100 + "a", "line 1: nested more than 64 deep"),
        ("a: [", "line 2: no YAML"),
        ("a: !!python/object/apply:os.system [ls]", "no YAML: could not determine a constructor"),
        ("a: !!timestamp x", "no YAML: "),
        ("a: !!bool x", "no YAML: "),
        ("? [a]\n: 1", "no YAML: found unhashable key"),
        ("a: \x00", "no YAML: "),
    ],
)
def test_yaml_is_bounded_before_a_value_is_made(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    start = time.perf_counter()
    with pytest.raises(InputError, match=rf"x\.yaml.*{said}"):
        read_yaml(tmp_path / "x.yaml")
    assert time.perf_counter() - start < 5


def test_ordinary_aliases_are_read() -> None:
    assert parse_yaml("a: &a {b: [1]}\nc: *a\nd: {<<: *a, e: 2}", "f")["d"] == {"b": [1], "e": 2}


@pytest.mark.slow
@pytest.mark.parametrize("text", [BOMB, "[" * 5000], ids=["aliases", "nesting"])
def test_a_config_dir_with_a_bomb_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "bomb.yaml").write_text(f"# @package _global_\n{text}")
    start = time.perf_counter()
    outcome = command(
        f"--config-dir={tmp_path}", "+experiment=bomb", f"output_dir={tmp_path / 'out'}", "task=runs"
    )
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {tmp_path / 'experiment' / 'bomb.yaml'}, line ")
    assert outcome.err.count("\n") == 1
    assert time.perf_counter() - start < 20
