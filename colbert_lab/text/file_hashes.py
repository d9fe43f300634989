"""Hashes of files by content, kept from one process to the next.

A file is read once. Its hash is kept with its size, times and inode, and the file is read again when one of these has
changed; so a command finds out in milliseconds that gigabytes are what they were. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from colbert_lab.base.atomic import remove_abandoned_text, write_text
from colbert_lab.text.fingerprint import fingerprint

log = logging.getLogger(__name__)
SETTLED_NS = 2_000_000_000
"""Nanoseconds that a file must have been left alone before it is read, for its hash to be kept: within one tick of a
file system's clock (2 s on FAT, 1 s on some network drives), it could change and keep size and time."""

_State = tuple[int, int, int, int]


class _Store:
    """Hashes by file: those of this process, and those that earlier ones left in a folder."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.known: dict[Path, tuple[_State, str]] = {}
        self.read: set[Path] = set()
        self.new: set[Path] = set()

    def hash(self, file: Path) -> str:
        """See :func:`file_hash`; what is new is written by :meth:`flush`."""
        file = file.resolve()
        before, begun = _state(file), time.time_ns()
        kept = self._file(file.parent)
        if kept is not None and kept not in self.read:
            self.read.add(kept)
            remove_abandoned_text(kept)
            for name, (*then, digest) in _read(kept).items():
                self.known.setdefault(file.parent / name, (tuple(then), digest))  # type: ignore[arg-type]
        found = self.known.get(file)
        if found is not None and found[0] == before:
            return found[1]
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if _state(file) == before and begun - max(before[1], before[2]) > SETTLED_NS:
            self.known[file] = before, digest
            self.new.add(file)
        return digest

    def flush(self) -> None:
        """Write what is new; that it cannot be written is no reason to stop."""
        for folder in {file.parent for file in self.new if self.folder is not None}:
            kept = self._file(folder)
            assert kept is not None
            own = {
                file.name: [*self.known[file][0], self.known[file][1]]
                for file in self.new
                if file.parent == folder
            }
            try:
                write_text(kept, json.dumps(_read(kept) | own))
            except OSError as problem:
                log.debug("%s cannot be written: %s", kept, problem)
        self.new.clear()

    def _file(self, folder: Path) -> Path | None:
        return None if self.folder is None else self.folder / f"{fingerprint(str(folder))}.json"


_store = _Store()


def remember_in(folder: Path | None) -> None:
    """Where hashes are kept from one process to the next; None keeps them in this process alone.

    Args:
        folder: made when there is something to keep.
    """
    if folder != _store.folder:
        _store.folder = folder
        _store.read.clear()


def file_hash(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Args:
        file: the file; a symbolic link counts as what it leads to.

    Raises:
        OSError: it cannot be read.
    """
    digest = _store.hash(file)
    _store.flush()
    return digest


def files_id(files: Mapping[str, Path]) -> str:
    """One id for several files.

    Args:
        files: by the names that count; where the files lie does not.
    """
    hashes = [[name, _store.hash(file)] for name, file in sorted(files.items())]
    _store.flush()
    return fingerprint(*hashes)


def folder_files(folder: Path, patterns: Iterable[str] = ("*",)) -> dict[str, Path]:
    """The files below a folder by their names from there, hidden ones left out.

    Args:
        folder: a folder; the result is empty where there is none.
        patterns: what their names match.
    """
    patterns = tuple(patterns)
    return {
        str(file.relative_to(folder)): file
        for file in _walk(folder)
        if any(file.match(pattern) for pattern in patterns)
    }


def _state(file: Path) -> _State:
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _read(kept: Path) -> dict[str, list[int | str]]:
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # none yet, or damaged
    whole = isinstance(found, dict) and all(
        isinstance(line, list) and len(line) == 5 for line in found.values()
    )
    return found if whole else {}


def _walk(folder: Path) -> Iterator[Path]:
    seen = set()  # links may lead back
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        for name in () if real in seen else sorted(files):
            file = Path(here, name)
            if not name.startswith(".") and file.is_file():
                yield file
        seen.add(real)


def collection_files(folder: Path, *, judgments: bool) -> dict[str, Path]:
    """The files of a folder with documents and queries that are read: BEIR's layout, or MS MARCO's.

    Args:
        folder: the folder; what else lies in it does not count.
        judgments: whether those in ``qrels/`` are read too.
    """
    starts = ("corpus.jsonl", "collection.tsv", "queries")
    files = {file.name: file for file in _listed(folder) if file.name.startswith(starts)}
    if judgments:
        files |= {f"qrels/{file.name}": file for file in _listed(folder / "qrels")}
    return files


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
