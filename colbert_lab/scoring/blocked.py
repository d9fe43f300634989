"""MaxSim of a whole batch in blocks: no similarity matrix and no argmax is kept between forward and backward."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from colbert_lab.scoring.maxsim import maxsim
from colbert_lab.types import Embeddings

BLOCK_VALUES = 8_388_608  # token similarities of a block: 32 MiB in float32


def maxsim_blocked(
    queries: Embeddings, documents: Sequence[Embeddings], block_values: int = BLOCK_VALUES
) -> Tensor:
    """Score every query against every document of every chunk.

    Each block of queries and documents is scored by :func:`colbert_lab.scoring.maxsim.maxsim`, and scored again in the
    backward pass, so memory beyond the embeddings is a few times ``block_values`` whatever the batch.

    Args:
        queries: B queries, embeddings [B, Q, D].
        documents: chunks of documents, embeddings [N_i, L_i, D].
        block_values: most token similarities of a block (a block holds at least one query and one document).

    Returns:
        Scores [B, sum of N_i], float32.

    Raises:
        ValueError: a document has no scoring token.
    """
    shapes = [(len(chunk.mask_NL), chunk.mask_NL.shape[1]) for chunk in documents]
    n_queries, n_documents = block_sizes(queries.emb_NLD.shape[1], shapes, block_values)
    emb_blocks, mask_blocks = queries.emb_NLD.split(n_queries), queries.mask_NL.split(n_queries)
    blocks = [
        Embeddings(emb, mask)
        for chunk in documents
        for emb, mask in zip(chunk.emb_NLD.split(n_documents), chunk.mask_NL.split(n_documents), strict=True)
    ]
    one_block = len(blocks) == len(emb_blocks) == 1
    rows = []
    for emb, mask in zip(emb_blocks, mask_blocks, strict=True):
        some = Embeddings(emb, mask)
        if one_block or not torch.is_grad_enabled():
            scores = [maxsim(some, block) for block in blocks]
        else:
            scores = [
                checkpoint(
                    _score,
                    emb,
                    mask,
                    block.emb_NLD,
                    block.mask_NL,
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
                for block in blocks
            ]
        rows.append(torch.cat(scores, dim=1))
    return torch.cat(rows)


def block_sizes(
    query_width: int, documents: Sequence[tuple[int, int]], block_values: int = BLOCK_VALUES
) -> tuple[int, int]:
    """Queries and documents of a block.

    Args:
        query_width: padded tokens of a query.
        documents: rows and width of each chunk.
        block_values: see :func:`maxsim_blocked`.
    """
    per_query = query_width * max(width for _, width in documents)
    n_documents = max(1, min(block_values // per_query, max(rows for rows, _ in documents)))
    return max(1, block_values // (per_query * n_documents)), n_documents


def count_blocks(queries: tuple[int, int], documents: Sequence[tuple[int, int]]) -> int:
    """How many blocks :func:`maxsim_blocked` scores; each is a node of the graph.

    Args:
        queries: rows and width.
        documents: of each chunk.
    """
    n_queries, n_documents = block_sizes(queries[1], documents)
    return math.ceil(queries[0] / n_queries) * sum(math.ceil(rows / n_documents) for rows, _ in documents)


def _score(q_emb: Tensor, q_mask: Tensor, d_emb: Tensor, d_mask: Tensor) -> Tensor:
    return maxsim(Embeddings(q_emb, q_mask), Embeddings(d_emb, d_mask))
