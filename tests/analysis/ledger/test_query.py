"""Filtering and sorting."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from colbert_lab.analysis.ledger.columns import Columns
from colbert_lab.analysis.ledger.entries import Entry, Measured
from colbert_lab.analysis.ledger.query import Query, moment, select
from colbert_lab.base.errors import InputError
from tests.analysis.ledger.made import entry

DAY = 86400.0
LR = "phases.distill.optimizer.lr"


def value(test: float | None) -> dict[str, Measured]:
    return {"test/ndcg@10": Measured(test, 0.5)}


A = entry(
    "aaaaaaaaaa-s1", name="kd", started=1 * DAY, factors={LR: "1e-4", "schedule": "[a,b]"}, values=value(0.7)
)
B = entry(
    "bbbbbbbbbb-s2", name="kd_long", started=3 * DAY, factors={LR: "3e-5"}, values=value(0.9), status="failed"
)
C = entry("cccccccccc-s1", name="zero", started=2 * DAY, values=value(None), status="killed", commit="fff")
D = entry("0000000123-s10", name="zero", started=None, factors={LR: "0.0001"}, values={}, commit=None)
ALL = [A, B, C, D]


def found(query: Query) -> list[Entry]:
    return select(Columns(ALL), query)


def names(entries: list[Entry]) -> str:
    return "".join("ABCD"[ALL.index(each)] for each in entries)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("seed=1", "AC"),
        ("seed = 1", "AC"),
        ("seed==1", "AC"),
        ("seed!=1", "BD"),
        ("seed>=2", "BD"),
        ("lr=1e-4", "AD"),
        ("lr=0.0001", "AD"),
        (f"{LR}<1e-4", "B"),
        ("lr=3e*", "B"),
        ("lr=null", "C"),
        ("schedule=[a,b]", "A"),
        ("schedule=[a,*", "A"),
        ("test/ndcg@10>0.7", "B"),
        ("test/ndcg@10>=0.7", "AB"),
        ("change<0.3", "A"),
        ("status!=finished", "BC"),
        ("name=kd*", "AB"),
        ("name=kd", "A"),
        ("run=123", ""),
        ("config=0000000123", "D"),
        ("config=123", ""),
        ("commit=01234567", "AB"),
        ("seed=1 and lr=1e-4", "A"),
        ("started>1970-01-02T23:59", "BC"),
        ("started=1970-01-03*", "C"),
        ("started<30000d", ""),
    ],
)
def test_where(condition: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    columns = Columns(ALL, headline="test/ndcg@10")
    assert names(select(columns, Query(where=[condition], sort=[]))) == expected
    monkeypatch.undo()
    time.tzset()


def test_all_conditions_hold() -> None:
    assert names(found(Query(names=["kd*", "none*", "zero"][::2], sort=[]))) == "ABCD"
    assert names(found(Query(names=["kd*"], sort=[]))) == "AB"
    assert names(found(Query(statuses=["failed", "killed"], sort=[]))) == "BC"
    assert names(found(Query(statuses=["failed", "killed"], where=["seed=1", "test/ndcg@10!=3"]))) == "C"
    assert names(found(Query(commit="0123", sort=[]))) == "AB"
    assert names(found(Query(since=f"{(time.time() - 2.5 * DAY) / DAY}d", sort=[]))) == "B"


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (["-started"], "BCAD"),
        (["started"], "ACBD"),
        (["seed"], "ACBD"),  # 10 comes after 2
        (["-seed"], "DBAC"),
        (["-test/ndcg@10"], "BACD"),
        (["test/ndcg@10"], "ABCD"),
        (["name", "-run"], "ABCD"),
        (["-name", "run"], "DCBA"),
        (["lr", "seed"], "BADC"),
    ],
)
def test_sorting_puts_what_is_not_known_last(sort: list[str], expected: str) -> None:
    assert names(found(Query(sort=sort))) == expected


def test_the_newest_come_first_and_the_limit_comes_after_sorting() -> None:
    assert names(found(Query(limit=2))) == "BC"


@pytest.mark.parametrize(
    ("query", "part"),
    [
        (Query(where=["seed"]), "ledger.where: 'seed' is no condition; write KEY=VALUE"),
        (Query(where=["=1"]), "ledger.where: '=1' is no condition"),
        (Query(where=["seed="]), "ledger.where: 'seed=' is no condition"),
        (Query(where=["sed=1"]), "ledger.where: nothing is called sed"),
        (Query(where=["seed>many"]), "ledger.where: 'seed>many' compares with many, which is no number"),
        (Query(where=["started>soon"]), "ledger.where: soon is neither a day or time"),
        (Query(since="last week"), "ledger.since: last week is neither a day or time"),
        (Query(commit="HEAD"), "ledger.commit=HEAD: must be the first digits"),
        (
            Query(statuses=["done"]),
            "ledger.status=done: must be one of finished, failed, running, interrupted, killed",
        ),
        (
            Query(names=["kd_*", "zer"]),
            "ledger.name=zer: no run has such a name; there are kd, kd_long, zero",
        ),
        (Query(sort=["-test/mrr"]), "ledger.sort: nothing is called test/mrr"),
    ],
)
def test_bad_input_names_the_setting(query: Query, part: str) -> None:
    with pytest.raises(InputError) as caught:
        found(query)
    assert str(caught.value).startswith(part)


def test_moments() -> None:
    assert moment("2026-11-20", "x") == datetime(2026, 11, 20).timestamp()
    assert moment("2026-11-20T15:00+00:00", "x") == 1795186800.0
    assert moment("1.5h", "x") == pytest.approx(time.time() - 5400, abs=5)
