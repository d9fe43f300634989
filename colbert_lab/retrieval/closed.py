"""MaxSim of each query with its own list of documents: what held-out candidate lists ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from colbert_lab.retrieval.exact import top_k
from colbert_lab.student.encode import token_rows
from colbert_lab.types import PackedEmbeddings, Split


def list_rows(split: Split) -> list[Tensor]:
    """The candidates of each query as row numbers of the corpus, int64 [K], in the order of ``split.queries``."""
    row_of = {name: row for row, name in enumerate(split.corpus.ids)}
    lists: Mapping[str, Sequence[str]] = {query: sorted(split.candidates[query]) for query in split.queries}
    return [torch.tensor([row_of[name] for name in names], dtype=torch.int64) for names in lists.values()]


def search_lists(
    queries: PackedEmbeddings, documents: PackedEmbeddings, ties_C: Tensor, rows: Sequence[Tensor], k: int
) -> tuple[list[list[float]], list[list[int]]]:
    """Rank each query's candidates by MaxSim.

    Args:
        queries: B packed queries.
        documents: C packed documents; each has at least one token.
        ties_C: see :func:`colbert_lab.retrieval.exact.tie_ranks`.
        rows: for each query, rows of its candidates, int64 [K]; K may differ.
        k: how many candidates to keep a query.

    Returns:
        Scores and document rows of each query, best first.
    """
    starts_C = torch.cumsum(documents.lengths_N, 0) - documents.lengths_N
    query_parts = queries.emb_TD.split(queries.lengths_N.tolist())
    scores, found = [], []
    for query_QD, rows_K in zip(query_parts, rows, strict=True):
        lengths_K = documents.lengths_N[rows_K]
        sim_QT = query_QD @ documents.emb_TD[token_rows(starts_C[rows_K], lengths_K)].T
        owner_T = torch.repeat_interleave(torch.arange(len(rows_K)), lengths_K)
        best_QK = sim_QT.new_full((len(query_QD), len(rows_K)), -torch.inf)
        best_QK.scatter_reduce_(1, owner_T.expand_as(sim_QT), sim_QT, "amax")
        values, columns = top_k(best_QK.sum(dim=0, keepdim=True), ties_C[rows_K], k)
        scores.append(values[0].tolist())
        found.append(rows_K[columns[0]].tolist())
    return scores, found
