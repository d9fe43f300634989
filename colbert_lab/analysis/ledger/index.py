"""What the ledger read before, kept in the cache: a run whose files have not changed is not read again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from colbert_lab.analysis.ledger.entry import RUNNING, Entry, Measured
from colbert_lab.analysis.ledger.ledger import files_of
from colbert_lab.base.atomic import remove_abandoned_text, write_text
from colbert_lab.base.outside import json_value
from colbert_lab.records.cost import PhaseCost

log = logging.getLogger(__name__)
VERSION = "2"  # of the file, and of what an entry says; raise when either changes
SETTLED = 2.0
"""Seconds after which a change of a file certainly has another time than the one before it."""
PLAIN = tuple(each.name for each in fields(Entry) if each.name not in ("path", "values", "costs"))
Stamp = list[list[int] | None]


class LedgerIndex:
    """Entries of the runs below one folder, each with the sizes and times of the files it was read from.

    A damaged index is made anew without a word, and so is one of another version. It lies in the cache and not beside
    the runs: those may come from somebody else, and numbers are read from the runs' own files.

    Args:
        cache_dir: the cache.
        folder: where the runs are.
    """

    def __init__(self, cache_dir: Path, folder: Path) -> None:
        name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.file = cache_dir / "ledger" / f"{name}.json"
        self._began = time.time()
        remove_abandoned_text(self.file)
        self._known = self._read()
        self._kept: dict[str, Any] = {}
        self._changed = False

    def __contains__(self, inside: str) -> bool:
        """Whether that is a run that was read before.

        Args:
            inside: its place in the folder, with ``/``; empty for the folder itself.
        """
        return inside in self._known

    def get(self, inside: str, run: Path) -> Entry | None:
        """The entry of a run whose files are the same; None where it has to be read.

        Args:
            inside: its place in the folder.
            run: its folder.
        """
        known = self._known.get(inside)
        if known is None or known["files"] != _stamp(run, known["phases"]):
            return None
        self._kept[inside] = known
        plain = dict(zip(PLAIN, known["plain"], strict=True))
        return Entry(
            path=run,
            values={name: Measured(*pair) for name, pair in known["values"].items()},
            costs={phase: PhaseCost(*cost) for phase, cost in known["costs"].items()},
            **plain,
        )

    def add(self, inside: str, entry: Entry, phases: list[str]) -> None:
        """Keep an entry that was just read, unless it may say something else the next time.

        Args:
            inside: the run's place in the folder.
            entry: what was read.
            phases: whose files were looked for.
        """
        if entry.status == RUNNING:
            return
        files = _stamp(entry.path, phases)
        if any(each is not None and each[1] > (self._began - SETTLED) * 1e9 for each in files):
            return
        self._changed = True
        self._kept[inside] = {
            "files": files,
            "phases": phases,
            "plain": [getattr(entry, name) for name in PLAIN],
            "values": {name: [each.after, each.before] for name, each in entry.values.items()},
            "costs": {phase: astuple(cost) for phase, cost in entry.costs.items()},
        }

    def write(self) -> None:
        """Keep what was read for the next time; nothing happens where the cache cannot be written."""
        if not self._changed and len(self._kept) == len(self._known):
            return
        body = json.dumps(self._kept, separators=(",", ":"))
        try:
            write_text(self.file, f"{_mark(body.encode()).decode()}\n{body}")
        except OSError as problem:
            log.debug("%s cannot be written: %s", self.file, problem)

    def _read(self) -> dict[str, Any]:
        try:
            mark, _, body = self.file.read_bytes().partition(b"\n")
            found: dict[str, Any] = json_value(body) if mark == _mark(body) else {}
        except (OSError, ValueError):
            return {}
        return found


def _mark(body: bytes) -> bytes:
    return f"{VERSION} {hashlib.sha256(body).hexdigest()}".encode()


def _stamp(run: Path, phases: list[str]) -> Stamp:
    """Size and times of each file that an entry is read from; None for one that is not there."""
    return list(_stats(str(run), phases))


def _stats(run: str, phases: list[str]) -> Iterator[list[int] | None]:
    for name in files_of(phases):
        try:
            about = os.stat(f"{run}/{name}")  # noqa: PTH116
        except OSError:
            yield None
        else:
            yield [about.st_size, about.st_mtime_ns, about.st_ctime_ns]
