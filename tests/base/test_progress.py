"""A bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest

from colbert_lab.base import logs, progress
from colbert_lab.base.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(logs, "said_last", None)  # nobody logs to the terminal
    monkeypatch.delenv("TQDM_DISABLE", raising=False)  # a command of another test may have set it


def test_without_a_terminal_it_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress_bar(total=40, desc="documents", mininterval=0) as bar:
        for _ in range(40):
            now[0] += 4
            bar.update()
            bar.refresh()
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        f"documents: {done} of 40" for done in range(3, 40, 3)
    ]
    assert " left" in caplog.records[0].getMessage()
    said = capsys.readouterr()
    assert "\r" not in said.out + said.err


def test_many_short_pieces_are_not_silent_together(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each takes six seconds, less than the time between two lines."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(logs, "said_last", 100.0)
    seen: list[float] = []

    def heard(_: logging.LogRecord) -> bool:
        seen.append(now[0])
        logs.said_last = now[0]
        return True

    caplog.handler.addFilter(heard)
    try:
        for piece in range(10):
            with progress_bar(
                total=6, desc=f"piece {piece}", mininterval=0, unit_scale=piece % 2 == 0
            ) as bar:
                for _ in range(6):
                    now[0] += 1
                    bar.update()
                    bar.refresh()
    finally:
        caplog.handler.removeFilter(heard)
    assert seen == [110.0, 120.0, 130.0, 140.0, 150.0, 160.0]
    assert not [record for record in caplog.records if re.search(r": 0[.0]* of", record.getMessage())]


def test_short_work_says_nothing(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(progress_bar(range(3), desc="short")) == [0, 1, 2]
    assert (caplog.text, *capsys.readouterr()) == ("", "", "")


def test_on_a_terminal_it_is_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    list(progress_bar(range(3), desc="drawn"))
    assert isinstance(sys.stderr, Terminal)
    assert "drawn: 100%" in sys.stderr.getvalue()
    assert caplog.text == ""


@pytest.mark.parametrize("quiet", ["asked", "another"])
def test_it_is_quiet_when_asked_to_be_and_in_other_processes(
    monkeypatch: pytest.MonkeyPatch, quiet: str
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    if quiet == "asked":
        monkeypatch.setenv("TQDM_DISABLE", "1")
    else:
        monkeypatch.setattr(progress, "process_rank", lambda: 1)
    list(progress_bar(range(3), desc="drawn"))
    assert isinstance(sys.stderr, Terminal)
    assert sys.stderr.getvalue() == ""
