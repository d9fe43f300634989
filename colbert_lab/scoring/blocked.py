"""MaxSim of a whole batch in blocks: no similarity matrix and no argmax is kept between forward and backward."""

from __future__ import annotations

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
    width = queries.emb_NLD.shape[1]
    per_query = width * max(chunk.mask_NL.shape[1] for chunk in documents)
    n_documents = max(1, min(block_values // per_query, max(len(chunk.mask_NL) for chunk in documents)))
    n_queries = max(1, block_values // (per_query * n_documents))
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


def _score(q_emb: Tensor, q_mask: Tensor, d_emb: Tensor, d_mask: Tensor) -> Tensor:
    return maxsim(Embeddings(q_emb, q_mask), Embeddings(d_emb, d_mask))
