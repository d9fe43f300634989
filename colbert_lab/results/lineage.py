"""What other runs have on disk already, so that no phase is trained and no baseline is searched twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colbert_lab.atomic import atomic_folder, atomic_path
from colbert_lab.results.rankings import ranking_path
from colbert_lab.results.records import RECORDS_FILE, Record, read_records

PHASE_FILE = "phase.json"
KEPT = ("student", "metrics.csv")
SAME_PLACE = ("commit", "dirty", "packages", "hardware")
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


def find_baseline(
    own: Path, wanted: Mapping[str, Any], measures: Sequence[str], environment: Mapping[str, Any]
) -> tuple[Path, list[Record]] | None:
    """The measurement of a baseline by another run of the same name.

    Args:
        own: this run's folder; others are looked for beside it.
        wanted: fields that its records have: system, split, split fingerprint, protocol hash.
        measures: all that are needed.
        environment: of this run; the other's code, packages and machine must be the same, and its code unchanged
            since its commit.

    Returns:
        The other run's folder and a record for each measure; None when there is none.
    """
    if environment["dirty"]:
        return None
    for path in sorted(own.parent.glob(f"*/{RECORDS_FILE}")):
        run = path.parent
        if run.is_symlink() or run == own or not _same_place(run, environment):
            continue
        found = {
            record.measure: record
            for record in read_records(path)
            if all(getattr(record, key) == value for key, value in wanted.items())
        }
        ranking = ranking_path(run, wanted["system"], "baselines", wanted["split"])
        if found.keys() == set(measures) and ranking.is_file():
            return run, [found[measure] for measure in measures]
    return None


def _same_place(run: Path, environment: Mapping[str, Any]) -> bool:
    try:
        there = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        return all(there.get(key) == environment[key] for key in SAME_PLACE)
    except (OSError, ValueError, AttributeError):
        return False


def adopt_ranking(source: Path, target: Path) -> None:
    """Make another run's ranking file this run's own, as :func:`adopt_phase` does."""
    with atomic_path(target) as temporary:
        temporary.unlink()
        _link(source, temporary)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
