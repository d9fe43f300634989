"""One run: check the inputs, walk the schedule, evaluate, record."""

from __future__ import annotations

import json
import logging

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from colbert_lab.analysis.tables import run_tables
from colbert_lab.base.atomic import write_text
from colbert_lab.base.interruptions import ProcessLost
from colbert_lab.base.layout import print_tables
from colbert_lab.base.logs import log_buffer, logged_to, process_rank
from colbert_lab.base.stages import Stages, in_stages
from colbert_lab.base.stopping import cause
from colbert_lab.evaluation.evaluator import Evaluator
from colbert_lab.records.contents import write_contents
from colbert_lab.records.environment import describe
from colbert_lab.records.identity import asked_hash, asked_where, factors
from colbert_lab.records.read_back import headline
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.run.evaluating import build_evaluator
from colbert_lab.run.inputs import Inputs, load_inputs
from colbert_lab.run.loggers import check_loggers
from colbert_lab.run.measuring import Measuring
from colbert_lab.run.mirroring import TrialRun, tracking_of
from colbert_lab.run.resuming import (
    check_unchanged,
    directory_of,
    own_directory,
    tell_others,
)
from colbert_lab.run.scheduling import check_schedule, phase_identities, run_identity
from colbert_lab.run.stages import INPUTS, names_of, work_of
from colbert_lab.run.sweeping import current_cell, note_run
from colbert_lab.run.walk import Walk
from colbert_lab.settings import Command, Settings
from colbert_lab.tracking.tracking import Tracking, resolve_mode
from colbert_lab.training.precision import choose_gpu, prepare_torch
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
    with in_stages(names_of(command.settings)) as stages:
        return _run(command, stages)


def _run(command: Command, stages: Stages) -> float | None:
    settings, buffer = command.settings, log_buffer()
    where = asked_where(command.asked)
    resolve_mode(settings.tracking.mode)
    check_loggers(settings.tracking.loggers)
    check_schedule(settings)
    processes = count_processes(settings.trainer.arguments)
    trainer = settings.trainer
    prepare_torch(trainer.threads, processes // trainer.num_nodes, trainer.float32_matmul)
    choose_gpu(trainer.accelerator, trainer.devices)
    identity = run_identity(command)
    directory = directory_of(settings, identity)
    note_run(directory.path)
    inputs: Inputs | None = None
    if not directory.finished:
        with stages.stage(INPUTS):
            inputs = load_inputs(command)
        if process_rank() == 0:
            stages.weigh(work_of(settings, inputs))
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
        Walk(command, inputs, phases, directory, evaluator, measuring, tracking, trial, stages).walk()

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
        config_dirs=_config_dirs(),
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


def _config_dirs() -> list[str]:
    """The folders that the command names with ``--config-dir``; none where there is no command line."""
    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    return [str(each.path) for each in sources if each.provider == "command-line"]
