"""The ledger's table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json

import pytest

from colbert_lab.analysis.ledger.columns import Columns
from colbert_lab.analysis.ledger.entries import Measured
from colbert_lab.analysis.ledger.table import ledger_csv, ledger_json, ledger_table
from colbert_lab.base.errors import InputError
from tests.analysis.ledger.made import entry

LR, STEPS = "phases.distill.optimizer.lr", "phases.distill.steps"
A = entry("aaaaaaaaaa-s1", factors={"experiment": "kd", LR: "1e-4"})
B = entry("bbbbbbbbbb-s1", factors={"experiment": "kd", LR: "3e-5", STEPS: "9"})
FAILED = entry("cccccccccc-s1", status="failed", error="OSError: " + "x\n" * 200, values={}, phase=None)
KILLED = entry("dddddddddd-s1", status="killed", factors={"experiment": "kd"}, dirty=True)


def test_the_table_shows_the_factors_that_differ_and_says_what_is_shared() -> None:
    table = ledger_table(Columns([A, B, FAILED]), [A, B], None, "outputs")
    assert table.title == "2 of 3 runs below outputs"
    assert table.columns == (
        "run", "name", "status", "seed", "dev/ndcg@10", "change", "factors", "started", "took", "training",
        "device hours", "commit",
    )  # fmt: skip
    by_run = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert by_run[A.run_id]["factors"] == "lr=1e-4"
    assert by_run[B.run_id]["factors"] == "lr=3e-5, steps=9"
    assert by_run[B.run_id]["change"] == "+0.1000"
    assert "All have: experiment=kd." in table.notes
    assert not any("failed" in note for note in table.notes)


def test_runs_that_did_not_finish_are_explained() -> None:
    again = entry("eeeeeeeeee-s1", status="failed", error=FAILED.error)
    away = entry("ffffffffff-s1", status="running", host="node7")
    lost = entry("9999999999-s1", status="unknown")
    rows = [FAILED, again, KILLED, away, lost]
    table = ledger_table(Columns(rows), rows, None, "outputs")
    (error,) = [note for note in table.notes if "OSError" in note]
    assert error.startswith("cccccccccc-s1, eeeeeeeeee-s1 failed: OSError: x x")
    assert error.endswith("...")
    assert len(error) < 220
    notes = "\n".join(table.notes)
    assert "dddddddddd-s1: killed, the process is gone" in notes
    assert "ffffffffff-s1: on another machine" in notes
    assert "9999999999-s1: unknown, status.json is missing or damaged" in notes
    assert "+ after a commit" in notes
    assert "The value of an unfinished run" in notes
    assert [row[2] for row in table.rows] == ["failed", "failed", "killed", "running on node7", "unknown"]


def test_many_runs_of_one_error_are_counted() -> None:
    rows = [entry(f"{n}".rjust(10, "0") + "-s1", status="failed", error="KeyError: 1") for n in range(9)]
    notes = ledger_table(Columns(rows), rows, None, "outputs").notes
    assert "0000000000-s1, 0000000001-s1, 0000000002-s1 and 6 more failed: KeyError: 1" in notes


def test_runs_of_other_headlines_are_told_apart_and_of_none_explained() -> None:
    other = entry("bbbbbbbbbb-s1", headline=None, values={"Nano/ndcg@10": Measured(0.3, None)})
    table = ledger_table(Columns([A, other]), [A, other], None, "outputs")
    assert "headline is" in table.columns
    (note,) = [note for note in table.notes if "no evaluation.headline" in note]
    assert note.startswith("bbbbbbbbbb-s1: ")
    assert note.endswith("such as Nano/ndcg@10.")
    chosen = ledger_table(Columns([A, other], "Nano/ndcg@10"), [A, other], None, "outputs")
    assert not any("no evaluation.headline" in note for note in chosen.notes)


def test_the_columns_that_were_asked_for() -> None:
    columns = Columns([A, B])
    table = ledger_table(columns, [A, B], ["run", "steps", "factors", "test/ndcg@10", "error"], "outputs")
    assert table.columns == ("run", "steps", "factors", "test/ndcg@10", "error")
    assert table.rows[0] == ("aaaaaaaaaa-s1", "(default)", "lr=1e-4", "0.7000", "-")
    with pytest.raises(InputError, match=r"^ledger.columns: nothing is called stepps"):
        ledger_table(columns, [A, B], ["stepps"], "outputs")


def test_csv_has_plain_values_and_a_column_for_each_factor_that_differs() -> None:
    rows = list(csv.DictReader(io.StringIO(ledger_csv(Columns([A, B, FAILED]), [A, B], None))))
    assert (rows[0]["run"], rows[0]["value"], rows[0]["started"]) == ("aaaaaaaaaa-s1", "0.6", "1000.0")
    assert [row[LR] for row in rows] == ["1e-4", "3e-5"]
    assert [row[STEPS] for row in rows] == ["", "9"]
    assert "experiment" not in rows[0]
    assert rows[0]["device_hours"] == str(60 / 3600)
    chosen = ledger_csv(Columns([A, B]), [B, A], ["run", "factors"])
    assert chosen.splitlines() == [f"run,{LR},{STEPS}", "bbbbbbbbbb-s1,3e-5,9", "aaaaaaaaaa-s1,1e-4,"]


def test_json_has_all_factors_and_values() -> None:
    first, second = json.loads(ledger_json(Columns([A, FAILED]), [A, FAILED], None))
    assert first["factors"] == {"experiment": "kd", LR: "1e-4"}
    assert first["values"]["test/ndcg@10"] == {"before": 0.5, "after": 0.7}
    assert (first["status"], first["seed"], first["dirty"], first["change"]) == (
        "finished", 1, False, pytest.approx(0.1),
    )  # fmt: skip
    assert second["error"] == FAILED.error
    assert second["value"] is None
    assert json.loads(ledger_json(Columns([A]), [A], ["run", "seed"])) == [{"run": A.run_id, "seed": 1}]


def test_no_runs_give_an_empty_file() -> None:
    columns = Columns([A])
    assert ledger_csv(columns, [], None).startswith("run,name,status,")
    assert json.loads(ledger_json(columns, [], None)) == []
    assert ledger_table(columns, [], None, "outputs").rows == ()
