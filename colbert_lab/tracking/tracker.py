"""What every tracker of a phase can be told, and several trackers as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from colbert_lab.base.layout import Table
from colbert_lab.records.records import EXACT, Record

Tracked = TypeVar("Tracked")


class Tracker(Protocol):
    """Is told what a phase leaves on disk. What it cannot take it logs and never raises."""

    def curves(self, metrics: Path, last: int | None = None) -> None:
        """Show the points of a ``metrics.csv`` until the step ``last``; None for all."""

    def student(self, folder: Path, reused_from: str | None) -> None:
        """Show the phase's student, and the run that trained it where that is another."""

    def facts(self, outcome: Mapping[str, Any], parent: str | None) -> None:
        """Show what ``phase.json`` says: cost, audits, teacher, origin."""

    def records(self, file: Path) -> None:
        """Keep a copy of the run's records."""

    def results(self, records: Sequence[Record], tables: Sequence[Table]) -> None:
        """Show measures and tables."""

    def finish(self, failed: bool = False) -> None:
        """Nothing more comes."""


@dataclass(frozen=True)
class Trackers:
    """Several trackers of one phase, each told everything.

    Attributes:
        members: the trackers; none where nothing is tracked.
    """

    members: Sequence[Tracker] = ()

    def of(self, kind: type[Tracked]) -> list[Tracked]:
        """The members of a class."""
        return [each for each in self.members if isinstance(each, kind)]

    def curves(self, metrics: Path, last: int | None = None) -> None:
        """See :class:`Tracker`."""
        for each in self.members:
            each.curves(metrics, last)

    def student(self, folder: Path, reused_from: str | None) -> None:
        """See :class:`Tracker`."""
        for each in self.members:
            each.student(folder, reused_from)

    def facts(self, outcome: Mapping[str, Any], parent: str | None) -> None:
        """See :class:`Tracker`."""
        for each in self.members:
            each.facts(outcome, parent)

    def records(self, file: Path) -> None:
        """See :class:`Tracker`."""
        for each in self.members:
            each.records(file)

    def results(self, records: Sequence[Record], tables: Sequence[Table]) -> None:
        """See :class:`Tracker`."""
        for each in self.members:
            each.results(records, tables)

    def finish(self, failed: bool = False) -> None:
        """See :class:`Tracker`."""
        for each in self.members:
            each.finish(failed)


NUMBERS = ("system", "phase", "split", "search", "measure", "value")
"""Columns of the table of all numbers."""


def numbers(record: Record) -> tuple[str, str, str, str, str, float]:
    """A record's row in the table of all numbers."""
    return record.system, record.phase, record.split, record.variant, record.measure, record.value


def measure_key(record: Record) -> str:
    """What trackers call a number: ``<system or phase>/<split>/<measure>``.

    The search stands before the measure where that is not exact search of float32 embeddings.
    """
    who = record.phase if record.system == "student" else record.system
    middle = record.split if record.variant == EXACT else f"{record.split}/{record.variant}"
    return f"{who}/{middle}/{record.measure}"
