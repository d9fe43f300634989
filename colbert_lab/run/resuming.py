"""What is there already: a run's folder, phases trained here or in other runs, and whether they may be taken."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import read_json_or
from colbert_lab.records.contents import other_contents, read_contents
from colbert_lab.records.identity import SHORT
from colbert_lab.records.lineage import IDENTITY_FILE, find_phase
from colbert_lab.records.records import RECORDS_FILE, read_records
from colbert_lab.records.run_directory import RunDirectory, find_run, next_run, runs_named
from colbert_lab.run.inputs import Inputs
from colbert_lab.run.scheduling import PhaseIdentity, RunIdentity
from colbert_lab.settings import Settings
from colbert_lab.training.phase_files import PhaseOutcome, finished_phase, has_checkpoint
from colbert_lab.training.strategy import of_first, process_rank

log = logging.getLogger("colbert_lab")


@dataclass(frozen=True)
class DonePhase:
    """A phase that is trained already.

    Attributes:
        folder: where it is.
        outcome: what it did.
        here: whether that is the run's own folder, and not another run's.
    """

    folder: Path
    outcome: PhaseOutcome
    here: bool


def done_phase(settings: Settings, folder: Path, identity: PhaseIdentity) -> DonePhase | None:
    """The phase where it need not be trained: in the run itself or, with ``reuse``, in any other one.

    Args:
        settings: the config.
        folder: the phase's folder in the run directory.
        identity: see :func:`colbert_lab.run.scheduling.phase_identity`.

    Raises:
        InputError: the run's own is of another identity, see :func:`otherwise`.
    """
    if told := otherwise(folder, identity):
        raise InputError(f"{told}; reuse=false trains anew")
    own = finished_phase(folder)
    if own is not None:
        return DonePhase(folder, own, here=True)
    known = find_phase(settings.outputs, identity.hash) if settings.reuse and not folder.exists() else None
    if known is None:
        return None
    outcome = finished_phase(known)
    assert outcome is not None  # that is how it was found
    return DonePhase(known, outcome, here=False)


def note_identity(folder: Path, identity: PhaseIdentity) -> None:
    """Write into a phase's folder what is trained there, before it is.

    Args:
        folder: the phase's folder in the run directory.
        identity: see :func:`colbert_lab.run.scheduling.phase_identity`.
    """
    write_text(folder / IDENTITY_FILE, json.dumps({"hash": identity.hash, **identity.parts}, indent=2) + "\n")


def otherwise(folder: Path, identity: PhaseIdentity) -> str | None:
    """What a folder's finished or interrupted phase was trained with, where that is not what it would be now.

    Args:
        folder: the phase's folder in the run directory.
        identity: what it would be.

    Returns:
        The beginning of a message; None where it may be taken, or there is nothing yet.
    """
    own = finished_phase(folder)
    then = read_json_or(folder / IDENTITY_FILE, dict[str, Any])
    if own is None and not has_checkpoint(folder / "checkpoints"):
        return None
    if (then.get("hash") if own is None else own.phase_hash) == identity.hash:
        return None
    now = dict(_flat("", identity.parts))
    before = dict(_flat("", {key: value for key, value in then.items() if key != "hash"}))
    others = [
        f"{key} was {before.get(key)!r} and is {now.get(key)!r}"
        for key in dict.fromkeys([*now, *before])
        if before.get(key) != now.get(key)
    ]
    told = "; ".join(others[:3]) if before and others else "with what is not known"
    return f"{folder}: was trained on other data, or with other settings, code or libraries than now ({told})"


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Nested values by their keys with dots, as JSON would give them back."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{key}.{name}" if key else str(name), inner)
    else:
        yield key, list(value) if isinstance(value, tuple) else value


def agreed_phase(settings: Settings, folder: Path, identity: PhaseIdentity) -> DonePhase | None:
    """What :func:`done_phase` says in the first process, in all processes.

    Raises:
        InputError: as there, or this process would train another phase than the first one.
    """
    done, first = of_first(
        settings.trainer.arguments, lambda: (done_phase(settings, folder, identity), identity.hash)
    )
    if first != identity.hash:
        raise InputError(
            f"{folder.name}: process {process_rank() + 1} reads other data, weights or settings than the first one; "
            "all processes need the same files"
        )
    return done


def directory_of(settings: Settings, identity: RunIdentity) -> RunDirectory:
    """The folder of a run, see :func:`colbert_lab.records.run_directory.find_run`."""
    return find_run(settings.outputs, settings.name, identity.hash, settings.seed, settings.reuse)


def check_unchanged(before: RunIdentity, after: RunIdentity) -> None:
    """Whether what was read is what was there before; a hub id that had not been looked up may be known now.

    So may be the code of the head that a student on the hub names, at the same commit: its file has been fetched.

    Raises:
        InputError: it is not.
    """
    for key in other_contents(before.contents, after.contents):
        then, now = before.contents.get(key), after.contents.get(key)
        if then is not None and not (then.startswith("commit:") and (now or "").startswith(f"{then} ")):
            raise InputError(f"{key}: its content changed while it was read; run the same command again")


def own_directory(
    reuse: bool, directory: RunDirectory, inputs: Inputs, phases: Mapping[str, PhaseIdentity]
) -> RunDirectory:
    """The folder of a run that goes on or begins, or the next one where it cannot go on there.

    Args:
        reuse: the setting.
        directory: what :func:`colbert_lab.records.run_directory.find_run` returned.
        inputs: what the run works on.
        phases: see :func:`colbert_lab.run.scheduling.phase_identities`.

    Raises:
        InputError: it cannot, and ``reuse`` says that it should.
    """
    told = _otherwise(directory, inputs, phases)
    if told is None:
        return directory
    if reuse:
        raise InputError(f"{told}; reuse=false trains anew")
    log.info("%s; so this is a run of its own", told)
    return next_run(directory)


def _otherwise(directory: RunDirectory, inputs: Inputs, phases: Mapping[str, PhaseIdentity]) -> str | None:
    """Why an unfinished run cannot go on: it trained on, or measured, something else than it would now."""
    for name, identity in phases.items():
        if told := otherwise(directory.path / name, identity):
            return told
    results = directory.path / RECORDS_FILE
    for record in read_records(results) if results.is_file() else ():
        split = inputs.splits.get(record.split)
        if split is not None and record.split_fingerprint != split.fingerprint:
            return f"{results}: {record.split} was measured on other text than is there now"
    return None


def tell_others(directory: RunDirectory, identity: RunIdentity) -> None:
    """Say when a run of the same settings read other content under the same names, or had other threads."""
    if directory.status():
        return
    threads = torch.get_num_threads()
    for other in runs_named(directory.path.parent, identity.named):
        told = []
        if keys := other_contents(read_contents(other), identity.contents):
            told.append(f"{', '.join(keys)} held other content")
        then = read_json_or(other / "environment.json", dict[str, Any]).get("threads", threads)
        if then != threads and not other.name.startswith(identity.hash[:SHORT]):
            told.append(f"computed with {then} threads (trainer.threads) where this is {threads}")
        if told:
            log.info("%s has the same settings, but %s; this is a run of its own", other, " and ".join(told))
