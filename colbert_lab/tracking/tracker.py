"""What every tracker of a phase can be told, several trackers as one, and the one for any logger of Lightning.

A logger of Lightning gets config, curves, cost, measures, and tables where it takes them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from colbert_lab.base.layout import Table, shown
from colbert_lab.records.records import EXACT, Record
from colbert_lab.records.run_files import read_curves
from colbert_lab.tracking.naming import panel
from colbert_lab.tracking.tracking import one_line

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

Tracked = TypeVar("Tracked")
NUMBERS = ("system", "phase", "split", "search", "measure", "value")
"""Columns of the table of all numbers."""
log = logging.getLogger(__name__)
NAME = "tracking.loggers."


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


def read_points(metrics: Path) -> Iterator[tuple[int, float, dict[str, float]]]:
    """What a ``metrics.csv`` holds: step, time and values of each logged point; rows that are not whole are skipped."""
    now: tuple[int, float, dict[str, float]] | None = None
    for step, time, name, value in read_curves(metrics):
        if now is None or (step, time) != now[:2] or name in now[2]:
            if now is not None:
                yield now
            now = step, time, {}
        now[2][name] = value
    if now is not None:
        yield now


class LoggedPhase:
    """A phase as a logger has it. What the logger cannot do is logged and never raised.

    Numbers that belong to no step (cost, final measures) are logged at the last step of the curves. Tables go to
    loggers that have ``log_table(key, columns, data)``, as Lightning's ``WandbLogger`` has.

    Args:
        name: of the logger, below ``tracking.loggers``.
        logger: any logger of Lightning.
        phase: the phase.
    """

    def __init__(self, name: str, logger: Logger, phase: str) -> None:
        self.name = name
        self.logger = logger
        self.phase = phase
        self.step = 0
        self._lost = False

    def config(self, config: Mapping[str, Any]) -> None:
        """Log the run's resolved config as hyperparameters."""
        with logger_guarded(self.name, f"the config of {self.phase}"):
            self.logger.log_hyperparams(dict(config))

    def point(self, values: Mapping[str, float], step: int | None) -> None:
        """Log a point of the curves. After the first one that the logger does not take, no other is tried."""
        self.step = max(self.step, step or 0)
        if self._lost or not values:
            return
        self._lost = True
        with logger_guarded(self.name, f"the curve of {self.phase} from here on"):
            self.logger.log_metrics(dict(values), step=step)
            self._lost = False

    def curves(self, metrics: Path, last: int | None = None) -> None:
        """Log the points of a ``metrics.csv``; a logger begins anew each time that a phase is opened.

        Args:
            metrics: the file; a missing one has no points.
            last: leave out points after this step.
        """
        for step, _, values in read_points(metrics):
            if last is None or step <= last:
                self.point(values, step)

    def student(self, folder: Path, reused_from: str | None) -> None:
        """Nothing: loggers hold numbers and texts."""

    def records(self, file: Path) -> None:
        """Nothing: all records are a table of :meth:`results`."""

    def facts(self, outcome: Mapping[str, Any], parent: str | None) -> None:
        """Log the numbers of ``phase.json`` as ``phase/...``: cost and audits.

        Args:
            outcome: the content of ``phase.json``.
            parent: name of the phase before, which is no number.
        """
        self._numbers(dict(_flat(outcome, "phase")), "the facts")

    def results(self, records: Sequence[Record], tables: Sequence[Table]) -> None:
        """Log measures as numbers, and the tables and all records as tables.

        Args:
            records: what was measured; see :func:`colbert_lab.tracking.tracker.measure_key` for the names.
            tables: the tables on the screen.
        """
        self._numbers({measure_key(record): record.value for record in records}, "the measures")
        log_table = getattr(self.logger, "log_table", None)
        if log_table is None:
            return
        shown_tables = {panel(table.title): (table.columns, table.rows) for table in map(shown, tables)}
        rows = [[str(value) for value in numbers(record)] for record in records]
        with logger_guarded(self.name, f"the tables of {self.phase}"):
            for title, (columns, content) in (shown_tables | {"records": (NUMBERS, rows)}).items():
                log_table(key=f"tables/{title}", columns=list(columns), data=[list(row) for row in content])

    def finish(self, failed: bool = False) -> None:
        """Let the logger write what it still holds.

        Args:
            failed: whether the phase did not end well.
        """
        with logger_guarded(self.name, f"the end of {self.phase}"):
            self.logger.finalize("failed" if failed else "success")

    def _numbers(self, values: Mapping[str, float], what: str) -> None:
        if values:
            with logger_guarded(self.name, f"{what} of {self.phase}"):
                self.logger.log_metrics(dict(values), step=self.step)


@contextmanager
def logger_guarded(name: str, what: str) -> Iterator[None]:
    """Log what a logger could not do instead of raising it: it mirrors what is on disk, and must not end a run.

    Args:
        name: of the logger, below ``tracking.loggers``.
        what: what is logged, for the message.
    """
    try:
        yield
    except Exception as problem:
        log.warning(
            "%s%s does not have %s (%s: %s); the run on disk is whole",
            NAME, name, what, type(problem).__name__, one_line(problem),
        )  # fmt: skip


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """The finite numbers at any depth, by their names joined with ``/``."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}/{name}")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{prefix}/{name}", float(value)
