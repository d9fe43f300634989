"""Long work that is done in parts, so that a killed process loses one part at most.

Parts are Parquet files in ``<out>.unfinished/``, each written atomically, beside a manifest of what decides their
content (the identity). A later process with the same identity does the parts that are missing. The finished folder
is filled inside ``<out>.unfinished/`` and takes the name ``out`` with one rename, so ``out`` is whole or not there.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.base.atomic import UNFINISHED, atomic_path, remove_temporaries, write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.locks import give_back, take_lock
from colbert_lab.base.outside import read_json_or

log = logging.getLogger(__name__)
IDENTITY_FILE = "identity.json"
_FILLED = "finished"
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
"""Those that decide numbers: what is computed, of which tokens, in which order."""
RETRIEVAL = ("bm25s",)


def versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """The installed versions of libraries.

    Args:
        names: of their distributions.
    """
    return {name: importlib.metadata.version(name) for name in names}


class UnfinishedFolder:
    """The parts of a folder that is being made.

    The parts of one folder are made with one version of each library that decides numbers; a finished folder is taken
    as it is by later versions.

    Args:
        out: the folder to make.
        identity: everything that decides the content of the parts, as JSON values.
        parts: how many there are.
        finishing: what else decides the content of the finished folder; parts are kept when it changes.
    """

    def __init__(
        self, out: Path, identity: Mapping[str, Any], parts: int, finishing: Mapping[str, Any] | None = None
    ) -> None:
        self.out = out
        self.path = out.with_name(out.name + UNFINISHED)
        self.parts = parts
        own = {"libraries": versions((*LIBRARIES, *RETRIEVAL))}
        self._identity = _plain({**identity, "parts": parts, **own})
        self._whole = _plain({**identity, **(finishing or {}), "parts": parts})

    def finished(self) -> bool:
        """Whether ``out`` is there, made with the same identity.

        Raises:
            InputError: ``out`` was made with another identity, or is something else.
        """
        if not self.out.exists() or (self.out.is_dir() and not any(self.out.iterdir())):
            return False
        there = _read(self.out)
        if there is None:
            raise InputError(f"out: {self.out} exists and is not such a folder; choose another with out=DIR")
        if there != self._whole:
            raise InputError(
                f"out: {self.out} was made with other settings ({_differences(there, self._whole)}); delete it, or "
                "choose another with out=DIR"
            )
        if _without_libraries(_read(self.path)) == _without_libraries(self._identity) or (
            self.path.is_dir() and not any(self.path.iterdir())
        ):
            self._remove()  # a process was killed between the rename and the end of this
        return True

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder of parts, or go on with it; no other process can while the block runs.

        A folder without a part is taken away at the end, and what an earlier process meant to put there is forgotten.

        Raises:
            InputError: its parts have another identity, or another process is at work on it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = take_lock(self.path / "lock", wait=0)
        except BlockingIOError as error:
            raise InputError(f"out: another process is making {self.out}; wait for it") from error
        try:
            if lock is None:
                log.warning("out: %s cannot be locked; start no other command that makes it", self.path)
            else:
                remove_temporaries(self.path)
            there = _read(self.path)
            if there is None or not self._any():
                write_text(self.path / IDENTITY_FILE, json.dumps(self._identity, indent=2) + "\n")
            elif there != self._identity:
                told = _differences(there, self._identity)
                raise InputError(
                    f"out: {self.path} holds parts made with other settings or libraries ({told}); delete it, or "
                    "choose another with out=DIR"
                )
            try:
                yield
            finally:
                if not self._any():
                    shutil.rmtree(self.path, ignore_errors=True)
        finally:
            if lock is not None:
                give_back(lock)

    def missing(self) -> list[int]:
        """Numbers of the parts that are not there yet."""
        return [part for part in range(self.parts) if not self._file(part).is_file()]

    def write(self, part: int, table: pa.Table) -> None:
        """Write a part; its schema's metadata are kept.

        Raises:
            OSError: the write failed; the part is then missing.
        """
        with atomic_path(self._file(part)) as temporary:
            pq.write_table(table, temporary)

    def read(self) -> Iterator[pa.Table]:
        """All parts in their order; each is read when it is asked for."""
        for part in range(self.parts):
            try:
                yield pq.read_table(self._file(part))
            except (OSError, pa.ArrowException) as error:
                raise InputError(
                    f"out: {self._file(part)} cannot be read ({type(error).__name__}); delete it, and the same "
                    "command makes it anew"
                ) from error

    def finish(self, fill: Callable[[Path], None]) -> None:
        """Make ``out`` of the parts and delete them.

        Args:
            fill: writes the content into a folder that it is given and that it has to make.

        Raises:
            InputError: ``out`` appeared meanwhile.
            OSError: a write failed; the parts are then still there and ``out`` is not.
        """
        filled = self.path / _FILLED
        shutil.rmtree(filled, ignore_errors=True)
        fill(filled)
        write_text(filled / IDENTITY_FILE, json.dumps(self._whole, indent=2) + "\n")
        try:
            filled.rename(self.out)
        except OSError as error:
            if not self.out.exists():
                raise
            raise InputError(
                f"out: {self.out} appeared while it was being made here; remove it, and run the command again"
            ) from error
        self._remove()

    def _remove(self) -> None:
        """Delete the parts, and last what says whose they are, so that what a killed process left of them is known."""
        for each in self.path.iterdir():
            if each.is_dir():
                shutil.rmtree(each)
            elif each.name != IDENTITY_FILE:
                each.unlink()
        shutil.rmtree(self.path)

    def _any(self) -> bool:
        return any(self.path.glob("part-*.parquet"))

    def _file(self, part: int) -> Path:
        return self.path / f"part-{part:06d}.parquet"


def _plain(identity: Mapping[str, Any]) -> dict[str, Any]:
    """As it will be read from the file."""
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


def _without_libraries(identity: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if identity is None else {key: value for key, value in identity.items() if key != "libraries"}


def _read(folder: Path) -> dict[str, Any] | None:
    return read_json_or(folder / IDENTITY_FILE, dict[str, Any]) or None


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    before, after = _flat(there), _flat(here)
    keys = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    return "; ".join(f"{key}: {before.get(key)!r} there, {after.get(key)!r} here" for key in keys)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
