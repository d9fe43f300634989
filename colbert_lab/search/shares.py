"""Exact search that several processes share: each searches its shards of a corpus, and one merges what they found.

A shard's documents are searched in the same blocks whoever does it, so the merged ranking has the same bits as that of
one process that searches the same shards. A process leaves one file, so that memory and disk do not grow with the
corpus.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from colbert_lab.base.atomic import atomic_path
from colbert_lab.search.exact import score_of, sort_keys

log = logging.getLogger(__name__)


class Part(NamedTuple):
    """What one process found.

    Attributes:
        scores_BK: float32, best first, for each query.
        rows_BK: rows of the corpus.
        seconds: wall time of the search.
    """

    scores_BK: Tensor
    rows_BK: Tensor
    seconds: float


def part_path(folder: Path, name: str, process: int) -> Path:
    """The file with what a process found.

    Args:
        folder: of the corpus' shards.
        name: of the search: a hash of all that decides it but the student and the corpus, which the folder tells.
        process: its number.
    """
    return folder / f"found_{name}_{process}.npz"


def write_part(path: Path, part: Part) -> None:
    """Write what was found, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file, scores=part.scores_BK.numpy(), rows=part.rows_BK.numpy(), seconds=np.array(part.seconds)
        )


def read_parts(paths: Sequence[Path]) -> list[Part] | None:
    """What each process found; None, with a warning, where a file is missing or damaged."""
    parts = []
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as found:
                scores, rows = torch.from_numpy(found["scores"]), torch.from_numpy(found["rows"])
                parts.append(Part(scores, rows, float(found["seconds"])))
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            log.warning(
                "%s: what another process found cannot be read (%s); this one searches all of the corpus. Have all "
                "machines see the same cache_dir",
                path, type(error).__name__,
            )  # fmt: skip
            return None
    return parts


def merged(parts: Sequence[Part], ties_C: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best documents over all parts.

    Args:
        parts: of each process, over the same queries.
        ties_C: what decides between equal scores, see :func:`colbert_lab.search.exact.tie_ranks`.
        k: documents to keep a query.

    Returns:
        float32 scores [B, k'] and rows [B, k'], best first, as :func:`colbert_lab.search.exact.search` returns them.
    """
    scores_BN = torch.cat([part.scores_BK for part in parts], dim=1)
    rows_BN = torch.cat([part.rows_BK for part in parts], dim=1)
    keys_BK, picked_BK = sort_keys(scores_BN, ties_C[rows_BN]).topk(min(k, rows_BN.shape[1]), dim=1)
    return score_of(keys_BK), rows_BN.gather(1, picked_BK)
