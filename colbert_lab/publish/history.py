"""Where a student comes from: the run that trained it, read from its files, and names that tell of no machine."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, TypeVar

from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import read_json
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.records.lineage import ENVIRONMENT_FILE
from colbert_lab.records.records import RECORDS_FILE, Record, read_records
from colbert_lab.records.run_directory import STATUS_FILE
from colbert_lab.records.run_files import Environment, PhaseFacts, Status, needed_config

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""``OWNER/NAME``, as the hub has it."""
PACKAGE = "package:"
# A path in running text: from the root, from home, or from a folder above. "https://x/y" and "tokens/s" are none.
_IN_TEXT = re.compile(r"(?<![\w:/.~@-])(?:~|\.{1,2})?/[^\s/'\"`,;:()\[\]{}|]+(?:/[^\s/'\"`,;:()\[\]{}|]+)*/?")
_WORD = re.compile(r"[^\s()\[\]{},;:='\"`|]*/[^\s()\[\]{},;:='\"`|]+")


class Names:
    """Tells hub ids from paths, which a relative path such as ``outputs/student`` can look like.

    Args:
        bases: folders that relative paths may start from; what is there is a path.
    """

    def __init__(self, bases: Sequence[Path]) -> None:
        self.bases = tuple(bases)

    def hub_id(self, name: str) -> str | None:
        """The name itself where it is the id of something on the hub, else None."""
        if not HUB_ID.fullmatch(name) or Path(name).suffix in (".json", ".jsonl", ".tsv", ".txt", ".parquet"):
            return None
        # The first part alone tells too: the run may be older than what is left in the folder.
        return None if any((base / PurePath(name).parts[0]).is_dir() for base in self.bases) else name

    def short(self, name: str) -> str:
        """A hub id or ``package:`` name as it is, the last part of a path, any other text without paths."""
        if self.hub_id(name) or name.startswith(PACKAGE):
            return name
        if "/" in name and "://" not in name and not re.search(r"\s", name):
            return PurePath(name).name
        return self.text(name)

    def text(self, text: str) -> str:
        """Running text with the last parts of the paths in it that are written as such."""
        return _IN_TEXT.sub(lambda found: PurePath(found[0]).name, text)

    def words(self, text: str) -> str:
        """Running text in which every word with a slash is a name: see :meth:`short`."""
        return _WORD.sub(lambda found: self.short(found[0]), text)


log = logging.getLogger(__name__)
T = TypeVar("T")
STUDENT = "student"
LONGEST = 20
"""Most runs that are followed from a student to where its weights began."""


@dataclass(frozen=True)
class History:
    """The run that a student is in.

    Attributes:
        run_dir: the run's folder.
        phase: the phase at whose end the student was saved.
        config: the run's ``config.yaml``.
        environment: the run's ``environment.json``: versions, hardware, commit; empty where it is missing.
        status: ``finished``, ``running``, ``failed`` or ``unknown``.
        outcomes: ``phase.json`` of the phases up to this one, in their order.
    """

    run_dir: Path
    phase: str
    config: Mapping[str, Any]
    environment: Environment
    status: str
    outcomes: Mapping[str, PhaseFacts]

    @property
    def run_id(self) -> str:
        """The run's identity."""
        return self.run_dir.name

    @property
    def name(self) -> str:
        """The run's name in the config."""
        return str(self.config.get("name") or self.run_dir.parent.name)

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """What was measured, without the students of later phases."""
        known = ("before", "evaluate", *self.outcomes)
        found = read_records(self.run_dir / RECORDS_FILE)
        return tuple(record for record in found if record.system != STUDENT or record.phase in known)

    @cached_property
    def factors(self) -> dict[str, str]:
        """The settings that were given on the command line."""
        first = next(iter(self.records), None)
        return {} if first is None else {key: str(value) for key, value in first.factors.items()}

    @cached_property
    def names(self) -> Names:
        """Tells the hub ids in the config from paths."""
        bases = [Path.cwd()]
        output = Path(str(self.config.get("output_dir") or "outputs"))
        above = self.run_dir.parent.parent
        if not output.is_absolute() and above.parts[-len(output.parts) :] == output.parts:
            bases.append(Path(*above.parts[: -len(output.parts)]))
        return Names(bases)

    def phase_settings(self, phase: str) -> Mapping[str, Any]:
        """The config of a phase."""
        found: Mapping[str, Any] = (self.config.get("phases") or {}).get(phase) or {}
        return found

    @property
    def student_settings(self) -> Mapping[str, Any]:
        """The config of the student before the first phase."""
        return self.config.get("student") or {}

    @property
    def start(self) -> str | None:
        """What the first phase started from: a checkpoint or a backbone; None for random weights."""
        settings = self.student_settings
        if settings.get("checkpoint") is not None:
            return str(settings["checkpoint"])
        return None if settings.get("architecture") else str(settings.get("backbone"))

    @cached_property
    def start_folder(self) -> Path | None:
        """The local folder of what the first phase started from; None where there is none here."""
        if self.start is None:
            return None
        if self.start.startswith(PACKAGE):
            return package_folder(self.start)
        found = [base / Path(self.start).expanduser() for base in self.names.bases]
        return next((path for path in found if path.is_dir()), None)

    @cached_property
    def parent(self) -> History | None:
        """The run whose student the first phase started from; None where it was none, or none that is here."""
        return None if self.start_folder is None else find_history(self.start_folder)

    def line(self) -> Iterator[History]:
        """This run, then the run of the student that it started from, and so on."""
        current: History | None = self
        for _ in range(LONGEST):
            if current is None:
                return
            yield current
            current = current.parent

    def origin(self) -> str | None:
        """Hub id of the model that the line of runs began with, or None."""
        *_, last = self.line()
        return None if last.start is None else last.names.hub_id(last.start)


def find_history(student: Path) -> History | None:
    """The run that a student folder is in.

    Args:
        student: ``RUN/PHASE/student``.

    Returns:
        None where the folder is not inside a run, as one that was converted or downloaded.

    Raises:
        InputError: it is inside a run whose files cannot be read.
    """
    folder = student.resolve()
    phase_dir, run_dir = folder.parent, folder.parent.parent
    if folder.name != STUDENT or not (phase_dir / PHASE_FILE).is_file():
        return None
    config_file = run_dir / "config.yaml"
    if not config_file.is_file():
        return None
    config = needed_config(run_dir)
    schedule = config.get("schedule") or []
    done = schedule[: schedule.index(phase_dir.name) + 1] if phase_dir.name in schedule else [phase_dir.name]
    outcomes = {name: _outcome(run_dir / name / PHASE_FILE) for name in done}
    environment = _there(run_dir / ENVIRONMENT_FILE, Environment)
    status = _there(run_dir / STATUS_FILE, Status).get("status", "unknown")
    return History(run_dir, phase_dir.name, config, environment, status, outcomes)


def package_folder(name: str) -> Path | None:
    """Folder of ``package:NAME/FOLDER``; None where the package is not installed."""
    from importlib.util import find_spec

    package, _, folder = name.removeprefix(PACKAGE).partition("/")
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    path = Path(places[0]) / folder if places else None
    return path if path is not None and path.is_dir() else None


def _outcome(path: Path) -> PhaseFacts:
    done = read_json(path, PhaseFacts)
    if lacking := [key for key in ("steps", "queries", "tokens", "seconds") if key not in done]:
        raise InputError(f"{path}: {lacking[0]}: is missing")
    return done


def _there(path: Path, kind: type[T]) -> T:
    return read_json(path, kind) if path.exists() else kind()
