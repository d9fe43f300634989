"""Ledger entries with known values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from colbert_lab.analysis.ledger.entries import Entry, Measured
from colbert_lab.records.cost import PhaseCost

COST = PhaseCost(10, 30.0, 5000, None, 2, 6e12, 1e12, 3 * 2**30, None)


def entry(run_id: str = "aaaaaaaaaa-s1", **values: Any) -> Entry:
    """A finished run; ``values`` replace its attributes."""
    config, _, seed = run_id.partition("-r")[0].partition("-s")
    plain: dict[str, Any] = {
        "name": "kd", "run_id": run_id, "task": "train", "status": "finished", "error": None, "host": None,
        "started": 1000.0, "ended": 1060.0, "config_hash": config.ljust(64, "0"), "seed": int(seed), "factors": {},
        "headline": "dev/ndcg@10", "phase": "distill", "costs": {"distill": COST},
        "values": {"dev/ndcg@10": Measured(0.6, 0.5), "test/ndcg@10": Measured(0.7, 0.5)}, "processes": 2,
        "hardware": "2 cores", "commit": "0123456789abcdef", "dirty": False,
    }  # fmt: skip
    plain |= values
    return Entry(path=plain.pop("path", Path("outputs") / plain["name"] / run_id), **plain)
