"""Stages of a command's work, and how much of the whole is left."""

from __future__ import annotations

import logging
import sys

import pytest

from colbert_lab.base import stages
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.stages import in_stages
from tests.base.test_progress import Terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_the_log_says_which_stage_begins_and_how_much_is_left(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with in_stages(["text", "before", "distill"]) as whole:
        with whole.stage("text"):
            clock[0] += 30
        whole.weigh({"before": 100, "distill": 700})
        with whole.stage("before"):
            clock[0] += 60
        with whole.stage("distill"):
            assert whole.left() == "7 min left"  # 700 at 100 a minute
            clock[0] += 390
            assert whole.left() == "30 s left"
            assert whole.left(200) == "3 min left"  # what is under way knows better
            clock[0] += 100
            assert whole.left() == "0 s left"
    said = [record.getMessage() for record in caplog.records]
    assert said == ["stage 2 of 3: before", "stage 3 of 3: distill, 7 min left in all"]


def test_what_was_there_already_says_nothing_of_how_fast_work_is(clock: list[float]) -> None:
    with in_stages(["before", "distill", "after"]) as whole:
        whole.weigh({"before": 100, "distill": 200, "after": 100})
        with whole.stage("before"):
            clock[0] += 0.2  # taken over from another run
        with whole.stage("distill"):
            assert whole.left() == ""
            clock[0] += 100
        with whole.stage("after"):
            assert whole.left() == "50 s left"


def test_bars_say_which_stage_they_belong_to(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with in_stages(["before", "distill"]) as whole, whole.stage("distill"):
        list(progress_bar(range(3), desc="drawn"))
    list(progress_bar(range(3), desc="later"))
    assert isinstance(sys.stderr, Terminal)
    shown = sys.stderr.getvalue()
    assert "[2/2] drawn: 100%" in shown
    assert "] later" not in shown
    assert stages.current is None
