"""Weights & Biases: a mirror of what is on disk. One W&B run per phase, grouped by the run id."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from colbert_lab.errors import InputError
from colbert_lab.results.layout import Table
from colbert_lab.results.records import Record

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)
MODES = ("auto", "online", "offline", "off")
# The public cloud's address since wandb 0.31, and the one that earlier logins are stored under.
FORMER_HOSTS = {"api.forge.coreweave.com": "api.wandb.ai"}


def open_wandb(
    mode: str,
    *,
    project: str,
    entity: str | None,
    tags: Sequence[str],
    directory: Path,
    run_id: str,
    phase: str,
    name: str,
    config: Mapping[str, Any],
) -> wandb.Run | None:
    """Start the W&B run of one phase.

    Args:
        mode: ``auto`` (online when logged in, otherwise offline), ``online``, ``offline`` or ``off``.
        project: W&B project.
        entity: W&B user or team; None is the default one.
        tags: W&B tags.
        directory: where offline files go.
        run_id: groups the phases of one run.
        phase: the phase's name (the W&B job type).
        name: the run's name.
        config: the resolved config.

    Returns:
        The W&B run, or None when tracking is off.

    Raises:
        InputError: an unknown mode, or ``online`` without being logged in.
    """
    resolved = resolve_mode(mode)
    if resolved == "off":
        return None
    import wandb

    directory.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        mode=resolved,
        project=project,
        entity=entity,
        tags=list(tags),
        dir=str(directory),
        id=f"{run_id}-{phase}",
        name=f"{name} {phase} {run_id}",
        group=run_id,
        job_type=phase,
        config=dict(config),
        resume="allow" if resolved == "online" else None,
        settings=wandb.Settings(silent=True, console="off"),
    )
    log.info("W&B (%s): %s", resolved, run.url if resolved == "online" else run.dir)
    return run


def resolve_mode(mode: str) -> Literal["online", "offline", "off"]:
    """What ``tracking.mode`` means here; ``auto`` is online when logged in, otherwise offline.

    Raises:
        InputError: an unknown mode, or ``online`` without being logged in.
    """
    if mode not in MODES:
        raise InputError(f"tracking.mode={mode}: must be one of {', '.join(MODES)}")
    if mode in ("off", "offline"):
        return "off" if mode == "off" else "offline"
    if logged_in():
        return "online"
    if mode == "online":
        raise InputError(
            "tracking.mode=online: not logged in to W&B; run `wandb login`, or use tracking=offline"
        )
    return "offline"


def logged_in() -> bool:
    """Whether an API key is at hand (environment or netrc); no network is used."""
    import wandb

    return bool(wandb.setup().settings.api_key or _netrc_key())


def _netrc_key() -> bool:
    import netrc

    import wandb

    host = wandb.setup().settings.base_url.split("//")[-1].split("/")[0]
    file = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()  # as W&B finds it
    try:
        keys = netrc.netrc(file)
    except (OSError, netrc.NetrcParseError):
        return False
    found = keys.authenticators(host) or keys.authenticators(FORMER_HOSTS.get(host, host))
    return found is not None and bool(found[2])


def log_student(run: wandb.Run | None, folder: Path, run_id: str, phase: str, parent: str | None) -> None:
    """Log a trained student as an artifact, with the student it started from as its input.

    Args:
        run: the phase's W&B run, or None.
        folder: the student's folder.
        run_id: the run.
        phase: the phase.
        parent: artifact of the student before it; None for the first phase.
    """
    if run is None:
        return
    import wandb

    if parent is not None and not run.offline:
        try:
            run.use_artifact(f"{parent}:latest")
        except wandb.errors.CommError as error:  # its run was tracked elsewhere or not at all
            log.warning("W&B does not know the parent student %s (%s)", parent, error)
    artifact = wandb.Artifact(
        f"student-{run_id}-{phase}",
        type="student",
        metadata={"run_id": run_id, "phase": phase, "parent": parent},
    )
    artifact.add_dir(str(folder), policy="immutable")  # nothing is copied
    run.log_artifact(artifact)


def log_results(run: wandb.Run | None, records: Sequence[Record], tables: Sequence[Table]) -> None:
    """Write measures into the run's summary, and the tables as W&B tables.

    Args:
        run: the W&B run, or None.
        records: what was measured; keys become ``<system or phase>/<split>/<measure>``.
        tables: the tables on the screen.
    """
    if run is None:
        return
    import wandb

    for record in records:
        who = record.phase if record.system == "student" else record.system
        run.summary[f"{who}/{record.split}/{record.measure}"] = record.value
    for table in tables:
        run.log(
            {
                f"tables/{table.title}": wandb.Table(
                    columns=list(table.columns), data=[list(row) for row in table.rows]
                )
            }
        )
