"""What a phase's W&B run holds: config, curves, cost, audits, measures, tables, records, artifacts and lineage.

All of it is also on disk, so it is written from there; the same methods serve a phase that is being trained, one
that was finished before or taken over from another run, and the rebuild of W&B runs from disk.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_lab.base.atomic import write_text
from colbert_lab.base.layout import Table, shown
from colbert_lab.base.outside import read_json_or
from colbert_lab.base.pages import Picture
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.records.records import RECORDS_FILE, Record
from colbert_lab.records.run_files import PhaseFacts
from colbert_lab.tracking.naming import panel
from colbert_lab.tracking.tracker import NUMBERS, measure_key, numbers, read_points
from colbert_lab.tracking.tracking import (
    STEP,
    Tracking,
    guarded,
    open_run,
    safe_name,
    shown_name,
    sync_command,
)

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)


class TrackedPhase:
    """The W&B run of a phase. Does nothing without one; what W&B cannot do is logged and never raised.

    The newest folder of offline files holds the whole phase. ``wandb sync`` adds to what the server has, so older
    folders of an interrupted phase are then marked as synced, and ``wandb sync`` passes over them.

    Args:
        run: the open W&B run, or None.
        run_id: the run it belongs to.
        phase: its phase.
    """

    def __init__(self, run: wandb.Run | None, run_id: str, phase: str) -> None:
        self.run = run
        self.run_id = run_id
        self.phase = phase

    def curves(self, metrics: Path, last: int | None = None) -> None:
        """Log the points of a ``metrics.csv`` that W&B does not have yet, each with its step and time.

        Args:
            metrics: the file; a missing one has no points.
            last: leave out points after this step.
        """
        if self.run is None:
            return
        with guarded(f"curves of {self.phase}"):
            known = self.run.summary.get(STEP, -1) if self.run.resumed else -1
            for step, time, values in read_points(metrics):
                if step > known and (last is None or step <= last):
                    self.run.log({**values, STEP: step, "_timestamp": time})

    def uses_scores(self, files: Sequence[Path]) -> None:
        """Name files of teacher scores as inputs: references with their checksums, nothing is copied or uploaded."""
        for file in files:
            with guarded(f"the score file {file}"):
                self._use(_scores_artifact(file, self.run))

    def uses_student(self, folder: Path, run_id: str, phase: str) -> None:
        """Name a student as an input: the phase's parent, or one that was taken over.

        Args:
            folder: the student's folder.
            run_id: the run that trained it.
            phase: the phase that trained it.
        """
        with guarded(f"the student of {phase} as input"):
            self._use(_student_artifact(folder, run_id, phase, self.run))

    def student(self, folder: Path, reused_from: str | None) -> None:
        """Log the phase's student: as an output, or as an input when another run trained it.

        Args:
            folder: the student's folder.
            reused_from: the run that trained it, when this one did not.
        """
        if self.run is None:
            return
        if reused_from is not None:
            self.uses_student(folder, reused_from, self.phase)
            return
        with guarded(f"the student of {self.phase}"):
            if artifact := _student_artifact(folder, self.run_id, self.phase, self.run):
                self.run.log_artifact(artifact)

    def facts(self, outcome: Mapping[str, Any], parent: str | None) -> None:
        """Write what ``phase.json`` says into the summary as ``phase/...``: cost, audits, teacher, origin.

        Args:
            outcome: the content of ``phase.json``.
            parent: name of the phase before; None for the first one.
        """
        if self.run is None:
            return
        with guarded(f"the facts of {self.phase}"):
            values = {f"phase/{key}": value for key, value in outcome.items()}
            self.run.summary.update({**values, "phase/parent": parent or "untrained"})

    def records(self, file: Path) -> None:
        """Keep the run's records, as they are now, among the W&B run's own files."""
        if self.run is None or not file.is_file():
            return
        with guarded(f"the records of {self.phase}"):
            copy = Path(self.run.dir) / RECORDS_FILE
            shutil.copyfile(file, copy)
            self.run.save(str(copy), base_path=self.run.dir, policy="now", glob=False)

    def results(self, records: Sequence[Record], tables: Sequence[Table]) -> None:
        """Write measures into the summary, and the tables as W&B tables.

        Args:
            records: what was measured; keys become ``<system or phase>/<split>/<measure>``, with the search before the
                measure where that is not exact search of float32 embeddings.
            tables: the tables on the screen; one of all numbers is added.
        """
        if self.run is None:
            return
        with guarded(f"the measures of {self.phase}"):
            import wandb

            rows = [list(numbers(record)) for record in records]
            for record in records:
                self.run.summary[shown_name(measure_key(record))] = record.value
            content = {
                shown_name(f"tables/{panel(table.title)}"): wandb.Table(
                    columns=list(table.columns), data=[list(row) for row in table.rows]
                )
                for table in map(shown, tables)
            }
            if rows:
                content["tables/records"] = wandb.Table(columns=list(NUMBERS), data=rows)
            if content:
                self.run.log(content)

    def pictures(self, pictures: Sequence[Picture]) -> None:
        """Show the pictures of the run's page as ``report/<name>``, each with its caption.

        Args:
            pictures: as SVG.
        """
        if self.run is None or not pictures:
            return
        with guarded(f"the pictures of {self.phase}"):
            import wandb

            pages = {
                each.name: f"<figure>{each.svg}<figcaption>{escape(each.caption)}</figcaption></figure>"
                for each in pictures
            }
            self.run.log({f"report/{name}": wandb.Html(page, inject=False) for name, page in pages.items()})

    def finish(self, failed: bool = False) -> None:
        """End the W&B run; uploads that do not end in ``tracking.wait_seconds`` are left to ``wandb sync``.

        Args:
            failed: whether the phase did not end well.
        """
        if self.run is None:
            return
        run, self.run = self.run, None
        try:
            run.finish(exit_code=int(failed))
        except Exception as problem:  # TimeoutError, or W&B's own process died
            log.warning(
                "W&B: %s is not uploaded whole (%s); nothing on disk is lost: `task=runs to=wandb` sends all of it, or "
                "what W&B took: %s",
                self.phase, type(problem).__name__, sync_command(run),
            )  # fmt: skip
            return
        if run.offline:
            with guarded(f"the mark on older folders of {self.phase}"):
                _supersede(Path(run.dir).parent, run.id)
            log.info("W&B (offline): to upload %s: %s", self.phase, sync_command(run))

    def _use(self, artifact: wandb.Artifact | None) -> None:
        """Log an artifact as an input. ``run.use_artifact`` waits for the server, and cannot be used offline."""
        if self.run is not None and artifact is not None:
            self.run._log_artifact(artifact, is_user_created=True, use_after_commit=True)


def score_files(data: Any) -> list[Path]:
    """The files of teacher scores that a ``data`` part of a config names, at any depth; missing ones are left out."""
    if isinstance(data, Mapping):
        found = [file for value in data.values() for file in score_files(value)]
        path, scores = data.get("path"), data.get("scores")
        if isinstance(path, str) and isinstance(scores, str):
            file = Path(path).expanduser() / Path(scores).expanduser()
            found += [file.absolute()] if file.is_file() else []
        return list(dict.fromkeys(found))
    if isinstance(data, list | tuple):
        return list(dict.fromkeys(file for value in data for file in score_files(value)))
    return []


def _supersede(newest: Path, wandb_id: str) -> None:
    """Mark older offline folders of a W&B run as ``wandb sync`` marks what it has sent."""
    for folder in newest.parent.iterdir():
        if (
            folder != newest
            and folder.name.startswith("offline-run-")
            and folder.name.endswith(f"-{wandb_id}")
        ):
            for file in folder.glob("run-*.wandb"):
                marker = file.with_name(f"{file.name}.synced")
                if not marker.exists():
                    write_text(marker, f"not sent: {newest.name} holds all of it\n")


def _student_artifact(folder: Path, run_id: str, phase: str, run: wandb.Run | None) -> wandb.Artifact | None:
    if run is None or not folder.is_dir():
        return None
    import wandb

    metadata = {"run_id": run_id, "phase": phase}
    artifact = wandb.Artifact(safe_name(f"student-{run_id}-{phase}"), type="student", metadata=metadata)
    artifact.add_dir(str(folder), policy="immutable")  # nothing is copied
    return artifact


def _scores_artifact(file: Path, run: wandb.Run | None) -> wandb.Artifact | None:
    if run is None:
        return None
    import wandb

    readable = safe_name(file.name)[:80]
    place = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
    artifact = wandb.Artifact(f"scores-{readable}-{place}", type="scores", metadata={"path": str(file)})
    artifact.add_reference(file.resolve().as_uri(), name=file.name)
    return artifact


def open_phase(
    tracking: Tracking,
    *,
    path: Path,
    run_id: str,
    phase: str,
    previous: str | None,
    name: str,
    config: Mapping[str, Any],
) -> TrackedPhase:
    """Open the W&B run of a phase, with its inputs and what was measured before it.

    Args:
        tracking: how, see :class:`colbert_lab.tracking.tracking.Tracking`.
        path: the run's folder.
        run_id: the run.
        phase: the phase.
        previous: the phase before; None for the first one.
        name: the run's name.
        config: the run's resolved config.
    """
    run = open_run(tracking, directory=path, run_id=run_id, phase=phase, name=name, config=config)
    tracked = TrackedPhase(run, run_id, phase)
    if run is None:
        return tracked
    tracked.records(path / RECORDS_FILE)
    tracked.uses_scores(score_files((config.get("phases") or {}).get(phase, {}).get("data")))
    if previous is not None:
        origin = read_json_or(path / previous / PHASE_FILE, PhaseFacts).get("reused_from") or run_id
        tracked.uses_student(path / previous / "student", origin, previous)
    return tracked
