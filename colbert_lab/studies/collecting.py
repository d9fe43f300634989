"""From a run's folder to its lean rows in a study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_lab.errors import InputError
from colbert_lab.results.alike import OF_SPLIT
from colbert_lab.results.protocol_file import read_protocols
from colbert_lab.results.rankings import ranking_path, read_per_query
from colbert_lab.results.records import Record, read_records
from colbert_lab.results.run_directory import RunDirectory
from colbert_lab.studies.study import Cell, Study, Term
from colbert_lab.studies.study_run import STUDENT, Key, StudyRun, key_of, without_folders

if TYPE_CHECKING:
    import numpy as np

PHASE_FACTS = (
    *("phase_hash", "steps", "seconds", "queries", "tokens", "devices", "flops", "matmul_rate"),
    *("peak_memory_bytes", "peak_device_bytes", "teacher_entropy", "reused_from"),
)
"""What of ``phase.json`` goes into the rows."""
PACKAGES = (
    *("colbert-lab", "torch", "pytorch-lightning", "transformers", "tokenizers", "numpy", "scipy"),
    *("faiss-cpu", "fast-plaid"),
)
SPLIT_FACTS = ("dataset", "split", "fingerprint", "documents", "queries")


def collect(study: Study, cell: Cell, seed: int, folder: Path) -> StudyRun:
    """Read a finished run.

    Args:
        study: the study.
        cell: the cell that the run is of.
        seed: its seed.
        folder: the run's folder.

    Raises:
        InputError: the run is not finished, did not measure what the study is about, or a file of it is missing.
    """
    if not RunDirectory(folder, folder.name).finished:
        raise InputError(f"{folder}: is not a finished run; run {cell.name}, seed {seed} again")
    records = [_lean(r) for r in read_records(folder / "results.jsonl") if r.split == study.split]
    if not any(r.measure == study.measure and r.system == STUDENT for r in records):
        raise InputError(f"{folder}: has no {study.measure} of a student on the split {study.split}")
    records = _last(records)
    values: dict[Key, np.ndarray] = {}
    query_ids: tuple[str, ...] = ()
    for record in records:
        key = key_of(record)
        if record.measure != study.measure or not _needed(study, cell, key, records):
            continue
        found = read_per_query(ranking_path(folder, key.system, key.phase, study.split, key.variant))
        if query_ids not in ((), found.query_ids):
            order = {query: n for n, query in enumerate(found.query_ids)}
            values[key] = found.values[study.measure][[order[query] for query in query_ids]]
            continue
        query_ids = found.query_ids
        values[key] = found.values[study.measure]
    facts = _facts(study, cell, seed, folder, records)
    return StudyRun(cell.name, seed, folder.name, facts, tuple(records), values, query_ids, study.main)


def _lean(record: Record) -> Record:
    """A record without what belongs to the machine's folders."""
    factors = {key: without_folders(value) for key, value in record.factors.items()}
    return Record.from_dict({**record.to_dict(), "factors": factors})


def _last(records: list[Record]) -> list[Record]:
    """One record for each number, the last one."""
    found: dict[tuple[Key, str], Record] = {}
    for record in records:
        found[key_of(record), record.measure] = record
    return list(found.values())


def _needed(study: Study, cell: Cell, key: Key, records: list[Record]) -> bool:
    """Whether every query's value is kept: the main search mode's, other modes' after the last phase or in a claim."""
    if key.system != STUDENT or key.variant == study.main:
        return True
    last = [r.phase for r in records if r.system == STUDENT][-1]
    named = {Term(cell.name, key.phase, key.variant)}
    return key.phase == last or any(term in named for claim in study.claims for term in claim.weights)


def _facts(study: Study, cell: Cell, seed: int, folder: Path, records: list[Record]) -> dict[str, Any]:
    environment = _json(folder / "environment.json")
    split = _json(folder / "splits.json").get(study.split, {})
    phases = {}
    for phase in dict.fromkeys(r.phase for r in records if r.system == STUDENT):
        path = folder / phase / "phase.json"
        if path.is_file():
            phases[phase] = {key: value for key, value in _json(path).items() if key in PHASE_FACTS}
    told = read_protocols(folder)
    students = [r for r in records if r.system == STUDENT]
    protocol = told.get(students[-1].protocol_hash, {})
    packages = environment.get("packages", {})
    return {
        "run_id": folder.name,
        "cell": cell.name,
        "seed": seed,
        "factors": students[-1].factors,
        "config_hash": students[-1].config_hash,
        "phases": phases,
        "split": {key: split[key] for key in SPLIT_FACTS if key in split},
        "rules": {key: protocol[key] for key in OF_SPLIT if key in protocol},
        "commit": environment.get("commit"),
        "dirty": environment.get("dirty"),
        "hardware": environment.get("hardware"),
        "python": environment.get("python"),
        "packages": {name: packages[name] for name in PACKAGES if packages.get(name)},
        "time": students[-1].time,
    }


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is missing or damaged; run it again with reuse=false") from error
    return found
