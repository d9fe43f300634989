"""Which code scores a whole batch: ours in PyTorch, or fused GPU kernels.

Ours has a backward pass of its own, so that nothing as large as all similarities is ever kept, only the place of the
largest of each pair of query token and document. No other similarity has a gradient, so the backward pass gathers and
adds rows where autograd multiplies matrices that are zero but for one value in a document. Where places would take too
much memory, it finds them again, and only of queries whose score of some document of the block has a gradient: at a
temperature of 0.02 the softmax of InfoNCE is exactly zero in float32 for most pairs (benchmarks/LOG.md).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings
from colbert_lab.model.blocks import Layout, Span, block_values_of, query_sums, similarities
from colbert_lab.model.devices import room_for
from colbert_lab.model.maxsim import check_scoring

KEPT_PLACES = 67_108_864
"""Places of maxima that are kept from the forward pass for the backward pass: 128 MiB; beyond, they are found again."""
KEPT_SHARE = 1 / 16
"""Of a GPU's memory, that they may take there."""


def maxsim_blocked(
    queries: Embeddings, documents: Sequence[Embeddings], block_values: int | None = None
) -> Tensor:
    """Score every query against every document of every chunk.

    The same as :func:`colbert_lab.model.maxsim.maxsim` of all of them, with memory for the embeddings, their gradients,
    the scores of a few blocks, and at most :data:`KEPT_PLACES` places of maxima. Where several tokens of a document are
    equally close to a query token, one of them gets its gradient, as there. A device is waited for once here, and once
    in the backward pass.

    Args:
        queries: B queries, embeddings [B, Q, D].
        documents: chunks of documents, embeddings [N_i, L_i, D].
        block_values: most token similarities of a block (a block holds at least one query and one document); None for
            what suits the device.

    Returns:
        Scores [B, sum of N_i], float32 (float64 for float64 embeddings).

    Raises:
        ValueError: a document has no scoring token.
    """
    if block_values is None:
        block_values = block_values_of(queries.emb_NLD.device)
    layout = Layout.of(queries.mask_NL, [chunk.mask_NL for chunk in documents])
    embeddings = [chunk.emb_NLD for chunk in documents]
    scores: Tensor = _AllPairs.apply(  # type: ignore[no-untyped-call]
        block_values, layout, queries.emb_NLD, *embeddings
    )
    return scores


class _AllPairs(torch.autograd.Function):
    """Scores of all queries and documents; the gradient goes to the tokens that were the closest."""

    @staticmethod
    def forward(ctx: Any, block_values: int, layout: Layout, emb_BQD: Tensor, *chunks: Tensor) -> Tensor:
        ctx.block_values, ctx.layout = block_values, layout
        total = sum(map(len, chunks))
        dtype = torch.promote_types(emb_BQD.dtype, torch.float32)
        scores_BN = emb_BQD.new_empty(len(emb_BQD), total, dtype=dtype)
        q_TD = layout.scoring(emb_BQD)
        places_TN = None
        kept = room_for(emb_BQD.device, KEPT_PLACES, KEPT_SHARE, size=2)
        if any(ctx.needs_input_grad) and len(q_TD) * total <= kept:
            widest = max(chunk.shape[1] for chunk in chunks)
            kind = torch.int16 if widest <= torch.iinfo(torch.int16).max else torch.int32
            places_TN = torch.empty(len(q_TD), total, dtype=kind, device=q_TD.device)
        with torch.autocast(emb_BQD.device.type, enabled=False):
            for span in layout.spans(block_values):
                emb_NWD = chunks[span.chunk].flatten(0, 1)[layout.rows_NW(span)]
                for part in layout.parts(span, block_values):
                    found = similarities(q_TD[part.tokens], emb_NWD).max(dim=-1)
                    sums = query_sums(found.values, layout.mask_BQ[part.rows], dtype)
                    scores_BN[part.rows, span.columns] = sums
                    if places_TN is not None:
                        place_TN = layout.real(span, found.indices)
                        places_TN[part.tokens, span.columns] = place_TN.to(places_TN.dtype)
        ctx.save_for_backward(places_TN, emb_BQD, *chunks)
        return scores_BN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BN: Tensor) -> tuple[Tensor | None, ...]:
        layout: Layout = ctx.layout
        places_TN, emb_BQD, *chunks = ctx.saved_tensors
        q_TD = layout.scoring(emb_BQD)
        query_gradient_TD = torch.zeros_like(q_TD)
        gradients = [torch.zeros_like(chunk, memory_format=torch.contiguous_format) for chunk in chunks]
        spans = layout.spans(ctx.block_values)
        counts_B = layout.mask_BQ.sum(dim=1)
        with torch.autocast(emb_BQD.device.type, enabled=False):
            for span, asked_B in zip(spans, asked(gradient_BN, spans), strict=True):
                if not len(asked_B):
                    continue
                column = gradient_BN[:, span.columns]
                emb_NWD = chunks[span.chunk].flatten(0, 1)[layout.rows_NW(span)]
                some_gradient_XD = torch.zeros_like(emb_NWD.flatten(0, 1))
                for part in layout.parts(span, ctx.block_values, asked_B):
                    some_q_TD = q_TD[part.tokens]
                    if places_TN is None:
                        place_TN = layout.real(span, similarities(some_q_TD, emb_NWD).argmax(dim=-1))
                    else:
                        place_TN = places_TN[part.tokens, span.columns].long()
                    weight_TN = column[part.rows].repeat_interleave(
                        counts_B[part.rows], dim=0, output_size=part.length
                    )
                    to_queries_TD, to_documents_XD = pull(
                        some_q_TD, emb_NWD, place_TN, weight_TN.to(q_TD.dtype)
                    )
                    if isinstance(part.tokens, slice):
                        query_gradient_TD[part.tokens] += to_queries_TD
                    else:
                        query_gradient_TD.index_add_(0, part.tokens, to_queries_TD)
                    some_gradient_XD += to_documents_XD
                gradients[span.chunk][span.rows] = layout.unpacked(span, some_gradient_XD)
        return None, None, layout.padded(query_gradient_TD), *gradients


