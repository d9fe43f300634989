"""One run: check the inputs, walk the schedule, evaluate, record."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from omegaconf import OmegaConf

from colbert_lab.analysis.tables import run_tables
from colbert_lab.base.atomic import write_text
from colbert_lab.base.layout import print_tables
from colbert_lab.base.logs import log_buffer, logged_to, process_rank
from colbert_lab.base.stopping import ProcessLost, cause
from colbert_lab.evaluation.evaluator import Evaluator
from colbert_lab.evaluation.searching import encode_together
from colbert_lab.model.colbert import count_parameters
from colbert_lab.model.formats.own import load_student
from colbert_lab.model.student import Student, pick_device
from colbert_lab.records.contents import write_contents
from colbert_lab.records.cost import cost_of
from colbert_lab.records.environment import describe
from colbert_lab.records.identity import asked_hash, asked_where, factors
from colbert_lab.records.lineage import adopt_phase
from colbert_lab.records.read_back import headline
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.records.run_files import selection_told
from colbert_lab.run.evaluating import build_evaluator, while_training
from colbert_lab.run.inputs import Inputs, load_inputs
from colbert_lab.run.loggers import check_loggers
from colbert_lab.run.measuring import Measuring
from colbert_lab.run.mirroring import TrialRun, curve_loggers, end, track, tracking_of
from colbert_lab.run.resuming import (
    agreed_phase,
    check_unchanged,
    directory_of,
    note_identity,
    own_directory,
    tell_others,
)
from colbert_lab.run.scheduling import PhaseIdentity, check_schedule, phase_identities, run_identity
from colbert_lab.run.sweeping import current_cell, note_run
from colbert_lab.settings import Command, Settings
from colbert_lab.tracking.tracker import Trackers
from colbert_lab.tracking.tracking import Tracking, resolve_mode
from colbert_lab.training.phase import train_phase
from colbert_lab.training.phase_files import PhaseOutcome, finished_phase
from colbert_lab.training.precision import prepare_torch
from colbert_lab.training.prepare import PreparedPhase
from colbert_lab.training.strategy import count_processes
from colbert_lab.tuning.trial import Pruned

log = logging.getLogger("colbert_lab")


def run(command: Command) -> float | None:
    """Execute one command.

    With several processes, each runs this function: the first one does everything, the others encode and train.

    Args:
        command: its precision is resolved.

    Returns:
        The headline value (for sweepers), or None when there is none.

    Raises:
        InputError: anything the user can mend; nothing is then left that looks finished.
    """
    settings, buffer = command.settings, log_buffer()
    where = asked_where(command.asked)
    resolve_mode(settings.tracking.mode)
    check_loggers(settings.tracking.loggers)
    check_schedule(settings)
    processes = count_processes(settings.trainer.arguments)
    trainer = settings.trainer
    prepare_torch(trainer.threads, processes // trainer.num_nodes, trainer.float32_matmul)
    identity = run_identity(command)
    directory = directory_of(settings, identity)
    note_run(directory.path)
    inputs: Inputs | None = None
    if not directory.finished:
        inputs = load_inputs(command)
        known, identity = identity, run_identity(command)
        if identity != known:
            check_unchanged(known, identity)
            directory = directory_of(settings, identity)
    if directory.finished or inputs is None:
        note_run(directory.path)
        if process_rank() == 0:
            log.info("this run is finished (reuse=false trains it anew): %s", directory.path)
            print_tables(run_tables(directory.path))
        return _headline(settings, directory) if process_rank() == 0 else None
    phases = phase_identities(command, inputs)
    directory = own_directory(settings.reuse, directory, inputs, phases)
    note_run(directory.path)

    cell = current_cell()
    trial = TrialRun(cell, settings, inputs)

    def walk(measuring: Measuring | None, tracking: Tracking | None) -> None:
        _Walk(command, inputs, phases, directory, evaluator, measuring, tracking, trial).walk()

    if process_rank() > 0:
        evaluator = _evaluator(settings, inputs, directory)
        walk(None, None)
        return None
    tracking = tracking_of(settings, cell.named if cell is not None else [])
    tell_others(directory, identity)
    directory.start(
        task=settings.task,
        config_hash=identity.hash,
        named=identity.named,
        seed=settings.seed,
        factors=factors(command.overrides),
        schedule=settings.schedule,
        headline=settings.evaluation.headline,
        processes=processes,
        asked=asked_hash(command.asked, identity.contents, where),
        tags=list(tracking.tags),
        overrides=list(command.overrides),
    )
    if cell is not None:
        directory.name_in_sweep(cell.label)
    trial.begin(directory)
    with logged_to(directory.path / "run.log", buffer):
        try:
            environment = describe() | {"threads": torch.get_num_threads()}
            write_text(directory.path / "config.yaml", OmegaConf.to_yaml(command.config))
            write_contents(directory.path, command.config, identity.contents)
            write_text(directory.path / "environment.json", json.dumps(environment, indent=2) + "\n")
            evaluator = _evaluator(settings, inputs, directory)
            measuring = Measuring(command, identity.hash, inputs.splits, directory, environment, evaluator)
            walk(measuring, tracking)
            measuring.write_tables()
        except Pruned as pruned:
            trial.end(directory, pruned)
            return None
        except BaseException as raised:
            error = cause(raised)
            if isinstance(error, ProcessLost):
                directory.end("interrupted" if error.by_signal else "failed", str(error))
            elif isinstance(error, KeyboardInterrupt):
                directory.end("interrupted")
            else:
                directory.end("failed", f"{type(error).__name__}: {error}")
            if error is not raised:
                raise error from raised
            raise
        directory.end("finished")
        print_tables(run_tables(directory.path))
        log.info("everything about this run: %s", directory.path)
    return _headline(settings, directory)


@dataclass(frozen=True)
class _Walk:
    """Measures, and goes through the phases; ``measuring`` and ``tracking`` are None in all processes but the first."""

    command: Command
    inputs: Inputs
    phases: Mapping[str, PhaseIdentity]
    directory: RunDirectory
    evaluator: Evaluator
    measuring: Measuring | None
    tracking: Tracking | None
    trial: TrialRun

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
            measuring.baselines(list(self.inputs.data.values()))
        seconds, previous = 0.0, None
        self._measure(student, "before" if training else "evaluate", None, 0, seconds)
        if settings.task == "evaluate" and measuring is not None:
            end(self._track("evaluate"), measuring, measuring.write_tables())
        for name, phase in self.inputs.phases.items():
            tracked = self._track(name, previous)
            try:
                folder, done = self._phase(phase, student, tracked)
                tracked.student(folder / "student", done.reused_from)
                tracked.facts(asdict(done), previous)
                student = load_student(
                    folder / "student", settings.student.attention, settings.student.trust_remote_code
                )
                seconds += done.seconds
                self._measure(student, name, self.phases[name].hash, done.kept_step, seconds)
                if measuring is not None:
                    end(tracked, measuring, measuring.write_tables())
            except BaseException as error:
                tracked.finish(failed=not isinstance(error, Pruned))
                raise
            previous = name

    def _track(self, phase: str, previous: str | None = None) -> Trackers:
        return track(self.tracking, self.command.config, self.directory, phase, previous)

    def _measure(self, student: Student, phase: str, identity: str | None, step: int, seconds: float) -> None:
        """Measure a student after a phase; with several processes, all encode what the first one will search."""
        settings, evaluator, measuring = self.command.settings, self.evaluator, self.measuring
        if measuring is not None:
            measuring.adopt_student(student, phase, seconds_train=seconds)
        if evaluator.keeping.processes > 1 and evaluator.splits:
            wanted = {} if measuring is None else measuring.missing(phase)
            encode_together(settings.trainer.arguments, student, evaluator, wanted, settings.progress)
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
                num_workers=settings.trainer.num_workers,
                phase_hash=identity.hash,
                loggers=lambda step: [
                    *curve_loggers(tracked, folder / "metrics.csv", step),
                    *self.trial.loggers(phase.name),
                ],
                evaluate=None
                if measuring is None
                else while_training(settings, self.inputs.splits, phase.name, self.directory.path),
                progress=settings.progress,
            )
        if measuring is not None:
            log.info("%s: %s", phase.name, cost_of(asdict(outcome)).told())
            if outcome.selection is not None:
                log.info("%s: %s", phase.name, selection_told(outcome.selection))
        return folder, outcome


def _evaluator(settings: Settings, inputs: Inputs, directory: RunDirectory) -> Evaluator:
    processes = count_processes(settings.trainer.arguments)
    return build_evaluator(
        settings, inputs.splits, inputs.search, inputs.first_stage, processes, directory.path
    )


def _headline(settings: Settings, directory: RunDirectory) -> float | None:
    wanted, schedule = settings.evaluation.headline, settings.schedule
    return (
        None if wanted is None else headline(directory.path, wanted, schedule[-1] if schedule else "evaluate")
    )
