"""The only file that knows ranks: documents of all processes, with gradients.

Every process scores its own queries against the documents of all processes and takes the mean loss over its own
queries. The backward pass of the gathering sums what every process's loss says about a document, and data-parallel
training averages parameter gradients over processes; together that is the gradient of the mean over the global batch,
so the loss is scaled nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from colbert_lab.student.chunked import concatenate
from colbert_lab.types import Embeddings


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_number() -> int:
    """Number of this process among those that train together."""
    return dist.get_rank() if world_size() > 1 else 0


def gather_states(state: Any) -> list[Any]:
    """A small picklable value of every process, in rank order, on every process."""
    states = [state] * world_size()
    if len(states) > 1:
        dist.all_gather_object(states, state)
    return states


def _all_gather(x: Tensor) -> Tensor:
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.stack(parts)


class _AllGather(torch.autograd.Function):
    """Values of all processes [R, ...] in rank order; the gradient sums, over processes, one's own part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_gather(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[dist.get_rank()]


def gather_documents(chunks: Sequence[Embeddings], keys_N: Tensor) -> tuple[list[Embeddings], Tensor, int]:
    """The documents of all processes.

    Args:
        chunks: this process's documents [N_i, L_i, D].
        keys_N: int64 key of each document; equal keys mean equal documents.

    Returns:
        Chunks of the documents of all processes in rank order, their keys, and the position of this process's first
        document. One process gets back what it gave.
    """
    if world_size() == 1:
        return list(chunks), keys_N, 0
    local = concatenate(chunks)
    n, width, _ = local.emb_NLD.shape
    shape = torch.tensor([n, width], device=keys_N.device)
    sizes = [(int(rows), int(columns)) for rows, columns in _all_gather(shape)]
    most, widest = max(rows for rows, _ in sizes), max(columns for _, columns in sizes)
    emb_RNLD: Tensor = _AllGather.apply(  # type: ignore[no-untyped-call]
        F.pad(local.emb_NLD, (0, 0, 0, widest - width, 0, most - n))
    )
    mask_RNL = _all_gather(F.pad(local.mask_NL, (0, widest - width, 0, most - n)).to(torch.uint8)).bool()
    keys_RN = _all_gather(F.pad(keys_N, (0, most - n)))
    gathered = [
        Embeddings(emb_RNLD[rank, :rows, :columns], mask_RNL[rank, :rows, :columns])
        for rank, (rows, columns) in enumerate(sizes)
    ]
    keys = torch.cat([keys_RN[rank, :rows] for rank, (rows, _) in enumerate(sizes)])
    return gathered, keys, sum(rows for rows, _ in sizes[: dist.get_rank()])
