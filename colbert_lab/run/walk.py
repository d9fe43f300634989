"""A run's walk through its schedule: measure, train a phase or take it over, measure again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from colbert_lab.base.stages import Stages
from colbert_lab.evaluation.evaluator import Evaluator
from colbert_lab.evaluation.together import search_together
from colbert_lab.model.colbert import count_parameters
from colbert_lab.model.formats.own import load_student
from colbert_lab.model.student import Student, pick_device
from colbert_lab.records.cost import cost_of
from colbert_lab.records.lineage import adopt_phase
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.records.run_files import selection_told
from colbert_lab.run.callbacks import made_callbacks
from colbert_lab.run.dev import while_training
from colbert_lab.run.evaluating import is_measured
from colbert_lab.run.inputs import Inputs
from colbert_lab.run.loggers import places_of
from colbert_lab.run.measuring import Measuring
from colbert_lab.run.mirroring import TrialRun, curve_loggers, end, track
from colbert_lab.run.resuming import agreed_phase, note_identity
from colbert_lab.run.scheduling import PhaseIdentity
from colbert_lab.run.stages import BASELINES, measured
from colbert_lab.settings import Command
from colbert_lab.tracking.tracker import Trackers
from colbert_lab.tracking.tracking import Tracking
from colbert_lab.training.phase import train_phase
from colbert_lab.training.phase_files import PhaseOutcome, finished_phase
from colbert_lab.training.prepare import PreparedPhase
from colbert_lab.tuning.trial import Pruned

log = logging.getLogger("colbert_lab")


@dataclass(frozen=True)
class Walk:
    """Measures, and goes through the phases; ``measuring`` and ``tracking`` are None in all processes but the first."""

    command: Command
    inputs: Inputs
    phases: Mapping[str, PhaseIdentity]
    directory: RunDirectory
    evaluator: Evaluator
    measuring: Measuring | None
    tracking: Tracking | None
    trial: TrialRun
    stages: Stages

    def walk(self) -> None:
        """All of the run."""
        settings, measuring = self.command.settings, self.measuring
        training, student = settings.task == "train", self.inputs.student
        if measuring is not None:
            log.info(
                "run %s: %s, %d parameters, %s on %s",
                self.directory.run_id,
                " -> ".join(settings.schedule) if training else settings.task,
                count_parameters(student.model),
                settings.trainer.precision,
                pick_device(settings.trainer.accelerator),
            )
            with self.stages.stage(BASELINES):
                measuring.baselines(list(self.inputs.data.values()))
        seconds, previous = 0.0, None
        self._measure(student, "before" if training else "evaluate", None, 0, seconds)
        if settings.task == "evaluate" and measuring is not None:
            end(self._track("evaluate"), "evaluate", measuring, measuring.write_tables(), last=True)
        for name, phase in self.inputs.phases.items():
            tracked = self._track(name, previous)
            try:
                with self.stages.stage(name):
                    folder, done = self._phase(phase, student, tracked)
                tracked.student(folder / "student", done.reused_from)
                tracked.facts(asdict(done), previous)
                student = load_student(
                    folder / "student", settings.student.attention, settings.student.trust_remote_code
                )
                seconds += done.seconds
                self._measure(student, name, self.phases[name].hash, done.kept_step, seconds)
                if measuring is not None:
                    last = name == settings.schedule[-1]
                    end(tracked, name, measuring, measuring.write_tables(), last=last)
            except BaseException as error:
                tracked.finish(failed=not isinstance(error, Pruned))
                raise
            previous = name

    def _track(self, phase: str, previous: str | None = None) -> Trackers:
        return track(self.tracking, self.command.config, self.directory, phase, previous)

    def _measure(self, student: Student, phase: str, identity: str | None, step: int, seconds: float) -> None:
        """Measure a student after a phase; with several processes, all encode and search for the first one."""
        settings, evaluator, measuring = self.command.settings, self.evaluator, self.measuring
        if not is_measured(settings.evaluation, phase):
            return
        with self.stages.stage(measured(phase)):
            if measuring is not None:
                measuring.adopt_student(student, phase, seconds_train=seconds)
            if evaluator.keeping.processes > 1 and evaluator.splits:
                wanted = {} if measuring is None else measuring.missing(phase)
                search_together(settings.trainer.arguments, student, evaluator, wanted, settings.progress)
            if measuring is not None:
                student.model.to(pick_device(settings.trainer.accelerator))
                measuring.student(student, phase, step=step, seconds_train=seconds, phase_identity=identity)

    def _phase(self, phase: PreparedPhase, student: Student, tracked: Trackers) -> tuple[Path, PhaseOutcome]:
        """Train one phase, unless it is done here or in another run.

        Returns:
            The folder to load its student from, and what it did.
        """
        settings, measuring = self.command.settings, self.measuring
        folder, identity = self.directory.path / phase.name, self.phases[phase.name]
        done = agreed_phase(settings, folder, identity)
        if done is not None:
            if done.here:
                log.info("%s: finished before, not trained again", phase.name)
                if measuring is not None:  # those of a process that ended before it removed them
                    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            elif measuring is not None:
                # The other processes do not wait for the adoption: they read where it comes from.
                adopt_phase(done.folder, folder)
                log.info("%s: reused from %s (reuse=false trains it anew)", phase.name, done.folder)
            tracked.curves(done.folder / "metrics.csv")
            found = done.folder if measuring is None else folder
            outcome = finished_phase(found)
            assert outcome is not None
            return found, outcome
        if measuring is not None:
            note_identity(folder, identity)
            log.info(
                "%s: %d steps of %d x %d queries",
                phase.name,
                phase.max_steps,
                phase.settings.batch_size,
                phase.settings.accumulation,
            )
        with self.trial.training():
            _, outcome = train_phase(
                phase,
                student.model,
                folder,
                trainer=settings.trainer.arguments,
                phase_hash=identity.hash,
                loggers=lambda step: [
                    *curve_loggers(tracked, folder / "metrics.csv", step),
                    *self.trial.loggers(phase.name),
                ],
                evaluate=None
                if measuring is None
                else while_training(settings, self.inputs.splits, phase.name, self.directory.path),
                progress=settings.progress,
                own=made_callbacks(
                    settings.trainer.callbacks,
                    places_of(self.command.config, self.directory.path, self.directory.run_id, phase.name),
                ),
            )
        if measuring is not None:
            log.info("%s: %s", phase.name, cost_of(asdict(outcome)).told())
            if outcome.selection is not None:
                log.info("%s: %s", phase.name, selection_told(outcome.selection))
        return folder, outcome
