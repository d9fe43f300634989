"""Exact search that several processes share: each searches some shards of a corpus, and one merges what they found.

A shard's documents are searched in the same blocks whoever does it, so the merged ranking has the same bits as that of
one process that searches the same shards.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from colbert_lab.base.atomic import atomic_path
from colbert_lab.search.exact import score_of, sort_keys


class Part(NamedTuple):
    """What was found in one shard.

    Attributes:
        scores_BK: float32, best first, for each query.
        rows_BK: rows of the corpus.
        seconds: wall time of the search.
        process: which process searched.
    """

    scores_BK: Tensor
    rows_BK: Tensor
    seconds: float
    process: int


def part_path(shard: Path, name: str) -> Path:
    """The file with what a search found in a shard.

    Args:
        shard: the shard's folder.
        name: of the search: a hash of all that decides it but the shard.
    """
    return shard / f"found_{name}.npz"


def write_part(path: Path, part: Part) -> None:
    """Write what was found, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            scores=part.scores_BK.numpy(),
            rows=part.rows_BK.numpy(),
            seconds=np.array(part.seconds),
            process=np.array(part.process),
        )


def read_parts(paths: Sequence[Path]) -> list[Part] | None:
    """What was found in each shard; None where a file is missing or damaged, so that the search is made anew."""
    parts = []
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as found:
                scores, rows = torch.from_numpy(found["scores"]), torch.from_numpy(found["rows"])
                parts.append(Part(scores, rows, float(found["seconds"]), int(found["process"])))
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None
    return parts


def merged(parts: Sequence[Part], ties_C: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best documents over all shards.

    Args:
        parts: of each shard, over the same queries.
        ties_C: what decides between equal scores, see :func:`colbert_lab.search.exact.tie_ranks`.
        k: documents to keep a query.

    Returns:
        float32 scores [B, k'] and rows [B, k'], best first, as :func:`colbert_lab.search.exact.search` returns them.
    """
    scores_BN = torch.cat([part.scores_BK for part in parts], dim=1)
    rows_BN = torch.cat([part.rows_BK for part in parts], dim=1)
    keys_BK, picked_BK = sort_keys(scores_BN, ties_C[rows_BN]).topk(min(k, rows_BN.shape[1]), dim=1)
    return score_of(keys_BK), rows_BN.gather(1, picked_BK)


def slowest(parts: Sequence[Part]) -> float:
    """Seconds of the process that searched longest: they work at the same time."""
    seconds: dict[int, float] = {}
    for part in parts:
        seconds[part.process] = seconds.get(part.process, 0.0) + part.seconds
    return max(seconds.values())
