"""A run's small files, read so that a damaged one is skipped with one logged warning."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from colbert_lab.results.records import read_objects

log = logging.getLogger(__name__)


def read_results(path: Path) -> list[dict[str, Any]]:
    """The records of a ``results.jsonl`` as plain dicts; lines that are not whole are skipped."""
    try:
        return read_objects(path)
    except OSError as problem:
        log.warning("%s is skipped, it cannot be read: %s", path, problem.strerror)
        return []


def read_object(path: Path, needed: bool = True) -> dict[str, Any]:
    """A JSON object; empty, with a warning, where the file is damaged or, if it is ``needed``, missing."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        if needed:
            log.warning("%s is missing; the run is listed as unknown", path)
        return {}
    except json.JSONDecodeError as problem:
        log.warning("%s, line %d is damaged, the file is skipped: %s", path, problem.lineno, problem.msg)
        return {}
    except (OSError, ValueError) as problem:
        log.warning("%s is skipped, it cannot be read: %s", path, problem)
        return {}
    if isinstance(found, dict):
        return found
    log.warning("%s, line 1 is no JSON object, the file is skipped", path)
    return {}


def read_config(run: Path) -> dict[str, Any]:
    """The resolved config of a run; empty where it is missing or damaged. It takes some milliseconds."""
    import yaml

    try:
        found = yaml.load(
            (run / "config.yaml").read_text(encoding="utf-8"),
            getattr(yaml, "CSafeLoader", yaml.SafeLoader),
        )
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as problem:
        told = " ".join(str(problem).split())
        log.warning("%s is skipped, it cannot be read: %s", run / "config.yaml", told)
        return {}
    return found if isinstance(found, dict) else {}
