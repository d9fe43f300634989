"""Encode a batch in chunks, keeping activations or recomputing them chunk by chunk (GradCache).

GradCache (Gao et al. 2021) splits back-propagation at the embeddings, so that only one chunk's activations are in
memory at a time. Checkpointing the encoder chunk by chunk computes the same thing inside one ordinary backward
pass: clipping, accumulation, precision and gradient synchronisation stay where they are, and dropout masks are drawn
again from the same random state.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from colbert_lab.student.colbert import ColBERT
from colbert_lab.types import Embeddings, Tokens


def embed_chunks(model: ColBERT, chunks: Sequence[Tokens], recompute: bool) -> list[Embeddings]:
    """Embed chunks one by one.

    Args:
        model: the student's network.
        chunks: token batches [N_i, L_i].
        recompute: drop each chunk's activations and compute them again in the backward pass. The gradients are the
            same bits as without.

    Returns:
        The chunks' embeddings.
    """
    if not recompute or not torch.is_grad_enabled():
        return [model(chunk) for chunk in chunks]
    return [checkpoint(model, chunk, use_reentrant=False) for chunk in chunks]


def concatenate(chunks: Sequence[Embeddings]) -> Embeddings:
    """Put chunks of different widths together.

    Args:
        chunks: embeddings [N_i, L_i, D].

    Returns:
        Embeddings [sum of N_i, longest L_i, D]; positions beyond a chunk's width are zero and masked.
    """
    if len(chunks) == 1:
        return chunks[0]
    width = max(chunk.emb_NLD.shape[1] for chunk in chunks)
    return Embeddings(
        torch.cat([F.pad(chunk.emb_NLD, (0, 0, 0, width - chunk.emb_NLD.shape[1])) for chunk in chunks]),
        torch.cat([F.pad(chunk.mask_NL, (0, width - chunk.mask_NL.shape[1])) for chunk in chunks]),
    )


def split_rows(tokens: Tokens, token_budget: int) -> list[Tokens]:
    """Cut a padded batch into chunks of at most ``token_budget`` padded tokens, in order; at least one text each."""
    rows = max(1, token_budget // tokens.input_ids_NL.shape[1])
    parts = zip(
        tokens.input_ids_NL.split(rows),
        tokens.attention_mask_NL.split(rows),
        tokens.score_mask_NL.split(rows),
        strict=True,
    )
    return [Tokens(*part) for part in parts]


def take(embeddings: Embeddings, rows: Tensor) -> Embeddings:
    """The embeddings of some texts, in the order of ``rows``."""
    return Embeddings(embeddings.emb_NLD[rows], embeddings.mask_NL[rows])
