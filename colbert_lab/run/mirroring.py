"""A run as others see it: its trackers, with the curves while it is trained, and the search that it is a trial of.

A search is sent the dev curve while it is drawn, and may stop the run.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger, WandbLogger

from colbert_lab.analysis.by_query import query_table
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import Table
from colbert_lab.base.logs import process_rank
from colbert_lab.base.stopping import end_processes
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.report.content import run_pictures
from colbert_lab.run.cells import Cell
from colbert_lab.run.inputs import Inputs
from colbert_lab.run.loggers import Following, open_loggers
from colbert_lab.run.measuring import Measuring
from colbert_lab.settings import Settings
from colbert_lab.tracking.tracker import LoggedPhase, Tracker, Trackers
from colbert_lab.tracking.tracking import STEP, Tracking, check_tags, connected_mode, guarded, sweep_tags
from colbert_lab.tracking.wandb_phase import TrackedPhase, open_phase
from colbert_lab.tuning.trial import Pruned, Reporting

log = logging.getLogger(__name__)


class Curves(WandbLogger):
    """Lightning's W&B logger. The first point that W&B does not take is logged; training goes on without it.

    A phase that was killed and goes on computes some points again: those before the last one that its W&B run has are
    not sent twice.
    """

    def __init__(self, run: Any) -> None:
        super().__init__(experiment=run)
        self._lost = False
        self._known = run.summary.get(STEP, -1) if run.resumed else -1

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a point."""
        if not self._lost and (step is None or step >= self._known):
            self._lost = True
            with guarded("the curve from here on"):
                super().log_metrics(metrics, step)
                self._lost = False


def tracking_of(settings: Settings, swept: Sequence[tuple[str, str]]) -> Tracking:
    """How a run is tracked, with its part in a sweep as tags.

    Args:
        settings: the config.
        swept: what the sweep varies: short names and values; empty outside a sweep.

    Raises:
        InputError: a tag that W&B would refuse, or ``tracking.mode=online`` where W&B does not answer.
    """
    asked = settings.tracking
    check_tags(asked.tags)
    tags = dict.fromkeys([*asked.tags, *(sweep_tags(settings.name, swept) if swept else ())])
    return Tracking(connected_mode(asked.mode), asked.project, asked.entity, tuple(tags), asked.wait_seconds)


def track(
    tracking: Tracking | None,
    config: Mapping[str, Any],
    directory: RunDirectory,
    phase: str,
    previous: str | None = None,
) -> Trackers:
    """The trackers of a phase: its W&B run, and the loggers of ``tracking.loggers``.

    Args:
        tracking: how; None, in all processes but the first, opens none.
        config: the resolved config.
        directory: the run's folder.
        phase: the phase.
        previous: the phase before it; None for the first one.
    """
    if tracking is None:
        return Trackers()
    path, run_id = directory.path, directory.run_id
    members: list[Tracker] = []
    if tracking.mode != "off":
        name = config["name"]
        members.append(
            open_phase(
                tracking, path=path, run_id=run_id, phase=phase, previous=previous, name=name, config=config
            )
        )
    members += open_loggers(config["tracking"]["loggers"], config, path, run_id, phase)
    return Trackers(members)


def curve_loggers(tracked: Trackers, metrics: Path, step: int) -> list[Logger]:
    """Lightning's loggers of a phase, once they have the points that a resumed phase goes on after.

    Args:
        tracked: the phase's trackers.
        metrics: the phase's ``metrics.csv``.
        step: where training goes on.
    """
    if step:
        tracked.curves(metrics, step)
    runs = (each.run for each in tracked.of(TrackedPhase))
    return [
        *(Curves(run) for run in runs if run is not None),
        *(Following(each) for each in tracked.of(LoggedPhase)),
    ]


def end(tracked: Trackers, phase: str, measuring: Measuring, tables: Sequence[Table], *, last: bool) -> None:
    """Show the trackers what was measured, and let them end the phase.

    Args:
        tracked: the phase's trackers.
        phase: its name, or ``evaluate``.
        measuring: what was measured until now.
        tables: of the run as of now.
        last: whether the run has no phase after it; its pictures are shown then.
    """
    tracked.records(measuring.results_file)
    mirrors = [each for each in tracked.of(TrackedPhase) if each.run is not None]
    by_query = query_table(measuring.path, phase, measuring.records) if mirrors else None
    tracked.results(measuring.records, [*tables, *([by_query] if by_query else [])])
    with guarded("the pictures of the run"):
        pictures = run_pictures(measuring.path) if mirrors and last else []
        for each in mirrors:
            each.pictures(pictures)
    tracked.finish()


class DevCurve(Logger):
    """Lightning's logger that reports to a search; it comes after those that write the curve down.

    Args:
        trial: what is told.
        measure: the name of the objective's measure, of which the curve is on a cut of its split.
        before: optimizer steps of the phases before.
        end: optimizer steps of all phases. A trial is not stopped there: all is done but for its value.
    """

    def __init__(self, trial: Reporting, measure: str, before: int, end: int) -> None:
        super().__init__()
        self.trial, self.measure, self.before, self.end = trial, measure, before, end

    @property
    def name(self) -> str:
        """Of the logger."""
        return "search"

    @property
    def version(self) -> int:
        """The trial's number."""
        return self.trial.number

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The search knows them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Report the measure where it is among these; before a phase's first step it says nothing of the trial.

        Raises:
            Pruned: the trial is to stop.
        """
        for name, value in metrics.items():
            if name.endswith(f"_small/{self.measure}") and step:
                at = self.before + step
                self.trial.report(name, float(value), at, may_stop=at < self.end)


class TrialRun:
    """What a run does besides when it is a trial; nothing where it is none.

    Args:
        cell: the cell of a sweep that the run is.
        settings: its config.
        inputs: what it works on.

    Raises:
        InputError: the search's objective is of a split that is not there.
    """

    def __init__(self, cell: Cell | None, settings: Settings, inputs: Inputs) -> None:
        self.trial = None
        if cell is None or cell.journal is None or process_rank() > 0:
            return
        headline = settings.evaluation.headline
        split, _, self.measure = str(headline).rpartition("/")
        if split not in inputs.splits:
            raise InputError(
                f"evaluation.headline={headline}: there is no split {split} here; a search needs one"
            )
        self.trial = Reporting(Path(cell.journal), cell.number)
        self.phases = inputs.phases

    def begin(self, directory: RunDirectory) -> None:
        """Tell the search which run it is."""
        if self.trial is not None:
            self.trial.begin(directory.path)

    def loggers(self, phase: str) -> list[Logger]:
        """What reports a phase's dev curve.

        Args:
            phase: its name; the steps of the phases before it count before its own.
        """
        if self.trial is None:
            return []
        steps = {name: each.max_steps for name, each in self.phases.items()}
        before = sum(list(steps.values())[: list(steps).index(phase)])
        return [DevCurve(self.trial, self.measure, before, sum(steps.values()))]

    def training(self) -> AbstractContextManager[None]:
        """A block in which training that diverges ends the trial and not the search."""
        return nullcontext() if self.trial is None else self.trial.of_diverging()

    def end(self, directory: RunDirectory, pruned: Pruned) -> None:
        """Leave the run of a trial that was stopped: its curve stays, what it could go on from goes.

        Args:
            directory: of the run.
            pruned: what stopped it.
        """
        end_processes()
        for phase in self.phases:
            shutil.rmtree(directory.path / phase / "checkpoints", ignore_errors=True)
        directory.end("pruned")
        log.info("pruned: %s", pruned)
