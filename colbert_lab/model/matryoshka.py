"""Prefixes of embeddings that are embeddings themselves (Matryoshka, Kusupati et al. 2022, arXiv 2205.13147).

A student that is trained at several dimensions can be cut after it is trained: the first d values of every token's
embedding, scaled to unit length, are what a student with a head of d dimensions would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, PackedEmbeddings

KEY = "student.matryoshka"


def check_dims(dims: Sequence[int], dim: int, key: str = KEY) -> tuple[int, ...]:
    """The dimensions that a student is trained at.

    Args:
        dims: numbers of first dimensions.
        dim: of the student's embeddings.
        key: to name in errors.

    Raises:
        InputError: there are none, one is below 1 or more than the student has, or they do not rise.
    """
    told = f"{key}={list(dims)}"
    if not dims:
        raise InputError(f"{told}: holds nothing; name one number of dimensions at least, or set it to null")
    if any(isinstance(each, bool) or not isinstance(each, int) or each < 1 for each in dims):
        raise InputError(f"{told}: must be whole numbers, at least 1")
    if any(after <= before for before, after in pairwise(dims)):
        raise InputError(f"{told}: must rise from each number to the next, none twice")
    if dims[-1] > dim:
        raise InputError(f"{told}: the student has {dim} dimensions; name no more")
    return tuple(dims)


def unit_prefix(emb: Tensor, dim: int) -> Tensor:
    """The first dimensions of embeddings, scaled to unit length.

    Args:
        emb: unit-length embeddings [..., D].
        dim: d, of 1 to D.

    Returns:
        [..., d]; ``emb`` itself where d is D, so that no bit of it changes.
    """
    return emb if dim == emb.shape[-1] else F.normalize(emb[..., :dim], dim=-1)


def prefix(embeddings: Embeddings, dim: int) -> Embeddings:
    """A padded batch with :func:`unit_prefix` of its embeddings."""
    return replace(embeddings, emb_NLD=unit_prefix(embeddings.emb_NLD, dim))


def packed_prefix(embeddings: PackedEmbeddings, dim: int) -> PackedEmbeddings:
    """Packed texts with :func:`unit_prefix` of their embeddings."""
    return replace(embeddings, emb_TD=unit_prefix(embeddings.emb_TD, dim))
