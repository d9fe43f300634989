"""Which code scores a whole batch: ours in PyTorch, or fused GPU kernels."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from colbert_lab.errors import InputError
from colbert_lab.scoring.blocked import maxsim_blocked
from colbert_lab.scoring.maxsim import check_scoring
from colbert_lab.types import Embeddings

AllPairs = Callable[[Embeddings, Sequence[Embeddings]], Tensor]
PACKAGE = "late_interaction_kernels"
KEY = "trainer.maxsim"


def pick_maxsim(name: str, device: torch.device, deterministic: bool) -> AllPairs:
    """Resolve ``trainer.maxsim``.

    Args:
        name: ``torch`` for :func:`~colbert_lab.scoring.blocked.maxsim_blocked`, ``kernels`` for
            :func:`maxsim_kernels`.
        device: where the student computes.
        deterministic: whether a run has to give the same numbers again, ``trainer.deterministic``.

    Raises:
        InputError: another name, or the kernels cannot run here or not as wanted.
    """
    if name == "torch":
        return maxsim_blocked
    if name != "kernels":
        raise InputError(f"{KEY}={name}: must be torch or kernels")
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

    Their matrix products of float32 embeddings are of the GPU's tensor cores, in TF32 where it has them, which keeps 10
    bits of a fraction: expect the scores of :func:`~colbert_lab.scoring.blocked.maxsim_blocked` to about 2^-10, and ask
    ``task=certify``. Their deterministic backward pass rounds to float16, so the other one is taken.

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