def asked(gradient_BN: Tensor, spans: Sequence[Span]) -> list[Tensor]:
    """For each span the queries whose score of one of its documents has a gradient, on the CPU; waits for it once."""
    found = torch.stack([gradient_BN[:, span.columns].any(dim=1) for span in spans]).cpu()
    return [each.nonzero().flatten() for each in found]


def pull(q_TD: Tensor, d_NWD: Tensor, place_TN: Tensor, weight_TN: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the sum of ``weight_TN`` times the similarities at ``place_TN``.

    Returns:
        Those of the query tokens [T, D], and of the documents' tokens [N * W, D].
    """
    return (_pull_rows if q_TD.device.type == "cpu" else _pull_products)(q_TD, d_NWD, place_TN, weight_TN)


def _pull_rows(q_TD: Tensor, d_NWD: Tensor, place_TN: Tensor, weight_TN: Tensor) -> tuple[Tensor, Tensor]:
    """Only one similarity of W has a gradient, so rows are gathered and added: products would multiply by zeros."""
    n, width, _ = d_NWD.shape
    at_TN = place_TN + torch.arange(n, device=place_TN.device) * width
    d_XD = d_NWD.flatten(0, 1)
    to_queries_TD = embedding_bag(at_TN, d_XD, mode="sum", per_sample_weights=weight_TN)
    # The same pairs in the order of the documents' tokens; one sort, stable, so that sums have one order.
    ordered, pairs = at_TN.flatten().sort(stable=True)
    starts = torch.searchsorted(ordered, torch.arange(n * width, device=ordered.device))
    weights = weight_TN.flatten()[pairs]
    to_documents_XD = embedding_bag(
        pairs.div(n, rounding_mode="floor"), q_TD, starts, mode="sum", per_sample_weights=weights
    )
    return to_queries_TD, to_documents_XD


def _pull_products(q_TD: Tensor, d_NWD: Tensor, place_TN: Tensor, weight_TN: Tensor) -> tuple[Tensor, Tensor]:
    """By products that multiply by zeros, too: a GPU has made them before it has sorted the pairs."""
    here_TNW = place_TN.unsqueeze(2) == torch.arange(d_NWD.shape[1], device=place_TN.device)
    weight_TX = torch.where(here_TNW, weight_TN.unsqueeze(2), 0).flatten(1)
    return weight_TX @ d_NWD.flatten(0, 1), weight_TX.T @ q_TD


AllPairs = Callable[[Embeddings, Sequence[Embeddings]], Tensor]
PACKAGE = "late_interaction_kernels"
KEY = "trainer.maxsim"


def pick_maxsim(name: str, device: torch.device, deterministic: bool) -> AllPairs:
    """Resolve ``trainer.maxsim``.

    Args:
        name: ``torch`` for :func:`~colbert_lab.model.backends.maxsim_blocked`, ``kernels`` for
            :func:`maxsim_kernels`.
        device: where the student computes.
        deterministic: whether a run has to give the same numbers again, ``trainer.deterministic``.

    Raises:
        InputError: the kernels cannot run here or not as wanted.
    """
    if name == "torch":
        return maxsim_blocked
    if importlib.util.find_spec(PACKAGE) is None:
        raise InputError(
            f"{KEY}=kernels: late-interaction-kernels is missing; pip install 'colbert-lab[gpu]'"
        )
    if device.type != "cuda":
        raise InputError(f"{KEY}=kernels: needs a CUDA device, this run is on {device.type}; set it to torch")
    if deterministic:
        raise InputError(
            f"{KEY}=kernels: its backward pass adds in no fixed order, so a run would not give the same numbers again; "
            f"set trainer.deterministic=false, or {KEY}=torch"
        )
    return maxsim_kernels


def maxsim_kernels(queries: Embeddings, documents: Sequence[Embeddings]) -> Tensor:
    """Score every query against every document with the Triton kernels of late-interaction-kernels.

    They round float32 embeddings to float16 (``pick_compute_dtype`` of version 0.4.5), which keeps 10 bits of a
    fraction as TF32 does, and add in float32: expect the scores of :func:`maxsim_blocked` to about 2^-10, and ask
    ``task=certify``. Their deterministic backward pass rounds gradients too, so the other one is taken. They keep the
    place of every maximum until the backward pass: 4 bytes for each query token and document, which is 32 GiB for
    16,384 queries of 32 tokens and as many documents.

    Args:
        queries: B queries, embeddings [B, Q, D].
        documents: chunks of documents, embeddings [N_i, L_i, D].

    Returns:
        Scores [B, sum of N_i], float32.

    Raises:
        ValueError: a document has no scoring token.
    """
    from late_interaction_kernels import MaxSimScorer

    scorer = MaxSimScorer(normalize=False, backward="unified")
    scores = []
    for chunk in documents:
        check_scoring(chunk)
        scores.append(scorer(queries.emb_NLD, chunk.emb_NLD, q_mask=queries.mask_NL, d_mask=chunk.mask_NL))
    return torch.cat(scores, dim=1)
