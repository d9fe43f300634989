"""A search: its trials are asked for, launched as cells of a sweep, and told to Optuna.

Its settings are ``conf/hydra/sweeper/optuna.yaml``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbert_lab.analysis.trials import LEFT, Trial
from colbert_lab.analysis.trials import PRUNED as PRUNED_TRIAL
from colbert_lab.base.errors import InputError
from colbert_lab.base.locks import give_back, take_lock
from colbert_lab.base.types import DEV_NAMES
from colbert_lab.records.contents import contents_of
from colbert_lab.records.identity import SHORT, canonical_json, config_hash
from colbert_lab.run.cells import BEFORE, PRUNED, Cell, write_cell
from colbert_lab.run.sweeping import current_sweep
from colbert_lab.settings import Command, Settings
from colbert_lab.settings.tasks import search_settings_of
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.passes import remember_below
from colbert_lab.tuning.search import Search, Space, read_space, trials_in

log = logging.getLogger("colbert_lab")
MEASURED = "evaluation.measured"
NUMBER = "hydra.sweeper.trial"
AUTO = "auto"
"""A split that is dev or held out, or is not there; which one is known once it is read."""


@dataclass(frozen=True)
class Launching:
    """What a search needs of Hydra, or of whatever composes commands and runs them.

    Args:
        settings: of the sweeper, as ``conf/hydra/sweeper/optuna.yaml`` has them.
        folder: of the sweep.
        compose: the command of the overrides of a trial.
        launch: runs trials, each given by its overrides, of which the first has the given number; returns what each
            command returned, and raises what one raised when its turn comes.
    """

    settings: Mapping[str, Any]
    folder: Path
    compose: Callable[[Sequence[str]], Command]
    launch: Callable[[Sequence[Sequence[str]], int], Iterable[Any]]


def search(launching: Launching, arguments: Sequence[str]) -> None:
    """Search until there are ``hydra.sweeper.n_trials`` trials, going on with those that are there.

    Finished and pruned trials are not run again; those that failed or were killed are, with the values that they had.
    A trial measures the objective's split alone, unless ``evaluation.measured`` names others.

    Args:
        launching: what composes the commands of trials and runs them.
        arguments: overrides of the command line.

    Raises:
        InputError: something the user can mend; nothing has been computed.
    """
    sweep = current_sweep()
    assert sweep is not None
    assert sweep.folder is not None
    settings = search_settings_of(dict(launching.settings))
    given = [f"{key}={value}" for key, value in (settings.params or {}).items()]
    space = read_space([*given, *arguments])
    commands = [launching.compose([*space.overrides(tried), f"{NUMBER}=0"]) for tried in space.corners()]
    first, (split, *_) = commands[0], [check_objective(each.settings, settings.prunes) for each in commands]
    if not first.settings.evaluation.measured:
        space = Space(space.searched, (*space.fixed, f"{MEASURED}=[{split}]"))
    journal = launching.folder / f"search-{_identity(first, space, settings.direction)}.journal"
    sweep.journal = str(journal)
    lock = _alone(journal)
    try:
        found = Search(journal, space, settings, str(first.settings.evaluation.headline))
        for trial in trials_in(journal).trials:
            if trial.state != LEFT:
                write_cell(sweep.folder, _cell(trial, first, str(journal)))
        left = found.left()
        for start in range(0, len(left), settings.n_jobs):
            asked = [found.ask(number) for number in left[start : start + settings.n_jobs]]
            jobs = [[*each.overrides, f"{NUMBER}={each.number}"] for each in asked]
            for each, value in zip(asked, launching.launch(jobs, asked[0].number), strict=True):
                if isinstance(value, float):
                    found.tell(each.number, value)
    finally:
        if lock is not None:
            lock_file(journal).unlink(missing_ok=True)
            give_back(lock)


def _identity(command: Command, space: Space, direction: str) -> str:
    """Searches of one space on the same things are one, whatever their samplers, pruners and numbers of trials."""
    remember_below(command.settings.cache)
    of_trial = config_hash(command.config, contents_of(command.config))
    ranges = {key: str(each) for key, each in space.searched.items()}
    parts = [of_trial, command.settings.seed, ranges, direction, command.settings.evaluation.headline]
    return fingerprint(canonical_json(parts))[:SHORT]


def lock_file(journal: Path) -> Path:
    """What the process that leads a search has locked.

    Args:
        journal: the search's file.
    """
    return journal.with_name(f".{journal.name}.lock")


def _alone(journal: Path) -> int | None:
    try:
        return take_lock(lock_file(journal), wait=0)
    except BlockingIOError:
        raise InputError(
            f"{journal}: another process leads this search; wait for its end, or stop it"
        ) from None


def _cell(trial: Trial, command: Command, journal: str) -> Cell:
    """A trial that an earlier command brought to its end, as a row of the table."""
    return Cell(
        trial.number,
        {key.lstrip("+"): str(value) for key, value in trial.tried.items()},
        PRUNED if trial.state == PRUNED_TRIAL else BEFORE,
        headline=command.settings.evaluation.headline,
        value=trial.value,
        run=trial.run,
        journal=journal,
    )


def check_objective(settings: Settings, prunes: bool) -> str:
    """The split of the objective, before anything is read.

    Args:
        settings: of a trial.
        prunes: whether trials may be stopped before their end.

    Raises:
        InputError: the command trains nothing, ``evaluation.headline`` is not of a dev split, or trials may be stopped
            and no phase is evaluated while it is trained.
    """
    if settings.task != "train":
        raise InputError(f"task={settings.task}: a search trains; leave it out")
    if not settings.schedule:
        raise InputError("schedule: no phase to train; a search needs one")
    headline = settings.evaluation.headline
    if headline is None:
        raise InputError(
            "evaluation.headline: a search needs one, a measure of a dev split such as dev/ndcg@10"
        )
    key = headline.rpartition("/")[0]
    split = settings.evaluation.splits.get(key)
    name = f"evaluation.headline={headline}"
    if split is None:
        there = (
            ", ".join(name for name, each in settings.evaluation.splits.items() if each is not None) or "none"
        )
        raise InputError(
            f"{name}: evaluation.splits has no {key}; there are {there}; a search needs a dev split"
        )
    if split.role == "test" or (split.role is None and split.split not in (*DEV_NAMES, AUTO)):
        raise InputError(f"{name}: nothing searches on test; name a dev split ({', '.join(DEV_NAMES)})")
    if prunes and not any(_evaluated(settings, phase) for phase in settings.schedule):
        last = settings.schedule[-1]
        raise InputError(
            f"hydra/sweeper/pruner: nothing is evaluated while training, so no trial can be stopped; set "
            f"phases.{last}.evaluate_every to less than the phase's steps, or hydra/sweeper/pruner=none"
        )
    return key


def _evaluated(settings: Settings, name: str) -> bool:
    phase = settings.phases.get(name)
    if phase is None or not phase.evaluate_every:
        return False
    return phase.steps is None or phase.steps > phase.evaluate_every
