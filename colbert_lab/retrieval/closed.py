"""MaxSim of each query with its own list of documents: what held-out candidate lists ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from colbert_lab.types import Split


def list_rows(split: Split) -> list[Tensor]:
    """The candidates of each query as row numbers of the corpus, int64 [K], in the order of ``split.queries``."""
    row_of = {name: row for row, name in enumerate(split.corpus.ids)}
    lists: Mapping[str, Sequence[str]] = {query: sorted(split.candidates[query]) for query in split.queries}
    return [torch.tensor([row_of[name] for name in names], dtype=torch.int64) for names in lists.values()]
