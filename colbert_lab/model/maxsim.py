"""MaxSim, the late-interaction score (Khattab & Zaharia 2020, equation 3).

    score(q, d) = sum over scoring query tokens i of  max over scoring document tokens j of  q_i . d_j

Document tokens that do not score are -inf before the maximum, so padding can never beat a negative
similarity. Similarities are taken in the precision of the embeddings (never lowered by autocast), sums over
query tokens in float32.

MeanMaxSim is this score divided by the number of the query's scoring tokens, as in sentence-transformers 6
(``mean_maxsim``). Scores of short and long queries then have one scale, and a temperature means the same for both. It
ranks the documents of a query as MaxSim does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, Ranking

MAXSIM, MEAN = "maxsim", "mean_maxsim"
SCORES = (MAXSIM, MEAN)
"""Scores that a student can have, ``student.score``."""


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


def check_score(score: str) -> None:
    """Whether there is such a score.

    Raises:
        InputError: there is not.
    """
    if score not in SCORES:
        raise InputError(f"student.score={score}: must be one of {', '.join(SCORES)}")


def scoring_queries(queries: Embeddings, score: str) -> Embeddings:
    """Queries whose MaxSim with a document is the student's score.

    MeanMaxSim is the MaxSim of query embeddings that are divided by the number of scoring tokens. Whatever computes
    MaxSim so computes the mean too, and the gradient goes through the division.

    Args:
        queries: B queries, unit-length embeddings [B, Q, D].
        score: see :data:`SCORES`.

    Returns:
        The queries themselves for ``maxsim``. A query without a scoring token stays as it is, and scores 0.
    """
    if score == MAXSIM:
        return queries
    counts_B = queries.mask_NL.sum(dim=1).clamp(min=1).to(queries.emb_NLD.dtype)
    return Embeddings(queries.emb_NLD / counts_B[:, None, None], queries.mask_NL)


def found_scores(maxsim_B: Sequence[Tensor], lengths_B: Tensor, score: str) -> list[Tensor]:
    """The student's score of what a search ordered by MaxSim; the order stays as it is.

    Args:
        maxsim_B: for each query the MaxSim of documents, or what a search mode has in its place.
        lengths_B: number of scoring tokens of each query.
        score: see :data:`SCORES`.
    """
    if score == MAXSIM:
        return list(maxsim_B)
    return [scores / max(1, n) for scores, n in zip(maxsim_B, lengths_B.tolist(), strict=True)]


def found_ranking(ranking: Ranking, lengths_B: Tensor, score: str) -> Ranking:
    """The same ranking with the student's scores, in float64, so that scores that differ go on differing.

    Args:
        ranking: by MaxSim, or by what a search mode has in its place.
        lengths_B: number of scoring tokens of each of its queries.
        score: see :data:`SCORES`.
    """
    if score == MAXSIM:
        return ranking
    scores = found_scores(
        [torch.tensor(each, dtype=torch.float64) for each in ranking.scores], lengths_B, score
    )
    return Ranking(ranking.query_ids, ranking.document_ids, [each.tolist() for each in scores])


def check_scoring(documents: Embeddings) -> None:
    """Whether every document has a token that scores; what computes on a GPU is not waited for, and ends there.

    Raises:
        ValueError: one has none.
    """
    mask_NL = documents.mask_NL
    if mask_NL.device.type == "cpu":
        check_counts(mask_NL.sum(dim=1))
    else:
        torch._assert_async(mask_NL.any(dim=1).all(), "a document has no scoring token")


def check_counts(counts_N: Tensor) -> None:
    """The same of the numbers of scoring tokens, on the CPU.

    Raises:
        ValueError: one is 0.
    """
    empty = (counts_N == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"documents without a scoring token have no MaxSim score: rows {empty[:5]}")
