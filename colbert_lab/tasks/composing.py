"""The config that arguments ask for, composed by Hydra from ``conf/``, what is wrong with it, and its execution."""

from __future__ import annotations

import copy
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from colbert_lab.base.errors import CheckFailed, InputError
from colbert_lab.base.logs import captured_warnings, lightning_as_ours, process_rank, start_logging
from colbert_lab.run.cells import cell_command, needs_process, run_alone
from colbert_lab.run.sweeping import finished_before, noted_run, reset_sweep
from colbert_lab.settings import Command, Settings, check_name, command_of
from colbert_lab.settings.checks import nearest
from colbert_lab.tasks.arguments import bounded_configs, readable
from colbert_lab.tasks.registry import EVERY, READERS, TASKS, Task, task_of
from colbert_lab.text.contents import no_model

log = logging.getLogger("colbert_lab")
PACKAGE = Path(__file__).resolve().parent.parent
# The wheel carries conf/ inside the package; a checkout has it beside the package.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
QUIET = "TQDM_DISABLE"
OF_TRAINING = ("trainer.lightning.", "trainer.callbacks.")
"""Keys of what is added to training by name, which an empty part of the config does not show."""
PHASED = "+experiment=colbert_zero_kd"
"""An experiment of one phase, for keys that are there in a phase alone."""


def execute(cfg: DictConfig, overrides: Sequence[str]) -> float | None:
    """Execute a composed config.

    Args:
        cfg: what Hydra composed.
        overrides: what the user gave, without what is for Hydra itself.

    Returns:
        The headline value (for sweepers), or None when there is none.

    Raises:
        InputError: an unknown task, a setting that it does not read, or anything else the user can mend.
    """
    task = task_of(str(cfg.task))
    check_name(str(cfg.name))
    _check_read(cfg, task, overrides)
    _check_given(cfg, task)
    _prepare_cache(Path(cfg.cache_dir).expanduser())
    start_logging()
    command = _command(cfg, task, overrides)
    if not command.settings.progress:
        os.environ["TQDM_DISABLE"] = "1"
    done: float | None = resolve_name(task.function)(command)
    return done


def _check_given(cfg: DictConfig, task: Task) -> None:
    """Whether there is what the task cannot do without, and the student that is named, before torch is imported."""
    for alternatives, problem in task.needs:
        said = [OmegaConf.select(cfg, key, throw_on_missing=False) for key in alternatives]
        if all(value is None or value == [] for value in said):
            raise InputError(f"{alternatives[0]}: {problem}")
    for key in ("student.checkpoint", "from"):
        checkpoint = OmegaConf.select(cfg, key, throw_on_missing=False)
        if isinstance(checkpoint, str) and (problem_of := no_model(checkpoint)):
            raise InputError(f"{key}={checkpoint}: {problem_of}")


def _check_read(cfg: DictConfig, task: Task, overrides: Sequence[str]) -> None:
    """Whether something is given that has no effect on the task."""
    name = cfg.task
    for key, users in READERS.items():
        if cfg.get(key) and not OmegaConf.is_dict(cfg[key]) and name not in users:
            given = any(override.startswith("task=") for override in overrides)
            meant = "" if given else ", done where none is given"
            raise InputError(f"{key}: has no effect on task={name}{meant}; it is for task={', '.join(users)}")
    own = [key for key, users in READERS.items() if name in users]
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        place = key.rpartition("@")[2]
        if "." in place and name not in READERS.get(place.partition(".")[0], (name,)):
            raise InputError(f"{place}: has no effect on task={name}; leave it out")
        if place.startswith(OF_TRAINING) and name != "train" and not task.trains:
            raise InputError(f"{place}: has no effect on task={name}, which trains nothing; leave it out")
        if task.reads is None:
            continue
        group = key.partition("@")[0]
        if not any(group == read or group.startswith(f"{read}.") for read in (*EVERY, *own, *task.reads)):
            raise InputError(f"{key}: has no effect on task={name}; {task.instead.get(key, 'leave it out')}")


def _command(cfg: DictConfig, task: Task, overrides: Sequence[str]) -> Command:
    """What is asked of the task, checked."""
    name = cfg.task
    if task.trains or task.reads is not None:
        cfg = copy.deepcopy(cfg)
    if task.trains:
        cfg.task = "train"
    if task.reads is not None:
        # Missing data or splits of an experiment do not matter.
        cfg.data, cfg.phases, cfg.schedule = None, {}, []
        if OmegaConf.is_missing(cfg.evaluation, "path"):
            cfg.evaluation.path = None
    if not task.computes:
        return command_of(cfg, overrides, targets=task.classes)

    def here(settings: Settings) -> Mapping[str, Any]:
        from colbert_lab.training.precision import of_this_machine  # imports torch

        return of_this_machine(settings)

    def importing() -> None:
        if "torch" not in sys.modules and process_rank() == 0:
            log.info("task=%s: importing torch and transformers takes some seconds", name)

    return command_of(cfg, overrides, here=here, importing=importing)


def _prepare_cache(folder: Path) -> None:
    """Have the hashes of what is read kept in ``cache_dir``; nothing is made there before it is needed.

    Raises:
        InputError: files cannot be kept in that folder.
    """
    from colbert_lab.text.passes import remember_below

    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "cannot be written to" if there.is_dir() else "is a file"
        raise InputError(f"cache_dir={folder}: {there} {why}; choose another folder with cache_dir=DIR")
    remember_below(folder)


