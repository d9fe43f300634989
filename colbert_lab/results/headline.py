"""The one value that a run returns to sweeps."""

from __future__ import annotations

from pathlib import Path

from colbert_lab.results.records import EXACT, RECORDS_FILE, read_records


def headline(path: Path, wanted: str, phase: str) -> float | None:
    """The value of ``evaluation.headline`` after the last phase, or None when it was not measured.

    It is that of exact search of float32 embeddings, or of the first way to search where that is not among them.

    Args:
        path: the run's folder.
        wanted: ``<split>/<measure>``.
        phase: the last phase, or ``evaluate``.
    """
    split, _, measure = wanted.rpartition("/")
    found = {
        record.variant: record.value
        for record in reversed(read_records(path / RECORDS_FILE))
        if (record.system, record.phase, record.split, record.measure) == ("student", phase, split, measure)
    }
    return found.get(EXACT, next(reversed(found.values()), None))
