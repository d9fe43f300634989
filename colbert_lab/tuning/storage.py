"""The file of a search: Optuna's journal, which processes on one machine or several may write to at once."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from colbert_lab.base.errors import InputError
from colbert_lab.settings.checks import TARGET

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study

DAMAGE = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""What Optuna makes of lines that are not its own."""
NAME = "search"
OPTUNAS = "optuna.pruners."
PRUNER = "pruner"
"""In the study's attributes: the settings of what stops trials, for their processes."""


def check_installed() -> None:
    """Whether Optuna is there.

    Raises:
        InputError: it is not; the message names the command that installs it.
    """
    if importlib.util.find_spec("optuna") is None:
        raise InputError("hydra/sweeper=optuna: Optuna is not installed; pip install 'colbert-lab[optuna]'")


def cut_half_line(journal: Path) -> None:
    """Take out the end of a journal that a killed process did not write whole; the next line would be joined to it.

    Args:
        journal: the file; nothing is done where there is none.
    """
    if not journal.exists() or (content := journal.read_bytes()).endswith(b"\n") or not content:
        return
    with journal.open("r+b") as file:
        file.truncate(content.rfind(b"\n") + 1)


@contextmanager
def reading(journal: Path) -> Iterator[None]:
    """What cannot be read of a search's file is one error that says what to do.

    Args:
        journal: the file that the block reads.

    Raises:
        InputError: the file is damaged.
    """
    try:
        yield
    except DAMAGE as error:
        raise InputError(
            f"{journal}: is damaged ({type(error).__name__}); delete it, and the same command begins the search anew, "
            "with the finished runs that it comes to again"
        ) from error


def open_study(
    journal: Path, *, direction: str | None = None, pruner: Mapping[str, Any] | None = None
) -> Study:
    """The study in a file.

    Args:
        journal: the file.
        direction: ``maximize`` or ``minimize``; the file is then made where it is missing. None reads
            one that is there.
        pruner: settings of what stops trials; None takes those that the study was last given.

    Raises:
        InputError: the file is damaged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if pruner is not None:
        _pruner_of(pruner)  # refused before a file is made
    with reading(journal):
        study = _read(journal, direction)
    if pruner is not None:
        study.set_user_attr(PRUNER, dict(pruner))
    try:
        study.pruner = _pruner_of(study.user_attrs[PRUNER])
    except (InputError, LookupError, TypeError) as error:
        raise InputError(f"{journal}: names no pruner that can be made ({error}); delete it") from error
    return study


def _read(journal: Path, direction: str | None) -> Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = JournalStorage(JournalFileBackend(str(journal)))
    sampler = optuna.samplers.RandomSampler()
    if direction is None:
        return optuna.load_study(study_name=NAME, storage=storage, sampler=sampler)
    return optuna.create_study(
        study_name=NAME,
        storage=storage,
        sampler=sampler,
        direction=optuna.study.StudyDirection[direction.upper()],
        load_if_exists=True,
    )


def new_sampler(settings: Mapping[str, Any], seed: int) -> BaseSampler:
    """What chooses the values of one trial.

    Args:
        settings: its class as ``_target_``, and its arguments.
        seed: of its random numbers, where it has some.

    Raises:
        InputError: it cannot be made.
    """
    import optuna

    made: BaseSampler = _made("sampler", settings, optuna.samplers.BaseSampler, seed=seed)
    return made


def _pruner_of(settings: Mapping[str, Any]) -> Any:
    """What stops trials; nothing outside Optuna is imported for it, as a search's file may be a stranger's."""
    import optuna

    if not str(settings[TARGET]).startswith(OPTUNAS):
        raise InputError(f"hydra.sweeper.pruner._target_={settings[TARGET]}: is no pruner of Optuna")
    return _made("pruner", settings, optuna.pruners.BasePruner)


def _made(what: str, settings: Mapping[str, Any], kind: type, **more: Any) -> Any:
    import inspect

    import optuna

    target: Any = None
    with suppress(ImportError, AttributeError, ValueError):  # told below
        target = resolve_name(str(settings[TARGET]))
    if not (isinstance(target, type) and issubclass(target, kind)):  # another thing is not called
        raise InputError(f"hydra.sweeper.{what}._target_={settings[TARGET]}: is no {what} of Optuna")
    own = {name: value for name, value in settings.items() if not name.startswith("_")}
    own |= {name: value for name, value in more.items() if name in inspect.signature(target).parameters}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return target(**own)
    except Exception as error:  # of Optuna's own checks, or a package that a sampler needs
        raise InputError(f"hydra.sweeper.{what}: {' '.join(str(error).split())}") from error
