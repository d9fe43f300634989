"""Embeddings of a batch: encoded chunk by chunk, and gathered from all processes; and how texts are put in batches.

GradCache (Gao et al. 2021) splits back-propagation at the embeddings, so that only one chunk's activations are in
memory at a time. Checkpointing the encoder chunk by chunk computes the same thing inside one ordinary backward
pass: clipping, accumulation, precision and gradient synchronisation stay where they are, and dropout masks are drawn
again from the same random state.

Gathering is the only place where a loss meets other processes. Every process scores its own queries against the
documents of all processes and takes the mean loss over its own queries. The backward pass of the gathering sums what
every process's loss says about a document, and data-parallel training averages parameter gradients over processes;
together that is the gradient of the mean over the global batch, so the loss is scaled nowhere else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, Tokens
from colbert_lab.model.devices import upload

Embed = Callable[[Tokens], Embeddings]


def compiled(model: Embed, backend: str) -> Embed:
    """A network compiled by torch.compile, for chunks of any size; the network itself stays as it is.

    Args:
        model: the student's network, perhaps :func:`colbert_lab.model.devices.lowered`.
        backend: of torch.compile. ``inductor`` makes kernels; ``eager`` and ``aot_eager`` compute as without, and show
            whether the network can be compiled.
    """

    def forward(*parts: Tensor) -> tuple[Tensor, Tensor]:
        embedded = model(Tokens(*parts))
        return embedded.emb_NLD, embedded.mask_NL

    fast = torch.compile(forward, backend=backend, dynamic=True)
    return lambda tokens: Embeddings(*fast(*tensors(tokens)))


def check_compiler(backend: str | None, device: torch.device) -> None:
    """Whether a backend of torch.compile has what it makes kernels with.

    Args:
        backend: ``trainer.compile``.
        device: where the student computes.

    Raises:
        InputError: it has not.
    """
    needs = "triton" if device.type == "cuda" else "a C++ compiler"
    compilers = (os.environ.get("CXX", "g++"), "g++", "clang++")
    there = find_spec("triton") if device.type == "cuda" else any(map(shutil.which, compilers))
    if backend == "inductor" and not there:
        raise InputError(
            f"trainer.compile={backend}: needs {needs}, which is not installed here; install it, or set "
            "trainer.compile=null"
        )


def embed_chunks(model: Embed, chunks: Sequence[Tokens], recompute: bool) -> list[Embeddings]:
    """Embed chunks one by one.

    Args:
        model: the student's network, perhaps lowered or :func:`compiled`.
        chunks: token batches [N_i, L_i].
        recompute: drop each chunk's activations and compute them again in the backward pass. The gradients are the
            same bits as without.

    Returns:
        The chunks' embeddings.
    """
    if not recompute or not torch.is_grad_enabled():
        return [model(chunk) for chunk in chunks]

    def embed(*parts: Tensor) -> Embeddings:
        return model(Tokens(*parts))

    return [checkpoint(embed, *tensors(chunk), use_reentrant=False) for chunk in chunks]


def tensors(tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    """The tensors of ``Tokens``, in its order.

    ``torch.utils.checkpoint`` saves the random state of the devices of its tensor arguments; inside a dataclass it
    finds none, and on a GPU the recomputation would draw other dropout masks.
    """
    return tokens.input_ids_NL, tokens.attention_mask_NL, tokens.score_mask_NL


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
    shape = upload(torch.tensor([n, width]), keys_N.device)
    sizes: list[list[int]] = _all_gather(shape).tolist()
    most, widest = max(rows for rows, _ in sizes), max(columns for _, columns in sizes)
    emb_RNLD: Tensor = _AllGather.apply(  # type: ignore[no-untyped-call]
        F.pad(local.emb_NLD, (0, 0, 0, widest - width, 0, most - n))
    )
    mask_RNL = _all_gather(F.pad(local.mask_NL, (0, widest - width, 0, most - n)).to(torch.uint8)).bool()
    keys_RN = _all_gather(F.pad(keys_N, (0, most - n)))
    gathered = [
        Embeddings(emb_RNLD[rank, :rows, :columns].contiguous(), mask_RNL[rank, :rows, :columns])
        for rank, (rows, columns) in enumerate(sizes)
    ]
    keys = torch.cat([keys_RN[rank, :rows] for rank, (rows, _) in enumerate(sizes)])
    return gathered, keys, sum(rows for rows, _ in sizes[: dist.get_rank()])


def gather_rows(x: Tensor) -> Tensor:
    """The rows of all processes, in rank order.

    Args:
        x: [B, ...], of the same shape on every process.

    Returns:
        [R * B, ...] on every process. Gradients of floats flow back, and what every process's loss says about a row is
        summed; one process gets back what it gave.
    """
    if world_size() == 1:
        return x
    if x.is_floating_point():
        gathered: Tensor = _AllGather.apply(x)  # type: ignore[no-untyped-call]
    elif x.dtype == torch.bool:
        gathered = _all_gather(x.to(torch.uint8)).bool()
    else:
        gathered = _all_gather(x)
    return gathered.flatten(0, 1)


def length_sorted_batches(
    lengths: Sequence[int], token_budget: int, most: int | None = None
) -> Iterator[list[int]]:
    """Group texts of similar length, so that padding is rare and memory bounded.

    Args:
        lengths: number of tokens of each text.
        token_budget: most padded tokens in a group (rows x longest row); a longer single text goes alone.
        most: texts of a group at most; None for any number.

    Yields:
        Positions of the texts of one group; groups go from long to short, so that the largest comes first.
    """
    order = sorted(range(len(lengths)), key=lambda n: (-lengths[n], n))
    start = 0
    while start < len(order):
        rows = max(1, token_budget // max(1, lengths[order[start]]))
        rows = rows if most is None else min(rows, most)
        yield order[start : start + rows]
        start += rows
