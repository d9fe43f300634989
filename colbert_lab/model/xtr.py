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
from colbert_lab.model.backends import asked
from colbert_lab.model.blocks import Layout, Part, Span, block_values_of, query_sums, similarities

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
    if block_values is None:
        block_values = block_values_of(queries.emb_NLD.device)
    layout = Layout.of(queries.mask_NL, [chunk.mask_NL for chunk in documents])
    scores: Tensor = _Retrieved.apply(  # type: ignore[no-untyped-call]
        k, block_values, layout, pool_N, queries.emb_NLD, *(chunk.emb_NLD for chunk in documents)
    )
    return scores


class _Scored(NamedTuple):
    """Some queries and some documents.

    Attributes:
        span: the documents.
        part: the queries.
        q_TD: embeddings of their scoring tokens.
        d_NWD: of those of the documents.
    """

    span: Span
    part: Part
    q_TD: Tensor
    d_NWD: Tensor


def _scored(
    layout: Layout, emb_BQD: Tensor, chunks: Sequence[Tensor], spans: Sequence[Span], block_values: int
) -> Iterator[_Scored]:
    """All queries with some documents, in the same parts whenever it is asked, so that products are the same bits."""
    q_TD = layout.scoring(emb_BQD)
    for span in spans:
        d_NWD = chunks[span.chunk].flatten(0, 1)[layout.rows_NW(span)]
        for part in layout.parts(span, block_values):
            yield _Scored(span, part, q_TD[part.tokens], d_NWD)


class _Retrieved(torch.autograd.Function):
    """Scores of all queries and documents; the gradient goes to the retrieved tokens that were the closest."""

    @staticmethod
    def forward(
        ctx: Any,
        k: int,
        block_values: int,
        layout: Layout,
        pool_N: Tensor | None,
        emb_BQD: Tensor,
        *chunks: Tensor,
    ) -> Tensor:
        ctx.block_values, ctx.layout = block_values, layout
        dtype = torch.promote_types(emb_BQD.dtype, torch.float32)
        scores_BN = emb_BQD.new_empty(len(emb_BQD), sum(map(len, chunks)), dtype=dtype)
        counts_BN = torch.empty_like(scores_BN)
        least_T = emb_BQD.new_full((layout.ends[-1],), -torch.inf)
        counts_N = torch.cat(list(layout.counts))
        if pool_N is not None:
            counts_N = counts_N[pool_N.cpu()]
        spans = layout.spans(block_values)
        with torch.autocast(emb_BQD.device.type, enabled=False):
            if k < int(counts_N.sum()):
                near_TK = least_T[:, None].repeat(1, k)
                for span, part, q_TD, d_NWD in _scored(layout, emb_BQD, chunks, spans, block_values):
                    out_NW = layout.fillers_NW(span)
                    if pool_N is not None:
                        out_NW = out_NW | ~pool_N[span.columns, None]
                    sim_TNW = similarities(q_TD, d_NWD).masked_fill_(out_NW, -torch.inf)
                    both = torch.cat([near_TK[part.tokens], sim_TNW.flatten(1)], dim=1)
                    near_TK[part.tokens] = both.topk(k, dim=1, sorted=False).values
                least_T = near_TK.amin(dim=1) - EQUAL
            for span, part, q_TD, d_NWD in _scored(layout, emb_BQD, chunks, spans, block_values):
                best_TN = similarities(q_TD, d_NWD).amax(dim=-1)
                missed_TN = best_TN < least_T[part.tokens, None]  # a NaN is not missed, so that it is seen
                here, mask_bQ = (part.rows, span.columns), layout.mask_BQ[part.rows]
                scores_BN[here] = query_sums(best_TN.masked_fill_(missed_TN, 0), mask_bQ, dtype)
                counts_BN[here] = query_sums((~missed_TN).to(dtype), mask_bQ, dtype)
        counts_BN.clamp_(min=1)
        ctx.save_for_backward(least_T, counts_BN, emb_BQD, *chunks)
        return scores_BN / counts_BN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BN: Tensor) -> tuple[Tensor | None, ...]:
        layout: Layout = ctx.layout
        least_T, counts_BN, emb_BQD, *chunks = ctx.saved_tensors
        weight_BN = gradient_BN / counts_BN
        query_gradient_TD = torch.zeros_like(layout.scoring(emb_BQD))
        gradients = [torch.zeros_like(chunk, memory_format=torch.contiguous_format) for chunk in chunks]
        spans, lengths_B = layout.spans(ctx.block_values), layout.mask_BQ.sum(dim=1)
        asked_of = {
            span.columns.start: each for span, each in zip(spans, asked(weight_BN, spans), strict=True)
        }
        with torch.autocast(emb_BQD.device.type, enabled=False):
            for span, part, q_TD, d_NWD in _scored(layout, emb_BQD, chunks, spans, ctx.block_values):
                asked_B = asked_of[span.columns.start]
                assert isinstance(part.rows, slice)  # all queries were asked for
                if not bool(((asked_B >= part.rows.start) & (asked_B < part.rows.stop)).any()):
                    continue
                sim_TNW = similarities(q_TD, d_NWD)
                missed_TN = sim_TNW.amax(dim=-1) < least_T[part.tokens, None]
                weight_TN = weight_BN[part.rows, span.columns].repeat_interleave(
                    lengths_B[part.rows], dim=0, output_size=part.length
                )
                weight_TN = weight_TN.to(sim_TNW.dtype).masked_fill_(missed_TN, 0)
                shares = _shares(sim_TNW, weight_TN).flatten(1)
                query_gradient_TD[part.tokens] += shares @ d_NWD.flatten(0, 1)
                flat = gradients[span.chunk].flatten(0, 1)  # a view
                flat.index_add_(0, layout.rows_NW(span).flatten(), shares.T @ q_TD)
        return None, None, None, None, layout.padded(query_gradient_TD), *gradients


def _shares(sim_TNW: Tensor, weights_TN: Tensor) -> Tensor:
    """Each similarity's share of the gradient; overwrites the similarities."""
    closest = sim_TNW.eq_(sim_TNW.amax(dim=-1, keepdim=True))
    return closest.mul_((weights_TN / closest.sum(dim=-1)).unsqueeze(-1))
