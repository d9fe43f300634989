"""What a cell says, and what things are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from colbert_lab.analysis.ledger.columns import Columns
from colbert_lab.analysis.ledger.entries import Entry, Measured
from colbert_lab.base.errors import InputError
from colbert_lab.records.cost import PhaseCost
from tests.analysis.ledger.made import COST, entry


def shown(columns: Columns, key: str, one: Entry) -> str:
    return columns.find(key, "ledger.columns").shown(one)


def test_cells() -> None:
    one = entry(started=0.0, ended=3 * 3600 + 62.4, dirty=True)
    columns = Columns([one])
    cells = {
        "run": "aaaaaaaaaa-s1",
        "value": "0.6000",
        "change": "+0.1000",
        "seconds": "3:01:02",
        "seconds_train": "0:00:30",
        "device_hours": "0.017",
        "tokens": "5,000",
        "tflop": "6.0",
        "mfu": "10.0%",
        "memory_gib": "3.00",
        "commit": "01234567+",
        "dirty": "true",
        "test/ndcg@10": "0.7000",
        "same": "-",
        "error": "-",
    }
    assert {key: shown(columns, key, one) for key in cells} == cells
    assert columns.find("value", "x").title == "dev/ndcg@10"


def test_a_cost_that_one_phase_does_not_know_is_not_known() -> None:
    old = PhaseCost(10, 30.0, 100, None)
    one = entry(costs={"supervised": old, "distill": COST, "taken": replace(COST, reused_from="b")})
    columns = Columns([one])
    cells = {
        key: shown(columns, key, one) for key in ("tokens", "tflop", "mfu", "memory_gib", "seconds_train")
    }
    assert cells == {
        "tokens": "5,100",
        "tflop": "-",
        "mfu": "-",
        "memory_gib": "3.00",
        "seconds_train": "0:01:00",
    }


def test_an_error_is_one_short_line_in_a_cell_and_whole_in_files() -> None:
    one = entry(status="failed", error="ValueError: [1,\n 2] " + "x" * 100)
    column = Columns([one]).find("error", "x")
    assert column.shown(one) == "ValueError: [1, 2] " + "x" * 58 + "..."
    assert column.value(one) == one.error


def test_what_is_not_known_is_no_number() -> None:
    one = entry(started=None, processes=None, values={}, commit=None, headline=None, dirty=None)
    columns = Columns([one])
    keys = ("started", "seconds", "device_hours", "value", "change", "commit", "dirty")
    assert {shown(columns, key, one) for key in keys} == {"-"}
    assert {columns.find(key, "x").value(one) for key in keys} == {None}


def test_the_headline_is_the_runs_own_or_the_one_that_was_asked_for() -> None:
    one, other = entry(), entry("bbbbbbbbbb-s1", headline="test/ndcg@10")
    columns = Columns([one, other])
    assert columns.find("value", "x").title == "headline"
    assert [shown(columns, "value", each) for each in (one, other)] == ["0.6000", "0.7000"]
    columns = Columns([one, other], "test/ndcg@10")
    assert columns.find("value", "x").title == "test/ndcg@10"
    assert [shown(columns, "change", each) for each in (one, other)] == ["+0.2000", "+0.2000"]
    with pytest.raises(
        InputError, match=r"^ledger.headline=test/mrr: no run measured it; measured are dev/ndcg@10,"
    ):
        Columns([one], "test/mrr")


def test_seeds_and_repetitions_of_a_config_are_counted_under_any_name() -> None:
    first = entry("aaaaaaaaaa-s1", started=1.0)
    again = entry("aaaaaaaaaa-s1-r2", started=2.0)
    elsewhere = entry("aaaaaaaaaa-s1", name="copy", started=3.0)
    other_seed = entry("aaaaaaaaaa-s2", started=4.0)
    alone = entry("bbbbbbbbbb-s1", started=5.0)
    short = entry("aaaaaaaaaa-s3", started=6.0, config_hash="aaaaaaaaaa")  # only its folder's name is known
    columns = Columns([other_seed, alone, again, elsewhere, first, short])
    assert [shown(columns, "same", each) for each in (first, again, elsewhere, other_seed, alone, short)] == [
        "3 seeds, run 1 of 3",
        "3 seeds, rerun 2 of 3",
        "3 seeds, rerun 3 of 3",
        "3 seeds",
        "-",
        "3 seeds",
    ]
    assert columns.find("rerun", "x").value(again) == 2


def test_a_factor_may_be_named_by_its_end_and_a_default_comes_from_the_config(tmp_path: Path) -> None:
    given = entry("aaaaaaaaaa-s1", factors={"phases.distill.optimizer.lr": "1e-4"})
    default = entry("bbbbbbbbbb-s1", path=tmp_path)
    (tmp_path / "config.yaml").write_text(
        "phases: {distill: {optimizer: {lr: 0.001}, n_way: 8}}\nreuse: true\nschedule: [a, b]\nprompts: {query: null}\n"
    )
    columns = Columns([given, default])
    for key in ("lr", "optimizer.lr", "phases.distill.optimizer.lr"):
        column = columns.find(key, "x")
        assert [column.value(each) for each in (given, default)] == ["1e-4", "0.001"]
    assert columns.find("phases.distill.n_way", "x").value(default) == "8"
    assert columns.find("phases.distill.n_way", "x").shown(given) == "(default)"
    assert columns.find("reuse", "x").value(default) == "true"
    assert columns.find("schedule", "x").value(default) == "[a,b]"


def test_a_name_of_nothing_or_of_two_factors_is_an_error() -> None:
    one = entry(factors={"phases.a.lr": "1", "phases.b.lr": "2", "b.lrs": "3"})
    columns = Columns([one])
    with pytest.raises(
        InputError, match=r"^ledger.sort: lr may be phases.a.lr or phases.b.lr; give the whole"
    ):
        columns.find("lr", "ledger.sort")
    with pytest.raises(InputError) as caught:
        columns.find("sped", "ledger.where")
    said = str(caught.value)
    assert said.startswith("ledger.where: nothing is called sped; there are columns run, name, status")
    assert "factors phases.a.lr, phases.b.lr, b.lrs; measured are dev/ndcg@10, test/ndcg@10" in said


def test_a_value_that_is_not_there_is_empty_in_its_column() -> None:
    one, other = entry(), entry("bbbbbbbbbb-s1", values={"x/m": Measured(0.1, None)})
    columns = Columns([one, other])
    assert [shown(columns, "x/m", each) for each in (one, other)] == ["-", "0.1000"]
    assert shown(columns, "change", other) == "-"
