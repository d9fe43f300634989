"""XTR's score in training (Lee et al. 2023, arXiv 2304.01982, section 3): documents by their retrieved tokens.

Each query token retrieves the k most similar of all document tokens of the batch. With s(i, d) the largest similarity
of query token i with a token of document d, and t(i) the k-th largest with any token,

    score(q, d) = 1 / Z  sum over query tokens i with s(i, d) >= t(i) of  s(i, d)

where Z is the number of these query tokens; a document of which no token was retrieved scores 0. All tokens that are
as near as the k-th, to :data:`EQUAL`, are retrieved: the score depends neither on an order of documents nor on the
rounding of tokens that are the same in several of them, as those of a prompt are in a decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from colbert_lab.base.types import Embeddings
from colbert_lab.model.backends import (
    BLOCK_VALUES,
    Block,
    query_parts,
    query_sums,
    scored_blocks,
    similarities,
)
from colbert_lab.model.maxsim import check_scoring

EQUAL = 1e-6
"""Similarities of unit-length tokens that are nearer to each other are equal: float32 rounds by less than this."""


def xtr_scores(
    queries: Embeddings,
    documents: Sequence[Embeddings],
    k: int,
    pool_N: Tensor | None = None,
    block_values: int | None = None,
) -> Tensor:
    """Score every query against every document of every chunk.

    Memory beyond the embeddings, their gradients and two numbers for each query and document is that of a few blocks
    and of k similarities for each query token: the similarities are computed again where they are needed again.

    Args:
        queries: B queries, unit-length embeddings [B, Q, D].
        documents: chunks of documents, embeddings [N_i, L_i, D].
        k: tokens that a query token retrieves; where there are fewer, it retrieves all.
        pool_N: True for the documents whose tokens count among the k, such as one of several copies; None for all.
        block_values: see :func:`colbert_lab.model.backends.maxsim_blocked`.

    Returns:
        Scores [B, sum of N_i] of -1 to 1, float32 (float64 for float64 embeddings).

    Raises:
        ValueError: a document has no scoring token.
    """
    for chunk in documents:
        check_scoring(chunk)
    if block_values is None:
        block_values = BLOCK_VALUES.get(queries.emb_NLD.device.type, BLOCK_VALUES["cuda"])
    masks = [chunk.mask_NL for chunk in documents]
    if pool_N is None:
        pool_N = torch.ones(sum(map(len, masks)), dtype=torch.bool, device=queries.emb_NLD.device)
    embeddings = [chunk.emb_NLD for chunk in documents]
    scores: Tensor = _Retrieved.apply(  # type: ignore[no-untyped-call]
        k, block_values, queries.mask_NL, masks, pool_N, queries.emb_NLD, *embeddings
    )
    return scores


class _Part(NamedTuple):
    """Some queries and some documents.

    Attributes:
        block: the documents.
        rows: the queries.
        tokens: their tokens among those of all queries.
        mask_bQ: which of their tokens score.
        q_TD: embeddings of these.
    """

    block: Block
    rows: slice
    tokens: slice
    mask_bQ: Tensor
    q_TD: Tensor


def _parts(
    mask_BQ: Tensor, emb_BQD: Tensor, chunks: Sequence[Tensor], masks: list[Tensor], block_values: int
) -> Iterator[_Part]:
    """All queries with all documents, in the same parts whenever it is asked, so that products are the same bits."""
    ends = [0, *mask_BQ.sum(dim=1).cumsum(0).tolist()]
    for block in scored_blocks(chunks, masks, block_values):
        for rows in query_parts(mask_BQ, block.emb_NWD, block_values):
            mask_bQ = mask_BQ[rows]
            yield _Part(
                block, rows, slice(ends[rows.start], ends[rows.stop]), mask_bQ, emb_BQD[rows][mask_bQ]
            )


class _Retrieved(torch.autograd.Function):
    """Scores of all queries and documents; the gradient goes to the retrieved tokens that were the closest."""

    @staticmethod
    def forward(
        ctx: Any,
        k: int,
        block_values: int,
        mask_BQ: Tensor,
        masks: list[Tensor],
        pool_N: Tensor,
        emb_BQD: Tensor,
        *chunks: Tensor,
    ) -> Tensor:
        ctx.block_values, ctx.masks = block_values, masks
        dtype = torch.promote_types(emb_BQD.dtype, torch.float32)
        scores_BN = emb_BQD.new_empty(len(emb_BQD), len(pool_N), dtype=dtype)
        counts_BN = torch.empty_like(scores_BN)
        least_T = emb_BQD.new_full((int(mask_BQ.sum()),), -torch.inf)
        with torch.autocast(emb_BQD.device.type, enabled=False):
            if k < int(torch.cat([mask.sum(dim=1) for mask in masks])[pool_N].sum()):
                near_TK = least_T[:, None].repeat(1, k)
                for part in _parts(mask_BQ, emb_BQD, chunks, masks, block_values):
                    block = part.block
                    out_NW = block.filler_NW | ~pool_N[block.columns, None]
                    sim_TNW = similarities(part.q_TD, block.emb_NWD).masked_fill_(out_NW, -torch.inf)
                    both = torch.cat([near_TK[part.tokens], sim_TNW.flatten(1)], dim=1)
                    near_TK[part.tokens] = both.topk(k, dim=1, sorted=False).values
                least_T = near_TK.amin(dim=1) - EQUAL
            for part in _parts(mask_BQ, emb_BQD, chunks, masks, block_values):
                best_TN = similarities(part.q_TD, part.block.emb_NWD).amax(dim=-1)
                missed_TN = best_TN < least_T[part.tokens, None]  # a NaN is not missed, so that it is seen
                here = part.rows, part.block.columns
                scores_BN[here] = query_sums(best_TN.masked_fill_(missed_TN, 0), part.mask_bQ, dtype)
                counts_BN[here] = query_sums((~missed_TN).to(dtype), part.mask_bQ, dtype)
        counts_BN.clamp_(min=1)
        ctx.save_for_backward(mask_BQ, least_T, counts_BN, emb_BQD, *chunks)
        return scores_BN / counts_BN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BN: Tensor) -> tuple[Tensor | None, ...]:
        mask_BQ, least_T, counts_BN, emb_BQD, *chunks = ctx.saved_tensors
        weight_BN = gradient_BN / counts_BN
        query_gradient_BQD = torch.zeros_like(emb_BQD)
        gradients = [torch.zeros_like(chunk, memory_format=torch.contiguous_format) for chunk in chunks]
        with torch.autocast(emb_BQD.device.type, enabled=False):
            for part in _parts(mask_BQ, emb_BQD, chunks, ctx.masks, ctx.block_values):
                block, mask_bQ = part.block, part.mask_bQ
                weight_bN = weight_BN[part.rows, block.columns]
                if not bool(weight_bN.any()):
                    continue
                sim_TNW = similarities(part.q_TD, block.emb_NWD)
                missed_TN = sim_TNW.amax(dim=-1) < least_T[part.tokens, None]
                weight_TN = weight_bN.repeat_interleave(mask_bQ.sum(dim=1), dim=0).to(sim_TNW.dtype)
                shares = _shares(sim_TNW, weight_TN.masked_fill_(missed_TN, 0)).flatten(1)
                added = torch.zeros_like(emb_BQD[part.rows])
                added[mask_bQ] = shares @ block.emb_NWD.flatten(0, 1)
                query_gradient_BQD[part.rows] += added
                flat = gradients[block.chunk].flatten(0, 1)  # a view
                flat.index_add_(0, block.rows_NW.flatten(), shares.T @ part.q_TD)
        return None, None, None, None, None, query_gradient_BQD, *gradients


def _shares(sim_TNW: Tensor, weights_TN: Tensor) -> Tensor:
    """Each similarity's share of the gradient; overwrites the similarities."""
    closest = sim_TNW.eq_(sim_TNW.amax(dim=-1, keepdim=True))
    return closest.mul_((weights_TN / closest.sum(dim=-1)).unsqueeze(-1))
