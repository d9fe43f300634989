"""MaxSim, the late-interaction score (Khattab & Zaharia 2020, equation 3).

    score(q, d) = sum over scoring query tokens i of  max over scoring document tokens j of  q_i . d_j

Document tokens that do not score are -inf before the maximum, so padding can never beat a negative
similarity. Similarities are taken in the precision of the embeddings (never lowered by autocast), sums over
query tokens in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from colbert_lab.base.types import Embeddings


def maxsim(queries: Embeddings, documents: Embeddings) -> Tensor:
    """Score every query against every document.

    Args:
        queries: B queries, embeddings [B, Q, D].
        documents: N documents, embeddings [N, L, D].

    Returns:
        Scores [B, N], float32 (float64 for float64 embeddings).

    Raises:
        ValueError: a document has no scoring token.
    """
    check_scoring(documents)
    B, Q, D = queries.emb_NLD.shape
    N, L, _ = documents.emb_NLD.shape
    with torch.autocast(queries.emb_NLD.device.type, enabled=False):
        sim_TT = queries.emb_NLD.reshape(B * Q, D) @ documents.emb_NLD.reshape(N * L, D).T
    sim_BQNL = sim_TT.view(B, Q, N, L)
    return _reduce(sim_BQNL.transpose(1, 2), queries.mask_NL[:, None, :], documents.mask_NL[None, :, None, :])


def maxsim_lists(queries: Embeddings, documents: Embeddings) -> Tensor:
    """Score every query against its own list of documents.

    Args:
        queries: B queries, embeddings [B, Q, D].
        documents: B x K documents, embeddings [B*K, L, D], the K documents of a query side by side.

    Returns:
        Scores [B, K], float32 (float64 for float64 embeddings).

    Raises:
        ValueError: a document has no scoring token.
    """
    check_scoring(documents)
    B, Q, D = queries.emb_NLD.shape
    N, L, _ = documents.emb_NLD.shape
    K = N // B
    with torch.autocast(queries.emb_NLD.device.type, enabled=False):
        sim_BQT = queries.emb_NLD @ documents.emb_NLD.view(B, K * L, D).transpose(1, 2)
    sim_BQKL = sim_BQT.view(B, Q, K, L)
    mask_BKL = documents.mask_NL.view(B, K, L)
    return _reduce(sim_BQKL.transpose(1, 2), queries.mask_NL[:, None, :], mask_BKL[:, :, None, :])


def _reduce(sim: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    """Mask, maximum over document tokens (last axis), float32 sum over query tokens (second to last)."""
    best = sim.masked_fill(~document_mask, -torch.inf).max(dim=-1).values
    return best.masked_fill(~query_mask, 0.0).sum(dim=-1, dtype=torch.promote_types(sim.dtype, torch.float32))


def check_scoring(documents: Embeddings) -> None:
    """Whether every document has a token that scores.

    Raises:
        ValueError: one has none.
    """
    empty = (~documents.mask_NL.any(dim=-1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"documents without a scoring token have no MaxSim score: rows {empty[:5]}")
