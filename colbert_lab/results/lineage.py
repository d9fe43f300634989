"""What other runs have on disk already, so that no phase is trained and no system is measured twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from colbert_lab.atomic import atomic_folder, atomic_path
from colbert_lab.results.rankings import ranking_path
from colbert_lab.results.records import RECORDS_FILE, Record, read_records

PHASE_FILE = "phase.json"
ENVIRONMENT_FILE = "environment.json"
KEPT = ("student", "metrics.csv")
SAME_PLACE = ("commit", "dirty", "packages", "hardware", "threads")
"""What of two environments has to agree, for a measurement of one to stand for the other's."""


def find_phase(output_dir: Path, phase_hash: str) -> Path | None:
    """A finished phase of that identity in any run.

    Args:
        output_dir: where runs are.
        phase_hash: identity of the phase.

    Returns:
        The phase's folder, the oldest one when there are several; None when there is none.
    """
    found = []
    for path in output_dir.glob(f"*/*/*/{PHASE_FILE}"):
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if known.get("phase_hash") == phase_hash and (path.parent / "student").is_dir():
            found.append((path.stat().st_mtime, path.parent))
    return min(found)[1] if found else None


def adopt_phase(source: Path, folder: Path) -> None:
    """Make another run's finished phase this run's own: hard links where the disk can, copies where it cannot.

    Args:
        source: folder of the finished phase.
        folder: the phase's folder in this run.
    """
    with atomic_folder(folder) as temporary:
        for name in KEPT:
            if (source / name).is_dir():
                shutil.copytree(source / name, temporary / name, copy_function=_link)
            elif (source / name).is_file():
                _link(source / name, temporary / name)
        outcome = json.loads((source / PHASE_FILE).read_text(encoding="utf-8"))
        outcome["reused_from"] = outcome.get("reused_from") or source.parent.name
        (temporary / PHASE_FILE).write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")


def find_measurement(
    own: Path,
    wanted: Mapping[str, Any],
    measures: Sequence[str],
    environment: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> tuple[Path, list[Record]] | None:
    """The measurement of a system by another run of the same name.

    Args:
        own: this run's folder; others are looked for beside it.
        wanted: fields that its records have: system, phase, split and its fingerprint, protocol hash; for a student
            its hash and the search as well.
        measures: all that are needed.
        environment: of this run; the other's code, packages, machine and threads must be the same, and the code
            known to be unchanged since its commit. What a run measured before it was taken up again does not count,
            because its environment is that of its last start.
        settings: config keys, with dots, that must have these values there.

    Returns:
        The other run's folder and a record for each measure; None when there is none.
    """
    if environment["dirty"] is not False:
        return None
    for path in sorted(own.parent.glob(f"*/{RECORDS_FILE}")):
        run = path.parent
        if run.is_symlink() or run == own or not _same_place(run, environment):
            continue
        started = (run / ENVIRONMENT_FILE).stat().st_mtime
        found = {
            record.measure: record
            for record in read_records(path)
            if (record.time or 0.0) >= started
            and all(getattr(record, key) == value for key, value in wanted.items())
        }
        if found.keys() != set(measures) or not _ranking_of(run, found[measures[0]]).is_file():
            continue
        if _has_settings(run, settings):
            return run, [found[measure] for measure in measures]
    return None


def _ranking_of(run: Path, record: Record) -> Path:
    return ranking_path(run, record.system, record.phase, record.split, record.variant)


def _has_settings(run: Path, settings: Mapping[str, Any]) -> bool:
    if not settings:
        return True
    try:
        there = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        return all(reduce(getitem, key.split("."), there) == value for key, value in settings.items())
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        return False


def _same_place(run: Path, environment: Mapping[str, Any]) -> bool:
    try:
        there = json.loads((run / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
        return all(there.get(key) == environment[key] for key in SAME_PLACE)
    except (OSError, ValueError, AttributeError):
        return False


def adopt_ranking(source: Path, own: Path, record: Record) -> None:
    """Make another run's ranking file this run's own, as :func:`adopt_phase` does.

    Args:
        source: folder of the other run.
        own: folder of this run.
        record: of the measurement that the ranking belongs to.
    """
    with atomic_path(_ranking_of(own, record)) as temporary:
        temporary.unlink()
        _link(_ranking_of(source, record), temporary)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
