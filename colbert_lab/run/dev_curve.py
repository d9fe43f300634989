"""A run that is a trial of a search: its dev curve is sent to the search while it is drawn, which may stop it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from colbert_lab.base.errors import InputError
from colbert_lab.base.logs import process_rank
from colbert_lab.base.stopping import end_processes
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.run.cells import Cell
from colbert_lab.run.inputs import Inputs
from colbert_lab.settings import Settings
from colbert_lab.tuning.trial import Pruned, Reporting

log = logging.getLogger(__name__)


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
