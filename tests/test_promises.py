"""The page of promises names tests that exist; and no secret is written."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.command import command
from tests.conftest import ROOT
from tests.toy import toy_overrides, write_toy

PAGE = ROOT / "docs" / "promises.md"
SECRETS = ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD")


def test_every_test_on_the_page_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 30
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert not test or test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (
            test
        )


def test_every_promise_has_a_test_and_a_figure() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 15
    for number, row in enumerate(rows, 1):
        count, promise, tests, figure = (cell.strip() for cell in row.strip("|").split(" | "))
        assert count == str(number)
        assert promise.endswith(".")
        assert "`tests/" in tests or "`benchmarks/" in tests, row
        assert figure, row


def test_no_secret_of_the_environment_is_written(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"0123456789abcdef0123456789abcdef{name.lower()}")
    changed = ("evaluation", "phases.distill.steps", "phases.distill.evaluate_every", "tracking")
    given = [
        a
        for a in toy_overrides(tiny_bert, write_toy(tmp_path / "toy"), tmp_path / "outputs")
        if not a.startswith(changed)
    ]
    given += [
        "evaluation=none",
        "phases.distill.steps=1",
        "phases.distill.evaluate_every=null",
        "tracking=offline",
    ]
    done = command(*given)
    assert done.status == 0, done.err
    files = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for text in (done.out.encode(), done.err.encode(), *(path.read_bytes() for path in files)):
        assert b"0123456789abcdef0123456789abcdef" not in text
