"""What other runs have on disk already, so that no phase is trained and no system is measured twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from functools import reduce
from itertools import chain
from operator import getitem
from pathlib import Path
from typing import Any

from colbert_lab.base.atomic import atomic_folder, atomic_path
from colbert_lab.base.outside import read_json, read_json_or, warn_once
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.records.rankings import ranking_path
from colbert_lab.records.records import RECORDS_FILE, Record, read_records
from colbert_lab.records.run_files import Environment, PhaseFacts, read_config

IDENTITY_FILE = "identity.json"
ENVIRONMENT_FILE = "environment.json"
KEPT = ("student", "student_best", "student_last", "adapter", "metrics.csv", IDENTITY_FILE)
RUNS = ("*/*", "*/*/*", "*/*/*/*")
"""Where runs are below the folder of runs: ``name/run``, and names may be nested."""
WHOLE = ("phase_hash", "steps", "seconds", "queries", "tokens", "padded_tokens", "teacher_entropy", "prompt_mismatch",
         "truncation")  # fmt: skip
"""What ``phase.json`` must say for the phase to be taken over: the fields of a PhaseOutcome without a default."""
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
    for path in chain.from_iterable(output_dir.glob(f"{run}/*/{PHASE_FILE}") for run in RUNS):
        known = read_json_or(path, PhaseFacts)
        if known.get("phase_hash") == phase_hash and (path.parent / "student").is_dir():
            if lacking := [key for key in WHOLE if key not in known]:
                warn_once(f"{path}: {lacking[0]}: is missing; the phase is not taken over")
                continue
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
        outcome = read_json(source / PHASE_FILE, PhaseFacts)
        outcome["reused_from"] = outcome.get("reused_from") or source.parent.name
        (temporary / PHASE_FILE).write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")


def find_measurement(
    output_dir: Path,
    own: Path,
    wanted: Mapping[str, Any],
    measures: Mapping[str, str],
    environment: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> tuple[Path, list[Record]] | None:
    """The measurement of a system by another run, whatever its name.

    Args:
        output_dir: where runs are.
        own: this run's folder; those beside it, which have its name, are looked at first.
        wanted: fields that its records have: system, phase, split and its fingerprint; for a student its hash and the
            search as well.
        measures: all that are needed, each with the hash of its protocol.
        environment: of this run; the other's code, packages, machine and threads must be the same, and the code
            known to be unchanged since its commit. What a run measured before it was taken up again does not count,
            because its environment is that of its last start.
        settings: config keys, with dots, that must have these values there.

    Returns:
        The other run's folder and a record for each measure; None when there is none.
    """
    if environment["dirty"] is not False:
        return None
    beside = sorted(own.parent.glob(f"*/{RECORDS_FILE}"))
    others = chain.from_iterable(output_dir.glob(f"{run}/{RECORDS_FILE}") for run in RUNS)
    for path in chain(beside, (path for path in others if path.parent.parent != own.parent)):
        run = path.parent
        if run.is_symlink() or run == own or not _same_place(run, environment):
            continue
        started = (run / ENVIRONMENT_FILE).stat().st_mtime
        found = {
            record.measure: record
            for record in read_records(path)
            if (record.time or 0.0) >= started
            and all(getattr(record, key) == value for key, value in wanted.items())
            and record.protocol_hash == measures.get(record.measure)
        }
        if found.keys() != set(measures) or not _ranking_of(run, next(iter(found.values()))).is_file():
            continue
        if _has_settings(run, settings):
            return run, [found[measure] for measure in measures]
    return None


def _ranking_of(run: Path, record: Record) -> Path:
    return ranking_path(run, record.system, record.phase, record.split, record.variant)


def _has_settings(run: Path, settings: Mapping[str, Any]) -> bool:
    if not settings:
        return True
    there: Any = read_config(run)
    try:
        return all(reduce(getitem, key.split("."), there) == value for key, value in settings.items())
    except (LookupError, TypeError):
        return False


def _same_place(run: Path, environment: Mapping[str, Any]) -> bool:
    there: Mapping[str, Any] = read_json_or(run / ENVIRONMENT_FILE, Environment)
    return bool(there) and all(there.get(key) == environment[key] for key in SAME_PLACE)


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
