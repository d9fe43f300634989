"""The folder of one run: who owns it, whether it is finished, and which is the newest.

``status.json`` says ``running``, ``finished``, ``failed``, ``interrupted`` (by Ctrl-C, SIGTERM or SIGUSR1) or
``pruned`` (by the search that it is a trial of), since when and by which process, and what run it is; a run whose
process has died while ``running`` was killed. The same command goes on with an interrupted or killed run. Only a
finished run counts as one.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import read_json_or
from colbert_lab.records.identity import run_id
from colbert_lab.records.owner import leave_run, remove_leftovers, take_run
from colbert_lab.records.run_files import Status

STATUS_FILE = "status.json"
LONGEST_LABEL = 150  # characters; file systems take 255 bytes


@dataclass(frozen=True)
class RunDirectory:
    """One run on disk.

    Attributes:
        path: ``<output_dir>/<name>/<run id>``.
        run_id: identity of the run.
    """

    path: Path
    run_id: str

    def status(self) -> Status:
        """What ``status.json`` says; empty when there is none.

        A damaged one says ``unknown``, with a warning: the run then counts as not finished, and goes on.
        """
        return read_json_or(self.path / STATUS_FILE, Status) or (
            {"status": "unknown"} if (self.path / STATUS_FILE).exists() else {}
        )

    @property
    def finished(self) -> bool:
        """Whether the run ended well."""
        return self.status().get("status") == "finished"

    def start(self, **about: Any) -> None:
        """Take the folder for this process and make it the newest run of its name.

        Args:
            about: what run it is, for the ledger: plain values such as its factors, known before anything is
                measured.

        Raises:
            InputError: another process is executing the run.
        """
        take_run(self.path, self.status)
        self._write(status="running", started=time.time(), **({"run": about} if about else {}))
        _link(self.path.parent / "latest", Path(self.path.name))
        remove_leftovers(self.path.parent)

    def name_in_sweep(self, label: str) -> None:
        """Link the run under a readable name: ``<output_dir>/<name>/sweeps/<label>``.

        Args:
            label: what tells this run of a sweep from the others, for example ``lr=1e-4,seed=1``.
        """
        folder = self.path.parent / "sweeps"
        folder.mkdir(parents=True, exist_ok=True)
        readable = re.sub(r"[^\w.,=+\[\]-]+", "_", label)[:LONGEST_LABEL]
        _link(folder / readable, Path("..") / self.path.name)

    def end(self, status: str, error: str | None = None) -> None:
        """Write how the run ended: ``finished``, ``interrupted``, ``pruned``, or ``failed`` with the error."""
        before = self.status()
        kept = {"run": before["run"]} if "run" in before else {}
        self._write(status=status, started=before.get("started"), ended=time.time(), error=error, **kept)
        leave_run(self.path)

    def _write(self, **values: Any) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        values = {**values, "pid": os.getpid(), "host": socket.gethostname()}
        write_text(self.path / STATUS_FILE, json.dumps(values, indent=2) + "\n")


def find_run(output_dir: Path, name: str, config_hash: str, seed: int, reuse: bool) -> RunDirectory:
    """The folder that a command's run has or gets.

    With ``reuse``, a finished run of the same config and seed is taken, else an unfinished one to resume, else
    a new one. Without, an unfinished repetition is resumed and otherwise the next repetition begins
    (``-r2``, ``-r3``).

    Args:
        output_dir: where runs are.
        name: the run's name.
        config_hash: identity of the config.
        seed: the run's seed.
        reuse: whether a finished run will do.

    Raises:
        InputError: ``output_dir`` cannot be written to.
    """
    check_writable(output_dir / name)
    return known_run(output_dir, name, config_hash, seed, reuse)


def known_run(output_dir: Path, name: str, config_hash: str, seed: int, reuse: bool) -> RunDirectory:
    """What :func:`find_run` returns; writes nothing.

    Args:
        output_dir: see there, like the settings that follow.
        name: see there.
        config_hash: see there.
        seed: see there.
        reuse: see there.
    """
    parent = output_dir / name
    known: list[RunDirectory] = []
    repeat = 1
    while True:
        identity = run_id(config_hash, seed, repeat)
        directory = RunDirectory(parent / identity, identity)
        if not directory.status():
            break
        known.append(directory)
        repeat += 1
    if reuse:
        finished = [run for run in known if run.finished]
        return finished[-1] if finished else known[-1] if known else directory
    return known[-1] if known and not known[-1].finished else directory


def next_run(directory: RunDirectory) -> RunDirectory:
    """The repetition after this one: ``-r2`` after the first.

    Args:
        directory: a run of the wanted config and seed.
    """
    first, _, repeat = directory.run_id.partition("-r")
    identity = f"{first}-r{int(repeat or 1) + 1}"
    return RunDirectory(directory.path.with_name(identity), identity)


def runs_named(folder: Path, named: str) -> list[Path]:
    """The runs of a name whose config is written alike, whatever its paths hold or held.

    Args:
        folder: ``<output_dir>/<name>``.
        named: what their status has as ``named``, see :class:`colbert_lab.run.scheduling.RunIdentity`.
    """
    files = [file for file in sorted(folder.glob(f"*/{STATUS_FILE}")) if not file.parent.is_symlink()]
    return [file.parent for file in files if read_json_or(file, Status).get("run", {}).get("named") == named]


def find_finished(output_dir: Path, name: str, seed: int, asked: str) -> Path | None:
    """The finished run of what was asked for on this machine, the last repetition; None when there is none.

    Args:
        output_dir: where runs are.
        name: the run's name.
        seed: the run's seed.
        asked: what :func:`colbert_lab.records.identity.asked_hash` returned.
    """
    found: dict[int, Path] = {}
    for file in (output_dir / name).glob(f"*-s{seed}*/{STATUS_FILE}"):
        ending = re.search(rf"-s{re.escape(str(seed))}(?:-r(\d+))?$", file.parent.name)
        status = read_json_or(file, Status)
        known = status.get("status") == "finished" and status.get("run", {}).get("asked") == asked
        if ending and known and not file.parent.is_symlink():
            found[int(ending[1] or 1)] = file.parent
    return found[max(found)] if found else None


def check_writable(folder: Path, key: str = "output_dir") -> None:
    """Make sure that files can be written below ``folder`` before any work is done.

    Raises:
        InputError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = _unique(folder / ".write-test")
        probe.write_text("", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{key}: cannot write to {folder} ({error.strerror}); choose another with {key}=..."
        ) from error


