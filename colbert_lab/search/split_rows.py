"""What a split asks of a search, whatever system it is: closed lists of documents, and documents that are left out.

Held-out candidate lists ask for the MaxSim of each query with its own list.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from colbert_lab.base.types import Ranking, Split


def list_rows(split: Split) -> list[Tensor]:
    """The candidates of each query as row numbers of the corpus, int64 [K], in the order of ``split.queries``."""
    row_of = {name: row for row, name in enumerate(split.corpus.ids)}
    lists: Mapping[str, Sequence[str]] = {query: sorted(split.candidates[query]) for query in split.queries}
    return [torch.tensor([row_of[name] for name in names], dtype=torch.int64) for names in lists.values()]


def search_depth(split: Split, depth: int) -> int:
    """How deep to search so that ``depth`` documents are left when the excluded ones are gone.

    Args:
        split: what is searched.
        depth: documents that a ranking keeps.
    """
    return depth + max(map(len, split.excluded.values()), default=0)


def excluded_rows(split: Split) -> list[Tensor]:
    """The excluded documents of each query as rows of the corpus, int64, in the order of ``split.queries``."""
    row_of = {name: row for row, name in enumerate(split.corpus.ids)} if split.excluded else {}
    gone = [[row_of[d] for d in split.excluded.get(query, ()) if d in row_of] for query in split.queries]
    return [torch.tensor(rows, dtype=torch.int64) for rows in gone]


def without_excluded(ranking: Ranking, excluded: Mapping[str, Collection[str]], depth: int) -> Ranking:
    """Drop the excluded documents of each query, then cut.

    Args:
        ranking: what was retrieved, searched as deep as :func:`search_depth` says.
        excluded: query id to document ids.
        depth: documents that each list keeps.

    Returns:
        The shorter ranking; ``ranking`` itself when nothing is excluded.
    """
    if not excluded:
        return ranking
    documents, scores = [], []
    for query_id, ids, values in zip(ranking.query_ids, ranking.document_ids, ranking.scores, strict=True):
        gone = set(excluded.get(query_id, ()))
        kept = [place for place, name in enumerate(ids) if name not in gone][:depth]
        documents.append([ids[place] for place in kept])
        scores.append([values[place] for place in kept])
    return Ranking(ranking.query_ids, documents, scores)
