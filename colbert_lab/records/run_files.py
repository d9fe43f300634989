"""A run's files as data: what is in each, and readers that leave a damaged one out with one logged warning.

``splits.json`` and ``protocols.json`` (what it was measured on, and how) are written here too.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from colbert_lab.base.atomic import is_name, write_text
from colbert_lab.base.errors import InputError, told
from colbert_lab.base.outside import problem, read_json_or, warn_once
from colbert_lab.base.types import Split
from colbert_lab.base.yaml_files import read_yaml
from colbert_lab.records.identity import protocol_hash
from colbert_lab.records.means import MEAN


class About(TypedDict, total=False):
    """What ``status.json`` says of what run it is."""

    task: str | None
    config_hash: str
    seed: int | None
    factors: dict[str, Any]
    schedule: list[str]
    headline: str | None
    processes: int | None
    tags: list[str]
    asked: str | None
    named: str | None
    overrides: list[str]
    config_dirs: list[str]


class Status(TypedDict, total=False):
    """``status.json``."""

    status: str
    started: float | None
    ended: float | None
    error: str | None
    pid: int
    host: str
    run: About


class Truncation(TypedDict):
    """Of the texts of one role: how many there are, and the shares that are cut."""

    texts: int
    cut: float
    cut_without_prompt: float


class DevValueFacts(TypedDict):
    """A value on dev while training, and the optimizer steps before it."""

    step: int
    value: float


class SelectionFacts(TypedDict):
    """Which student a phase kept (``best`` or ``last``, of which step), by which measure on dev, and both values."""

    keep: str
    measure: str
    step: int
    best: DevValueFacts
    last: DevValueFacts
    stopped_early: bool


class PhaseFacts(TypedDict, total=False):
    """``phase.json``, see :class:`colbert_lab.training.phase.PhaseOutcome`; older ones have fewer keys."""

    phase_hash: str
    steps: int
    seconds: float
    queries: int
    tokens: int
    padded_tokens: int
    teacher_entropy: float | None
    prompt_mismatch: dict[str, str] | None
    truncation: dict[str, Truncation]
    reused_from: str | None
    devices: int | None
    flops: float | None
    matmul_rate: float | None
    peak_memory_bytes: int | None
    peak_device_bytes: int | None
    selection: SelectionFacts | None


class Environment(TypedDict, total=False):
    """``environment.json``."""

    python: str
    platform: str
    packages: dict[str, str | None]
    cpu: dict[str, Any]
    memory_gib: float | None
    gpus: list[str]
    hardware: str
    commit: str | None
    dirty: bool | None


class SplitFacts(TypedDict, total=False):
    """One split in ``splits.json``: what was searched, or ``mean_of`` other splits."""

    dataset: str
    split: str
    fingerprint: str
    parts: dict[str, str]
    documents: int
    queries: int
    details: dict[str, Any]
    protocol: dict[str, Any]
    mean_of: dict[str, float]


class _Phase(TypedDict, total=False):
    data: dict[str, Any] | None
    prompts: dict[str, Any] | None
    batch_size: int
    accumulation: int
    objective: dict[str, dict[str, Any] | None] | None
    optimizer: dict[str, Any] | None
    lr_schedule: dict[str, Any] | None


class _Student(TypedDict, total=False):
    checkpoint: str | None
    backbone: str | None
    architecture: dict[str, Any] | None
    layers: int | None


class _Evaluation(TypedDict, total=False):
    splits: dict[str, dict[str, Any] | None] | None
    headline: str | None


class Config(TypedDict, total=False):
    """The parts of ``config.yaml`` that other runs and tasks read."""

    name: str
    seed: int
    output_dir: str
    cache_dir: str
    schedule: list[str] | None
    student: _Student
    prompts: dict[str, Any]
    phases: dict[str, _Phase | None]
    evaluation: _Evaluation
    trainer: dict[str, Any] | None


def selection_told(facts: SelectionFacts) -> str:
    """Which student a phase kept, and why, in a clause.

    Args:
        facts: what ``phase.json`` says of it.
    """
    best, last = facts["best"], facts["last"]
    early = ", where it stopped early" if facts["stopped_early"] else ""
    return (
        f"the student of step {facts['step']:,} is kept (the {facts['keep']} one): {facts['measure']} on dev while "
        f"training was {best['value']:.4f} at step {best['step']:,}, the best, and {last['value']:.4f} at step "
        f"{last['step']:,}, the last{early}"
    )


def needed_config(run: Path) -> dict[str, Any]:
    """The resolved config of a run that is asked for by name. It takes some milliseconds.

    Raises:
        InputError: it is missing, damaged, or no config of a run.
    """
    path = run / "config.yaml"
    found = read_yaml(path)
    if wrong := problem(found, Config):
        raise InputError(f"{path}: {wrong}")
    if strange := [phase for phase in found.get("schedule") or [] if not is_name(phase)]:
        raise InputError(f"{path}: schedule: {told(strange[0])} is no name of a phase")
    return dict(found)


def read_config(run: Path) -> dict[str, Any]:
    """The same for a listing: empty where it is missing, and with one warning where it is damaged."""
    try:
        return needed_config(run)
    except InputError as damage:
        if (run / "config.yaml").exists():
            warn_once(f"{damage}; the file is skipped")
        return {}


def phases_of(about: About) -> list[str]:
    """The phases that a run says it has, those whose folders can be in it."""
    return [phase for phase in about.get("schedule", []) if is_name(phase)]


def read_curves(path: Path) -> Iterator[tuple[int, float, str, float]]:
    """The points of a ``metrics.csv``: step, time, name, value. A row that is not whole is left out with a warning.

    The last row is left out without one where it has no end: a crash cut it.

    Args:
        path: the file; a missing one has no points.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    whole = text[: text.rfind("\n") + 1].replace("\0", "\ufffd")
    rows = csv.DictReader(whole.splitlines())
    while True:
        try:
            if (row := next(rows, None)) is None:
                return
            yield int(row["step"]), float(row.get("time") or 0.0), str(row["name"]), float(row["value"])
        except (csv.Error, KeyError, TypeError, ValueError, OverflowError) as damage:
            warn_once(f"{path}, line {rows.line_num}: a row is skipped, it is not whole: {damage}")
            if isinstance(damage, csv.Error):
                return