def composed(arguments: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """The config that Hydra composes for a command, without running one.

    Args:
        arguments: settings and groups, as one types them.

    Returns:
        The config, and those arguments that are not Hydra's own.

    Raises:
        InputError: an argument names something that is not there, see :func:`one_line`.
    """
    arguments = readable(arguments, CONF, TASKS)
    bounded_configs()
    try:
        with _composing():
            cfg = hydra.compose("config", overrides=list(arguments), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(one_line(error, arguments)) from error
    given = list(cfg.hydra.overrides.task)
    with read_write(cfg), open_dict(cfg):
        del cfg["hydra"]
    return cfg, given


def performed(arguments: Sequence[str]) -> tuple[Path | None, float | None]:
    """Do in this process what a command does, and show nothing but log lines and progress bars.

    A run of several processes is a process of its own, which starts the others.

    Args:
        arguments: see :func:`composed`.

    Returns:
        The folder of the run and its headline; None where there is none.

    Raises:
        InputError: anything the user can mend.
    """
    with _as_it_was():
        cfg, given = composed(arguments)
        if cfg.task in ("train", "evaluate") and needs_process(cfg.trainer):
            run_alone(cell_command([], given))
            return finished_before(cfg), None
        reset_sweep()
        value = execute(cfg, given)
        return noted_run(), value


@contextmanager
def _as_it_was() -> Iterator[None]:
    """What a command changes for its whole process is put back: logging, progress bars; its tables are not printed."""
    root, quiet, shown = logging.getLogger(), os.environ.get(QUIET), warnings.showwarning
    handlers, level = list(root.handlers), root.level
    try:
        with redirect_stdout(io.StringIO()), lightning_as_ours(), captured_warnings():
            yield
    finally:
        warnings.showwarning = shown
        root.handlers[:] = handlers
        root.setLevel(level)
        if quiet is None:
            os.environ.pop(QUIET, None)
        else:
            os.environ[QUIET] = quiet


@contextmanager
def _composing() -> Iterator[None]:
    """Hydra reads ``conf/`` in the block, and afterwards what it read before: it may be a user's own application."""
    state = GlobalHydra.instance()
    before = state.hydra
    state.clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


def config_folders() -> list[Path]:
    """The folders that Hydra reads configs from in this command, the user's own too; ``conf/`` outside one."""
    if not HydraConfig.initialized():
        return [CONF]
    sources = HydraConfig.get().runtime.config_sources
    found = [Path(each.path) for each in sources if each.schema == "file" and each.path]
    return [*(each for each in found if each != CONF), CONF]


def one_line(error: Exception, arguments: Sequence[str] = ()) -> str:
    """A Hydra, OmegaConf or input error as one line that names key and cause.

    Args:
        error: what was raised.
        arguments: the command's, where there is one.
    """
    text = str(error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error)
    if isinstance(error, InputError | CheckFailed):
        return str(error)
    missing = re.search(r"Could not find '(?P<wanted>[^']+)'", str(error))
    if missing:
        group, _, name = missing["wanted"].rpartition("/")
        options = sorted(
            str(p.relative_to(CONF / group).with_suffix("")) for p in (CONF / group).rglob("*.yaml")
        )
        near = get_close_matches(name, options if group else [], n=1)
        there = [
            *(f"did you mean {each}?" for each in near),
            *([f"there are {', '.join(options)}"] if group and options else []),
            *([] if near else ["a file of your own needs --config-dir FOLDER"]),
        ]
        return "; ".join([f"{missing['wanted']}: no such config", *there]).replace("?;", "?")
    unknown = re.search(r"Could not override '(?P<key>[\w.]+)'", str(error))
    # Of a group of configs, Hydra itself names the places that take one.
    if unknown and not (CONF / unknown["key"]).is_dir():
        if unknown["key"].startswith(OF_TRAINING):
            return f"{unknown['key']}: is not there yet; add it with + before it: +{unknown['key']}=..."
        if instead := _instead(unknown["key"], arguments):
            return f"{unknown['key']}: no such key; did you mean {instead}?"
        if instead := _instead(unknown["key"], [*arguments, PHASED]):
            named = re.sub(r"phases\.\w+", "phases.PHASE", instead)
            return f"{unknown['key']}: no such key; did you mean {named}, with +experiment=NAME?"
        return f"{unknown['key']}: no such key; add --cfg job to see all"
    outer = [line.strip() for line in str(error).splitlines() if line.strip()]
    inner = [line.strip() for line in text.splitlines() if line.strip() and "object_type" not in line]
    return "; ".join(dict.fromkeys(line.rstrip(".;") for line in [*outer[:2], *inner[:1]]))


def _instead(key: str, arguments: Sequence[str]) -> str | None:
    """What may have been meant by a key of the arguments that the config does not have."""
    others = [argument for argument in arguments if not argument.lstrip("+~").startswith((key, "-"))]
    try:
        with _composing():
            return nearest(key, OmegaConf.to_container(hydra.compose("config", overrides=others)))
    except (HydraException, OmegaConfBaseException):
        return None  # another argument is wrong too, or a config is in another folder
