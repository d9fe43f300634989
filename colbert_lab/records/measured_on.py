"""``splits.json`` and ``protocols.json`` of a run: what it was measured on, and how."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colbert_lab.base.atomic import write_text
from colbert_lab.base.outside import read_json_or
from colbert_lab.base.types import Split
from colbert_lab.records.identity import protocol_hash
from colbert_lab.records.means import MEAN
from colbert_lab.text.collections.collection import split_parts


def write_splits(path: Path, splits: Mapping[str, Split], means: Mapping[str, Mapping[str, float]]) -> None:
    """Write what the splits are, and of what the means are.

    Args:
        path: the file.
        splits: name in the config to split.
        means: mean to {split: weight}, see :func:`colbert_lab.records.means.split_weights`.
    """
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
