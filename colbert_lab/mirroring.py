"""A run as W&B sees it: how it is tracked, its phases, and the curves while they are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger, WandbLogger

from colbert_lab.measuring import Measuring
from colbert_lab.results.run_directory import RunDirectory
from colbert_lab.results.tracking import Tracking, check_tags, connected_mode, guarded, sweep_tags
from colbert_lab.results.wandb_phase import TrackedPhase, open_phase


class Curves(WandbLogger):
    """Lightning's W&B logger. The first point that W&B does not take is logged; training goes on without it."""

    def __init__(self, run: Any) -> None:
        super().__init__(experiment=run)
        self._lost = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a point."""
        if not self._lost:
            self._lost = True
            with guarded("the curve from here on"):
                super().log_metrics(metrics, step)
                self._lost = False


def tracking_of(config: Mapping[str, Any], swept: Sequence[tuple[str, str]]) -> Tracking:
    """How a run is tracked, with its part in a sweep as tags.

    Args:
        config: the resolved config.
        swept: what the sweep varies: short names and values; empty outside a sweep.

    Raises:
        InputError: a tag that W&B would refuse, or ``tracking.mode=online`` where W&B does not answer.
    """
    settings = config["tracking"]
    check_tags(settings["tags"])
    tags = dict.fromkeys([*settings["tags"], *(sweep_tags(config["name"], swept) if swept else ())])
    mode = connected_mode(settings["mode"])
    return Tracking(mode, settings["project"], settings["entity"], tuple(tags), settings["wait_seconds"])


def track(
    tracking: Tracking | None,
    config: Mapping[str, Any],
    directory: RunDirectory,
    phase: str,
    previous: str | None = None,
) -> TrackedPhase:
    """The W&B run of a phase.

    Args:
        tracking: how; None, in all processes but the first, opens none.
        config: the resolved config.
        directory: the run's folder.
        phase: the phase.
        previous: the phase before it; None for the first one.
    """
    if tracking is None:
        return TrackedPhase(None, directory.run_id, phase)
    return open_phase(
        tracking,
        path=directory.path,
        run_id=directory.run_id,
        phase=phase,
        previous=previous,
        name=config["name"],
        config=config,
    )


def curve_loggers(tracked: TrackedPhase, metrics: Path, step: int) -> list[Logger]:
    """Lightning's loggers of a phase, once W&B has the points that a resumed phase goes on after.

    Args:
        tracked: the phase's W&B run.
        metrics: the phase's ``metrics.csv``.
        step: where training goes on.
    """
    if tracked.run is None:
        return []
    if step:
        tracked.curves(metrics, step)
    return [Curves(tracked.run)]


def end(tracked: TrackedPhase, measuring: Measuring) -> None:
    """Show W&B what was measured, and end its run of the phase."""
    tracked.records(measuring.results_file)
    tracked.results(measuring.records, measuring.write_tables())
    tracked.finish()
