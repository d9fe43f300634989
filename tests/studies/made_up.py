"""A study with made-up rows of known values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from colbert_lab.records.identity import factors
from colbert_lab.records.records import Record
from colbert_lab.studies.pages import BEGIN, END
from colbert_lab.studies.reading import read_study
from colbert_lab.studies.rows import write_rows
from colbert_lab.studies.study import Study
from colbert_lab.studies.study_runs import Key, StudyRun

QUERIES = tuple(f"query {n}" for n in range(200))
BASE = np.random.default_rng(7).uniform(0.2, 0.8, len(QUERIES)).round(6)
"""Every query's value of the untrained student."""
PHASE = {"steps": 40, "seconds": 90.0, "tokens": 200_000, "queries": 160, "devices": 1, "flops": 1e13}

CONTENT: dict[str, Any] = {
    "title": "Does a second phase pay?",
    "question": "What does a first phase add to distillation?",
    "prediction": "It adds *something*.\n\nOr nothing.",
    "factors": ["schedule: one phase or two."],
    "held_fixed": ["Everything else, such as `seed`."],
    "fixed": ["+experiment=colbert_zero"],
    "cells": {
        "one": {"title": "one phase", "overrides": ["schedule=[distill]"]},
        "two": {"title": "two phases", "overrides": ["schedule=[supervised,distill]"]},
        "again": {
            "title": "one phase, then another",
            "overrides": ["schedule=[distill]", "student.checkpoint={student}"],
            "student_of": "two/supervised",
        },
        "look": {
            "title": "a look at three phases, with a long title",
            "overrides": ["schedule=[unsupervised,distill]"],
        },
    },
    "seeds": [1, 2, 3],
    "cost": "seconds",
    "screened": ["look"],
    "confirmed": ["one", "two", "again"],
    "claims": [
        {
            "claim": "Two are better than one.",
            "weights": {"two": 1, "one": -1},
            "expect": "higher",
            "margin": 0.01,
        },
        {
            "claim": "Again is as good as two.",
            "source": "A card.",
            "weights": {"again": 1, "two": -1},
            "expect": "alike",
            "margin": 0.01,
        },
    ],
    "limits": ["It is made up."],
}
GAINS: Mapping[str, Mapping[str, float]] = {
    "one": {"distill": 0.02},
    "two": {"supervised": 0.01, "distill": 0.05},
    "again": {"distill": 0.051},
    "look": {"unsupervised": -0.01, "distill": 0.03},
}


def write_study(folder: Path, **changes: Any) -> Path:
    """``study.yaml`` and an empty README; ``changes`` replace keys, or take them out when None."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {key: value for key, value in (CONTENT | changes).items() if value is not None}
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    (folder / "README.md").write_text(f"# A study\n\nBefore.\n\n{BEGIN}\n{END}\n\nAfter.\n", encoding="utf-8")
    return folder


def made_run(
    study: Study,
    cell: str,
    seed: int,
    gains: Mapping[str, float],
    *,
    fingerprint: str = "text",
    depth: int = 100,
    noise: float = 0.05,
) -> StudyRun:
    """A run whose student gains so much after each phase, on average over queries, with noise by seed."""
    number = list(study.cells).index(cell)
    run_id = f"{number:010d}-s{seed}"
    generator = np.random.default_rng([number, seed])
    values = {Key("bm25", "baselines"): BASE - 0.1, Key("student", "before"): BASE}
    for phase, gain in gains.items():
        spread = generator.normal(0, noise, len(QUERIES))
        values[Key("student", phase)] = (BASE + gain + spread - spread.mean()).round(6)
    records = tuple(
        Record(
            run_id=run_id,
            name=study.name,
            config_hash=f"{number:064d}",
            phase_hash=None if key.phase in ("before", "baselines") else _identity(cell, key.phase, seed),
            seed=seed,
            system=key.system,
            system_name="BM25 (k1=0.9, b=0.4)" if key.system == "bm25" else "student",
            phase=key.phase,
            dataset="made up",
            split=study.split,
            split_fingerprint=fingerprint,
            protocol_hash="protocol",
            measure=study.measure,
            value=float(found.mean()),
            n_queries=len(QUERIES),
        )
        for key, found in values.items()
    )
    facts = {
        "run_id": run_id,
        "cell": cell,
        "seed": seed,
        "factors": factors([*study.fixed, *study.cells[cell].overrides]),
        "config_hash": f"{number:064d}",
        "phases": {phase: {"phase_hash": _identity(cell, phase, seed), **PHASE} for phase in gains},
        "split": {"dataset": "made up", "documents": 3500, "queries": len(QUERIES)},
        "rules": {"depth": depth},
        "commit": "0123456789abcdef",
        "dirty": False,
        "hardware": "Some CPU, 2 cores, 23 GiB",
        "python": "3.11.7",
        "packages": {"torch": "2.13.0"},
        "time": 0.0,
    }
    return StudyRun(cell, seed, run_id, facts, records, values, QUERIES)


def _identity(cell: str, phase: str, seed: int) -> str:
    return f"{cell}-{phase}-{seed}"


def made_study(folder: Path, seeds: Sequence[int] = (1, 2, 3), **changes: Any) -> Study:
    """A study in a folder with the rows of ``GAINS``."""
    study = read_study(write_study(folder, **changes))
    runs = [
        made_run(study, cell, seed, GAINS[cell])
        for cell in study.cells
        for seed in study.seeds_of(cell)
        if seed in seeds
    ]
    write_rows(study, runs)
    return study
