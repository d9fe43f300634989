"""Rerank what a first stage found, by MaxSim."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from colbert_lab.retrieval.exact import padded_positions, sort_keys
from colbert_lab.retrieval.store import TokenStore
from colbert_lab.types import PackedEmbeddings


def rerank(
    queries: PackedEmbeddings,
    store: TokenStore,
    candidates: Sequence[Tensor],
    ties_C: Tensor,
    k: int,
    *,
    device: torch.device | None = None,
    progress: str | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """The k best of each query's candidates, with their MaxSim.

    Args:
        queries: B packed queries.
        store: the documents.
        candidates: rows in the corpus, a query; a query without any gets none.
        ties_C: see :func:`colbert_lab.retrieval.exact.tie_ranks`.
        k: how many to keep a query.
        device: where to compute; None takes the queries'.
        progress: title of a progress bar; None shows none.

    Returns:
        For each query, float32 scores and rows, best first.
    """
    device = device or queries.emb_TD.device
    all_scores, all_rows = [], []
    query_parts = torch.split(queries.emb_TD.to(device), queries.lengths_N.tolist())
    bar = tqdm(total=len(queries), desc=progress, unit="query", disable=None if progress else True)
    for query_TD, found in zip(query_parts, candidates, strict=True):
        if len(found):
            documents = store.documents(found)
            position_NL = padded_positions(documents.lengths_N)
            padded_TD = documents.emb_TD[position_NL.flatten()].to(device)
            best_QN = (query_TD @ padded_TD.T).view(-1, *position_NL.shape).amax(dim=-1)
            scores = best_QN.sum(dim=0)
            order = sort_keys(scores, ties_C[found].to(device)).argsort(descending=True)[:k].cpu()
            all_scores.append(scores.cpu()[order])
            all_rows.append(found[order])
        else:
            all_scores.append(torch.empty(0))
            all_rows.append(found)
        bar.update()
    bar.close()
    return all_scores, all_rows
