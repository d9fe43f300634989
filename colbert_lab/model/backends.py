"""Which code scores a whole batch: ours in PyTorch, or fused GPU kernels.

Ours has a backward pass of its own, so that nothing as large as all similarities is ever kept, only the place of the
largest of each pair of query token and document. No other similarity has a gradient, so the backward pass gathers and
adds rows where autograd multiplies matrices that are zero but for one value in a document. Where places would take too
much memory, it finds them again, and only of queries whose score of some document of the block has a gradient: at a
temperature of 0.02 the softmax of InfoNCE is exactly zero in float32 for most pairs (benchmarks/LOG.md).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings
from colbert_lab.model.maxsim import check_scoring

BLOCK_VALUES = {"cpu": 4_194_304, "cuda": 67_108_864}
"""Token similarities of a block: 16 MiB in float32 on a CPU, where more gains nothing; a GPU wants larger matrices."""
KEPT_PLACES = 67_108_864
"""Places of maxima that are kept from the forward pass for the backward pass: 128 MiB; beyond, they are found again."""


def maxsim_blocked(
    queries: Embeddings, documents: Sequence[Embeddings], block_values: int | None = None
) -> Tensor:
    """Score every query against every document of every chunk.

    The same as :func:`colbert_lab.model.maxsim.maxsim` of all of them, with memory for the embeddings, their gradients,
    the scores of a few blocks, and at most :data:`KEPT_PLACES` places of maxima. Where several tokens of a document are
    equally close to a query token, one of them gets its gradient, as there.

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
    for chunk in documents:
        check_scoring(chunk)
    if block_values is None:
        block_values = BLOCK_VALUES.get(queries.emb_NLD.device.type, BLOCK_VALUES["cuda"])
    masks = [chunk.mask_NL for chunk in documents]
    embeddings = [chunk.emb_NLD for chunk in documents]
    scores: Tensor = _AllPairs.apply(  # type: ignore[no-untyped-call]
        block_values, queries.mask_NL, masks, queries.emb_NLD, *embeddings
    )
    return scores


class _AllPairs(torch.autograd.Function):
    """Scores of all queries and documents; the gradient goes to the tokens that were the closest."""

    @staticmethod
    def forward(
        ctx: Any, block_values: int, mask_BQ: Tensor, masks: list[Tensor], emb_BQD: Tensor, *chunks: Tensor
    ) -> Tensor:
        ctx.block_values, ctx.masks = block_values, masks
        total = sum(map(len, chunks))
        dtype = torch.promote_types(emb_BQD.dtype, torch.float32)
        scores_BN = emb_BQD.new_empty(len(emb_BQD), total, dtype=dtype)
        q_TD = emb_BQD[mask_BQ]
        ends = [0, *mask_BQ.sum(dim=1).cumsum(0).tolist()]
        places_TN = None
        if any(ctx.needs_input_grad) and len(q_TD) * total <= KEPT_PLACES:
            widest = max(chunk.shape[1] for chunk in chunks)
            kind = torch.int16 if widest <= torch.iinfo(torch.int16).max else torch.int32
            places_TN = torch.empty(len(q_TD), total, dtype=kind, device=q_TD.device)
        with torch.autocast(emb_BQD.device.type, enabled=False):
            for block in scored_blocks(chunks, masks, block_values):
                for rows in query_parts(mask_BQ, block.emb_NWD, block_values):
                    tokens = slice(ends[rows.start], ends[rows.stop])
                    found = similarities(q_TD[tokens], block.emb_NWD).max(dim=-1)
                    scores_BN[rows, block.columns] = query_sums(found.values, mask_BQ[rows], dtype)
                    if places_TN is not None:
                        places_TN[tokens, block.columns] = found.indices.to(places_TN.dtype)
        ctx.save_for_backward(mask_BQ, places_TN, emb_BQD, *chunks)
        return scores_BN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BN: Tensor) -> tuple[Tensor | None, ...]:
        mask_BQ, places_TN, emb_BQD, *chunks = ctx.saved_tensors
        query_gradient_BQD = torch.zeros_like(emb_BQD)
        gradients = [torch.zeros_like(chunk, memory_format=torch.contiguous_format) for chunk in chunks]
        number_BQ = (mask_BQ.flatten().cumsum(0) - 1).view_as(mask_BQ)  # of each scoring query token
        with torch.autocast(emb_BQD.device.type, enabled=False):
            for block in scored_blocks(chunks, ctx.masks, ctx.block_values):
                column = gradient_BN[:, block.columns]
                asked = column.any(dim=1).nonzero().flatten()
                some_gradient_TD = torch.zeros_like(block.emb_NWD.flatten(0, 1))
                for part in query_parts(mask_BQ[asked], block.emb_NWD, ctx.block_values):
                    rows = asked[part]
                    mask_bQ = mask_BQ[rows]
                    q_TD = emb_BQD[rows][mask_bQ]
                    if places_TN is None:
                        place_TN = similarities(q_TD, block.emb_NWD).argmax(dim=-1)
                    else:
                        place_TN = places_TN[number_BQ[rows][mask_bQ], block.columns].long()
                    weight_TN = column[rows].repeat_interleave(mask_bQ.sum(dim=1), dim=0).to(q_TD.dtype)
                    to_queries_TD, to_documents_TD = _pull(q_TD, block.emb_NWD, place_TN, weight_TN)
                    added = torch.zeros_like(emb_BQD[rows])
                    added[mask_bQ] = to_queries_TD
                    query_gradient_BQD.index_add_(0, rows, added)
                    some_gradient_TD += to_documents_TD
                flat = gradients[block.chunk].flatten(0, 1)  # a view
                flat.index_add_(0, block.rows_NW.flatten(), some_gradient_TD)
        return None, None, None, query_gradient_BQD, *gradients


