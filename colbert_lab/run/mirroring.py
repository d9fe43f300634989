"""A run as its trackers see it: how it is tracked, its phases, and the curves while they are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger, WandbLogger

from colbert_lab.base.layout import Table
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.run.loggers import Following, open_loggers
from colbert_lab.run.measuring import Measuring
from colbert_lab.settings import Settings
from colbert_lab.tracking.tracker import LoggedPhase, Tracker, Trackers
from colbert_lab.tracking.tracking import STEP, Tracking, check_tags, connected_mode, guarded, sweep_tags
from colbert_lab.tracking.wandb_phase import TrackedPhase, open_phase


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


def end(tracked: Trackers, measuring: Measuring, tables: Sequence[Table]) -> None:
    """Show the trackers what was measured, and let them end the phase.

    Args:
        tracked: the phase's trackers.
        measuring: what was measured until now.
        tables: of the run as of now.
    """
    tracked.records(measuring.results_file)
    tracked.results(measuring.records, tables)
    tracked.finish()
