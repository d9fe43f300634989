"""Token pooling: fewer vectors a document, each the mean of tokens that are close to one another.

Clavie, Chaffin & Adams 2024, "Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via
Token Pooling", arXiv 2409.14683: the hierarchical variant. Applied to documents after encoding; queries stay whole.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.cluster import hierarchy
from torch import Tensor
from tqdm.auto import tqdm

from colbert_lab.errors import InputError
from colbert_lab.types import PackedEmbeddings


def pool(
    documents: PackedEmbeddings, factor: int, protected: int = 1, progress: str | None = None
) -> PackedEmbeddings:
    """Pool the tokens of each document to about one in ``factor``.

    The first ``protected`` scoring tokens stay as they are. The n others are clustered by Ward linkage, with the cosine
    distance (1 - cosine) in the place of Ward's Euclidean one, into max(1, n // factor) clusters (rounded down; n
    is counted without the protected tokens, as PyLate 1.6 does), and each cluster becomes its mean. Equal distances can
    leave fewer clusters. Pooled tokens come after the protected ones, in the order of scipy's cluster numbers.

    Unlike PyLate 1.6, which keeps the means as they are, means are scaled to unit length, so that a similarity stays
    a cosine (a mean of zero, of opposite tokens, stays zero). Distances are taken in float64, PyLate's in float32. Time
    and memory are quadratic in the tokens of one document.

    Args:
        documents: N packed documents of unit-length tokens, each with at least one token.
        factor: tokens a pooled token; 1 changes nothing.
        protected: tokens kept at the start of each document, such as the marker.
        progress: title of a progress bar; None shows none.

    Returns:
        N packed documents, float32 on the CPU; ``documents`` itself for factor 1.

    Raises:
        InputError: ``factor`` is below 1 or ``protected`` below 0.
    """
    for key, value, least in (("factor", factor, 1), ("protected", protected, 0)):
        if value < least:
            raise InputError(
                f"evaluation.pool_{key} is {value}: set it to a whole number of at least {least}"
            )
    if factor == 1:
        return documents
    pooled = []
    texts = documents.emb_TD.cpu().float().split(documents.lengths_N.tolist())
    for emb_LD in tqdm(texts, desc=progress, unit="doc", disable=None if progress else True):
        pooled.append(torch.cat([emb_LD[:protected], _pooled(emb_LD[protected:], factor)]))
    return PackedEmbeddings(torch.cat(pooled), torch.tensor([len(text) for text in pooled]))


def _pooled(emb_LD: Tensor, factor: int) -> Tensor:
    """Unit-length means [clusters, D] of a document's tokens that are not protected."""
    n = len(emb_LD)
    clusters = max(1, n // factor)
    if n <= clusters:
        return emb_LD
    unit_LD = torch.nn.functional.normalize(emb_LD.double(), dim=-1)
    distance_LL = (1 - unit_LD @ unit_LD.T).clamp(min=0).numpy()
    linkage = hierarchy.linkage(distance_LL[np.triu_indices(n, k=1)], method="ward")
    labels = hierarchy.fcluster(linkage, t=clusters, criterion="maxclust")
    _, of_token, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(sizes), emb_LD.shape[1], dtype=torch.float64)
    sums.index_add_(0, torch.from_numpy(of_token), emb_LD.double())
    means = torch.nn.functional.normalize(sums / torch.from_numpy(sizes)[:, None], dim=-1)
    return means.float()
