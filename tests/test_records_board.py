"""The board of records: rules, rows and table."""

from __future__ import annotations

import importlib.util
import math
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from colbert_lab.base.errors import InputError
from colbert_lab.settings import command_of
from colbert_lab.tasks.composing import CONF
from tests.conftest import ROOT

FOLDER = ROOT / "experiments" / "records"


def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("records_board", FOLDER / "records.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "records_board", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program with entries and rows of its own."""
    module = program(monkeypatch)
    entries = {
        name: {"change": f"{name} changes", "overrides": []} for name in ("first", "second", "third", "none")
    }
    content = {"target": 0.4, "fixed": ["+experiment=from_nothing"], "entries": entries}
    (tmp_path / "entries.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (tmp_path / "README.md").write_text(f"Rules.\n\n{module.BEGIN}\nold\n{module.END}\n\nAfter.\n")
    for name, file in (("ENTRIES", "entries.yaml"), ("ROWS", "results.jsonl"), ("README", "README.md")):
        monkeypatch.setattr(module, name, tmp_path / file)
    return module


def row(board: ModuleType, entry: str, seed: int, value: float, seconds: float) -> Any:
    return board.Row(
        entry, seed, value, seconds, 1000, 2e11, f"{entry}-s{seed}", "0123456789", "two cores", 0
    )


def test_a_record_reaches_the_target_surely_and_is_faster_than_all_before(board: ModuleType) -> None:
    spread = (0.41, 0.42, 0.415, 0.412, 0.418)
    for seed, value in enumerate(spread, start=1):
        board.keep(row(board, "first", seed, value, 70.0 + seed))
        board.keep(row(board, "second", seed, value, 80.0))
        board.keep(row(board, "third", seed, value - 0.014, 50.0))
    unknown = [replace(each, rate=None) if each.seed == 1 else each for each in board.read_rows()]
    assert [each[6] for each in board.records_table(unknown, board.board()).rows] == ["-"] * 4
    rows = board.records_table(board.read_rows(), board.board()).rows
    assert [each[-1] for each in rows] == ["record", "slower", "target not reached", "-"]
    assert rows[0][2].startswith(f"{statistics.fmean(spread):.4f} ± {statistics.stdev(spread):.4f} (5)")
    assert rows[0][4] == "73.0 ± 1.6"
    assert rows[0][6] == "14.6"  # 73 s at 0.2 TFLOP/s


def test_four_seeds_are_not_enough(board: ModuleType) -> None:
    for seed in range(1, 5):
        board.keep(row(board, "first", seed, 0.5 + seed / 1000, 70.0))
    assert board.records_table(board.read_rows(), board.board()).rows[0][-1] == "target not reached"


def test_p_is_that_of_students_distribution(board: ModuleType) -> None:
    """For two values: t = mean / (sd / sqrt(2)), and with one degree of freedom p = 1/2 - arctan(t) / pi."""
    values = (0.42, 0.45)
    t = (0.435 - 0.4) / (statistics.stdev(values) / math.sqrt(2))
    assert board.p_above(values, 0.4) == pytest.approx(0.5 - math.atan(t) / math.pi)
    assert board.p_above((0.9,), 0.4) == 1.0


def test_a_run_made_again_takes_the_place_of_its_row_and_the_page_keeps_its_rules(board: ModuleType) -> None:
    board.keep(row(board, "second", 1, 0.41, 70.0))
    board.keep(row(board, "first", 2, 0.41, 70.0))
    board.keep(row(board, "first", 2, 0.42, 60.0))
    assert [(each.entry, each.seed, each.value) for each in board.read_rows()] == [
        ("first", 2, 0.42),
        ("second", 1, 0.41),
    ]
    board.write_table()
    page = board.README.read_text()
    assert page.startswith("Rules.\n")
    assert page.endswith("After.\n")
    assert "old" not in page
    assert "| first changes |" in page


def test_an_unknown_entry_is_one_line(board: ModuleType) -> None:
    with pytest.raises(InputError, match=r"no entry forth; there are first, second, third, none$"):
        board.overrides("forth", 1, "outputs")


def test_every_committed_entry_is_what_the_program_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = program(monkeypatch)
    for name, entry in module.board()["entries"].items():
        given = module.overrides(name, 1, "elsewhere")
        assert not [each for each in given if "{outputs}" in each]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            settings = command_of(compose("config", overrides=given), given).settings
        assert settings.outputs == Path("elsewhere")
        assert settings.evaluation.after == [settings.schedule[-1]]
        assert entry["change"]