def output_file(given: str | None, endings: Sequence[str]) -> Path | None:
    """The file that ``out`` names, checked before any work is done; None where it names none.

    Args:
        given: the setting.
        endings: what it may end in.

    Raises:
        InputError: another ending, a folder, or a place that cannot be written to.
    """
    if given is None:
        return None
    out = Path(given).expanduser()
    if out.suffix.lower() not in endings:
        raise InputError(f"out={out}: must be a file that ends in {', '.join(endings)}")
    if out.is_dir():
        raise InputError(f"out={out}: is a folder; choose another file")
    check_writable(out.parent, "out")
    return out


def free_folder(out: str, key: str = "out") -> Path:
    """The folder that a task is to write, before any work is done.

    Args:
        out: the folder.
        key: names it in errors.

    Raises:
        InputError: it is there already, or cannot be written.
    """
    folder = Path(out).expanduser()
    check_writable(folder.parent, key)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{key}={folder}: exists already; choose another, or delete it")
    return folder


def _link(path: Path, target: Path) -> None:
    """Make or replace a symbolic link in one step."""
    temporary = _unique(path)
    temporary.symlink_to(target)
    temporary.replace(path)


def _unique(path: Path) -> Path:
    """A hidden name beside ``path`` that no other process takes, on this machine or another."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
