"""What the chaos of a test session came to: one table, also of tests in several processes."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.records.environment import hardware_label

FELL = ("before", "first", "second", "last", "after")
"""Where a blow fell: before the first write, in a third of the writes, after the end."""


@dataclass
class Figures:
    """Counts of one kind of disturbance.

    Attributes:
        what: was done to what.
        times: how often.
        fell: how often in each of ``FELL``.
        files: compared with those of an undisturbed command.
        different: of these, not the same to the bit.
        hangs: commands or readers that took too long.
        orphans: processes that outlived their command.
        left: temporary files that were still there after the same command had ended.
        tracebacks: ends without one line.
        seconds: of all of it.
        problems: what went wrong.
    """

    what: str
    times: int = 0
    fell: Counter[str] = field(default_factory=Counter)
    files: int = 0
    different: int = 0
    hangs: int = 0
    orphans: int = 0
    left: int = 0
    tracebacks: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def tell(self, record: Any) -> None:
        """Report to the session.

        Args:
            record: pytest's ``record_property``.
        """
        self.seconds = time.monotonic() - self.begun
        record("chaos", json.dumps(vars(self)))

    def check(self) -> None:
        """Fail where anything went wrong."""
        wrong = (self.different, self.hangs, self.orphans, self.left, self.tracebacks)
        assert not any(wrong), "\n".join([str(self), *self.problems])
        assert not self.problems, "\n".join(self.problems)

    def done(self, record: Any) -> None:
        """Report, and fail where anything went wrong."""
        self.tell(record)
        self.check()


def as_markdown(rows: list[Figures], command: str) -> str:
    """The table, with the command and the machine."""
    names = ("what was done", "times", "fell (before; thirds of the writes; after)", "files compared", "different",
             "hangs", "orphans", "left over", "tracebacks", "seconds")  # fmt: skip
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    whole = Figures("all")
    for row in rows:
        for each in fields(Figures):
            if each.name not in ("what", "problems", "begun", "fell"):
                setattr(whole, each.name, getattr(whole, each.name) + getattr(row, each.name))
    for row in [*rows, whole]:
        fell = "; ".join(str(row.fell[each]) for each in FELL) if sum(row.fell.values()) else ""
        counts = (row.files, row.different, row.hangs, row.orphans, row.left, row.tracebacks)
        lines.append(
            f"| {row.what} | {row.times:,} | {fell} | {' | '.join(f'{n:,}' for n in counts)} | {row.seconds:,.0f} |"
        )
    return "\n".join([*lines, "", f"`{command}` on {hardware_label()}.", ""])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Sizes of ``pytest -m chaos``."""
    group = parser.getgroup("chaos", "chaos: killed commands, damaged files, full disks")
    group.addoption("--kills", type=int, default=60, metavar="N", help="kills of -m chaos (default: 60)")
    group.addoption("--damaged", type=int, default=1000, metavar="N", help="damaged inputs (default: 1000)")
    group.addoption("--chaos-seed", type=int, default=0, metavar="S", help="what decides moments and damage")
    group.addoption("--chaos-table", metavar="FILE", help="write the table of figures there, in Markdown")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table of what the session's tests reported."""
    rows = [
        Figures(**{**told, "fell": Counter(told["fell"])})
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "chaos" and report.when == "call"
        for told in [json.loads(value)]
    ]
    if not rows or hasattr(config, "workerinput"):
        return
    given = " ".join(config.invocation_params.args)
    kinds = ("SIGKILL", "SIGTERM", "damaged", "injected")
    order = [
        next((n for n, kind in enumerate(kinds) if row.what.startswith(kind)), len(kinds)) for row in rows
    ]
    rows = [row for _, _, row in sorted(zip(order, range(len(rows)), rows, strict=True))]
    table = as_markdown(rows, f"pytest {given}".strip())
    terminalreporter.section("chaos")
    terminalreporter.write_line(table)
    if file := config.getoption("--chaos-table"):
        Path(file).write_text(table, encoding="utf-8")