@dataclass(frozen=True)
class Block:
    """Documents that are scored together.

    Attributes:
        chunk: number of their chunk.
        columns: their columns of the scores.
        rows_NW: their scoring tokens' rows in the flattened chunk, see :func:`scoring_places`.
        emb_NWD: embeddings of these.
        filler_NW: True where a row is that of a document's first token once more.
    """

    chunk: int
    columns: slice
    rows_NW: Tensor
    emb_NWD: Tensor
    filler_NW: Tensor


def scored_blocks(chunks: Sequence[Tensor], masks: Sequence[Tensor], block_values: int) -> Iterator[Block]:
    """All documents, as many at once as ``block_values`` allows with their queries."""
    start = 0
    for number, (chunk, mask) in enumerate(zip(chunks, masks, strict=True)):
        n, length, _ = chunk.shape
        places_NW = scoring_places(mask)
        rows_NW = places_NW + torch.arange(n, device=mask.device).unsqueeze(1) * length
        filler_NW = torch.arange(places_NW.shape[1], device=mask.device) >= mask.sum(dim=1, keepdim=True)
        tokens = math.isqrt(2 * block_values)  # twice as many as the queries have
        step = max(1, tokens // places_NW.shape[1])
        counts = mask.sum(dim=1).tolist()
        for first in range(0, n, step):
            # Documents come sorted by length, so that a block is seldom as wide as its chunk.
            here = slice(first, first + step), slice(max(counts[first : first + step]))
            some, filler = rows_NW[here], filler_NW[here]
            columns = slice(start + first, start + first + len(some))
            yield Block(number, columns, some, chunk.flatten(0, 1)[some], filler)
        start += n


def scoring_places(mask_NL: Tensor) -> Tensor:
    """Where the scoring tokens of each document are, to the left and in order.

    Documents with fewer of them than the others are filled up with their first one: it changes no maximum, and nothing
    has to be masked.

    Args:
        mask_NL: True where a token scores; at least one a document.

    Returns:
        Positions [N, W], where W is the most that a document has.
    """
    order = torch.argsort(mask_NL.logical_not().to(torch.uint8), dim=1, stable=True)
    counts = mask_NL.sum(dim=1, keepdim=True)
    width = int(counts.max())
    inside = torch.arange(width, device=mask_NL.device) < counts
    return torch.where(inside, order[:, :width], order[:, :1])


def similarities(q_TD: Tensor, d_NWD: Tensor) -> Tensor:
    """Of every query token with every document token [T, N, W]."""
    n, width, dim = d_NWD.shape
    return (q_TD @ d_NWD.reshape(n * width, dim).T).view(len(q_TD), n, width)


def query_sums(best_TN: Tensor, mask_bQ: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum over the tokens of each query [b, N]."""
    padded = best_TN.new_zeros(*mask_bQ.shape, best_TN.shape[1])
    padded[mask_bQ] = best_TN
    return padded.sum(dim=1, dtype=dtype)


def _pull(q_TD: Tensor, d_NWD: Tensor, place_TN: Tensor, weight_TN: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the sum of ``weight_TN`` times the similarities at ``place_TN``.

    Only one similarity of W has a gradient, so rows are gathered and added: a matrix product would multiply by zeros.

    Returns:
        Those of the query tokens [T, D], and of the documents' tokens [N * W, D].
    """
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


def query_parts(mask_BQ: Tensor, documents_NWD: Tensor, block_values: int) -> Iterator[slice]:
    """Ranges of queries whose tokens make about a block with the documents."""
    tokens = max(1, int(mask_BQ.sum()) // max(1, len(mask_BQ)))
    step = max(1, block_values // (documents_NWD.shape[0] * documents_NWD.shape[1] * tokens))
    return (slice(first, min(first + step, len(mask_BQ))) for first in range(0, len(mask_BQ), step))


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
