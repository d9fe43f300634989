"""Which finished phases are on disk, so that no phase is trained twice."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from colbert_lab.atomic import atomic_folder

PHASE_FILE = "phase.json"
KEPT = ("student", "metrics.csv")


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


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
