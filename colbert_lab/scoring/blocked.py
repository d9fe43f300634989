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
    columns = []
    for chunk in documents:
        rows, width = chunk.mask_NL.shape
        n_queries, n_documents = block_sizes(queries.emb_NLD.shape[1], rows, width, block_values)
        some = list(zip(queries.emb_NLD.split(n_queries), queries.mask_NL.split(n_queries), strict=True))
        blocks = zip(chunk.emb_NLD.split(n_documents), chunk.mask_NL.split(n_documents), strict=True)
        again = torch.is_grad_enabled() and (len(documents) > 1 or len(some) > 1 or n_documents < rows)
        columns += [
            torch.cat([_recomputed(*each, *block) if again else _score(*each, *block) for each in some])
            for block in blocks
        ]
    return torch.cat(columns, dim=1)


def block_sizes(query_width: int, rows: int, width: int, block_values: int = BLOCK_VALUES) -> tuple[int, int]:
    """Queries and documents of a block of one chunk.

    Args:
        query_width: padded tokens of a query.
        rows: documents of the chunk.
        width: their padded tokens.
        block_values: see :func:`maxsim_blocked`.
    """
    per_pair = query_width * width
    n_documents = max(1, min(block_values // per_pair, rows))
    return max(1, block_values // (per_pair * n_documents)), n_documents


def count_blocks(queries: tuple[int, int], documents: Sequence[tuple[int, int]]) -> int:
    """How many blocks :func:`maxsim_blocked` scores; each is a node of the graph.

    Args:
        queries: rows and width.
        documents: of each chunk.
    """
    found = 0
    for rows, width in documents:
        n_queries, n_documents = block_sizes(queries[1], rows, width)
        found += math.ceil(queries[0] / n_queries) * math.ceil(rows / n_documents)
    return found


def _recomputed(q_emb: Tensor, q_mask: Tensor, d_emb: Tensor, d_mask: Tensor) -> Tensor:
    scores = checkpoint(_score, q_emb, q_mask, d_emb, d_mask, use_reentrant=False, preserve_rng_state=False)
    assert isinstance(scores, Tensor)
    return scores


def _score(q_emb: Tensor, q_mask: Tensor, d_emb: Tensor, d_mask: Tensor) -> Tensor:
    return maxsim(Embeddings(q_emb, q_mask), Embeddings(d_emb, d_mask))
