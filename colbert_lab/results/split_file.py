"""``splits.json`` of a run: what it was measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colbert_lab.atomic import write_text
from colbert_lab.results.means import MEAN
from colbert_lab.text.collection import split_parts
from colbert_lab.types import Split


def write_splits(path: Path, splits: Mapping[str, Split], means: Mapping[str, Mapping[str, float]]) -> None:
    """Write what the splits are, and of what the means are.

    Args:
        path: the file.
        splits: name in the config to split.
        means: mean to {split: weight}, see :func:`colbert_lab.results.means.split_weights`.
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
