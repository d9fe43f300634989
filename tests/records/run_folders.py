"""Run folders with known numbers, as a run leaves them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.records.rankings import ranking_path, write_ranking
from colbert_lab.records.records import Record, append_records

Gain = float | Sequence[float] | np.ndarray
MEASURE = "ndcg@10"
QUERIES = tuple(f"q{n}" for n in range(8))
BASE = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
"""Values of the untrained student; mean 0.35."""


def write_run(
    outputs: Path,
    config: str,
    seed: int,
    factors: Mapping[str, str],
    gains: Mapping[str, Mapping[str, Gain]],
    *,
    status: str = "finished",
    fingerprint: str = "text",
    protocol: str = "protocol",
    rankings: bool = True,
    reused: Mapping[str, str] | None = None,
    repeat: str = "",
    time: float = 0.0,
) -> Path:
    """Write a run of name ``study``.

    Args:
        outputs: the output folder.
        config: first characters of the config's hash.
        seed: the seed.
        factors: the overrides.
        gains: by phase and split, what is added to ``BASE`` after it. ``before`` is added for each split.
        status: what status.json says.
        fingerprint: of all splits.
        protocol: hash of the protocol.
        rankings: whether per-query files are written.
        reused: by phase, the run that trained it.
        repeat: end of the run id, such as ``-r2``.
        time: when its records were written.
    """
    hashed = config.ljust(64, "0")
    path = outputs / "study" / f"{hashed[:10]}-s{seed}{repeat}"
    path.mkdir(parents=True)
    (path / "status.json").write_text(json.dumps({"status": status}))
    splits = dict.fromkeys(split for phase in gains.values() for split in phase)
    for number, (phase, added) in enumerate({"before": dict.fromkeys(splits, 0.0), **gains}.items()):
        for split, gain in added.items():
            values = BASE + np.asarray(gain)
            common: dict[str, Any] = {
                "run_id": path.name, "name": "study", "config_hash": hashed, "factors": factors, "seed": seed,
                "step": 10 * number, "phase": phase, "dataset": "made", "split": split,
                "split_fingerprint": fingerprint, "protocol_hash": protocol, "measure": MEASURE,
                "n_queries": len(values), "hardware": "2 cores", "time": time,
            }  # fmt: skip
            records = [Record(system="student", value=float(values.mean()), **common)]
            if phase == "before":
                records.insert(0, Record(system="bm25", value=0.9, **{**common, "phase": "baselines"}))
            append_records(path / "results.jsonl", records)
            if rankings:
                empty = Ranking(list(QUERIES), [[] for _ in QUERIES], [[] for _ in QUERIES])
                per_query = PerQuery(QUERIES, {MEASURE: values})
                write_ranking(ranking_path(path, "student", phase, split), empty, per_query)
        if number:
            write_phase(path / phase, number, (reused or {}).get(phase), f"dev_small/{MEASURE}")
    return path


def write_phase(folder: Path, number: int, reused: str | None, dev: str) -> None:
    """``phase.json`` of 10 steps, 20 s and 1,000 tokens times the phase's number, and ``metrics.csv``."""
    folder.mkdir(exist_ok=True)
    done = {"steps": 10, "seconds": 20.0 * number, "tokens": 1000 * number, "reused_from": reused}
    (folder / "phase.json").write_text(json.dumps({"phase_hash": "x", "queries": 40, **done}))
    rows = ["step,time,name,value", "5,1.0,train/loss,2.0", f"5,1.0,{dev},0.5", "10,2.0,train/loss,1.0"]
    # The last row was cut by a crash.
    (folder / "metrics.csv").write_text("\n".join([*rows, f"10,2.0,{dev},0.75", "11,3.0,train/lo"]))