def write_splits(path: Path, splits: Mapping[str, Split], means: Mapping[str, Mapping[str, float]]) -> None:
    """Write what the splits are, and of what the means are.

    Args:
        path: the file.
        splits: name in the config to split.
        means: mean to {split: weight}, see :func:`colbert_lab.records.means.split_weights`.
    """
    # It imports numpy, for which reading runs does not wait.
    from colbert_lab.text.collections.collection import split_parts

    described: dict[str, dict[str, Any]] = {
        key: {
            "dataset": split.dataset,
            "split": split.name,
            "fingerprint": split.fingerprint,
            "parts": split_parts(split),
            "documents": len(split.corpus),
            "queries": len(split.queries),
            "details": dict(split.details),
        }
        for key, split in splits.items()
    }
    for key, split in splits.items():
        if split.protocol:
            described[key]["protocol"] = dict(split.protocol)
    for name, weights in means.items():
        described[name] = {"dataset": name, "split": MEAN, "mean_of": dict(weights)}
    write_text(path, json.dumps(described, indent=2) + "\n")


PROTOCOLS = "protocols.json"


def split_details(run_dir: Path) -> dict[str, SplitFacts]:
    """What ``splits.json`` says of each split; empty when there is none (older runs) or it is damaged."""
    return read_json_or(run_dir / "splits.json", dict[str, SplitFacts])


def add_protocol(run: Path, protocol: Mapping[str, Any]) -> str:
    """Keep a protocol in a run's folder, once.

    Args:
        run: the run's folder.
        protocol: see :attr:`colbert_lab.evaluation.evaluator.Result.protocol`.

    Returns:
        Its hash, the ``protocol_hash`` of the records measured under it.
    """
    hashed = protocol_hash(protocol)
    known = read_protocols(run)
    if hashed not in known:
        write_text(run / PROTOCOLS, json.dumps({**known, hashed: protocol}, indent=2) + "\n")
    return hashed


def read_protocols(run: Path) -> dict[str, dict[str, Any]]:
    """The protocols of a run by their hash; empty where there is no file (older runs) or it is damaged."""
    return read_json_or(run / PROTOCOLS, dict[str, dict[str, Any]])
