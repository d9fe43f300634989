"""Token pooling: fewer vectors a document, each the mean of tokens that are close to one another.

Clavie, Chaffin & Adams 2024, "Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via
Token Pooling", arXiv 2409.14683, the hierarchical variant. Queries stay whole. Evaluation pools what was encoded
(``evaluation.pool_factor``) and training what it scores (``phases.X.token_pooling``), both by this code.

Means are scaled to unit length, so that a similarity stays a cosine (a mean of zero, of opposite tokens, stays zero).
PyLate 1.6 keeps them as they are; sentence-transformers 6.2 scales all tokens. Distances and means are taken in
float64, theirs in float32.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.cluster import hierarchy
from torch import Tensor

from colbert_lab.base.types import Embeddings, PackedEmbeddings


def clusters_of(emb_LD: Tensor, factor: int) -> np.ndarray:
    """The cluster of each of a document's tokens, from 0 on without a gap, in the order of scipy's numbers.

    Ward linkage, with the cosine distance (1 - cosine) in the place of Ward's Euclidean one, cut into
    max(1, L // factor) clusters. Equal distances can leave fewer. Time and memory are quadratic in L.

    Args:
        emb_LD: tokens on the CPU, float64.
        factor: tokens a cluster.

    Returns:
        int64 [L]. Tokens that are not all finite are one cluster, whose mean is not finite either.
    """
    n = len(emb_LD)
    clusters = max(1, n // factor)
    if n <= clusters:
        return np.arange(n)
    if not bool(emb_LD.isfinite().all()):
        return np.zeros(n, dtype=np.int64)
    unit_LD = F.normalize(emb_LD, dim=-1)
    distance_LL = (1 - unit_LD @ unit_LD.T).clamp(min=0).numpy()
    linkage = hierarchy.linkage(distance_LL[np.triu_indices(n, k=1)], method="ward")
    labels = hierarchy.fcluster(linkage, t=clusters, criterion="maxclust")
    return np.asarray(np.unique(labels, return_inverse=True)[1])


def pooled(documents: PackedEmbeddings, factor: int, protected: int) -> PackedEmbeddings:
    """Pool the tokens of each document to about one in ``factor``.

    The first ``protected`` tokens stay as they are, and of the others, which are counted without them, each cluster
    (:func:`clusters_of`) becomes its mean at unit length, after the protected ones. Where there are no fewer clusters
    than tokens, all stay as they are. Gradients flow through the means; which tokens are together is a constant.

    Args:
        documents: N packed documents of unit-length tokens, each with at least one token.
        factor: tokens a pooled token, at least 1.
        protected: tokens kept at the start of each document, such as the marker; 0 for none.

    Returns:
        N packed documents of the same type on the same device.
    """
    texts = documents.emb_TD.detach().cpu().double().split(documents.lengths_N.tolist())
    rows, alone, lengths, start = [], [], [], 0
    for emb_LD in texts:
        kept = min(protected, len(emb_LD))
        of_token = np.concatenate([np.arange(kept), kept + clusters_of(emb_LD[kept:], factor)])
        length = int(of_token.max()) + 1
        rows.append(start + of_token)
        whole = length == len(emb_LD)
        alone.append(np.arange(length) < (length if whole else kept))
        lengths.append(length)
        start += length
    device = documents.emb_TD.device
    where = torch.device("cpu") if device.type == "mps" else device  # which has no float64
    rows_T = torch.from_numpy(np.concatenate(rows)).to(where)
    alone_C1 = torch.from_numpy(np.concatenate(alone)).to(where).unsqueeze(1)
    emb_TD = documents.emb_TD.to(where).double()
    sums_CD = emb_TD.new_zeros(start, emb_TD.shape[1]).index_add(0, rows_T, emb_TD)
    sizes_C1 = torch.bincount(rows_T, minlength=start).unsqueeze(1)
    emb_CD = torch.where(alone_C1, sums_CD, F.normalize(sums_CD / sizes_C1, dim=-1))
    lengths_N = torch.tensor(lengths, device=documents.lengths_N.device)
    return PackedEmbeddings(emb_CD.to(documents.emb_TD.dtype).to(device), lengths_N)


def pooled_chunk(documents: Embeddings, factor: int, protected: int) -> Embeddings:
    """A padded batch of documents with the tokens that score pooled, see :func:`pooled`.

    Args:
        documents: embeddings [N, L, D], each with at least one token that scores.
        factor: see :func:`pooled`; 1 changes nothing.
        protected: first tokens that score to leave alone.

    Returns:
        Embeddings [N, W, D], where W is the most that a document has left; ``documents`` itself for factor 1.
    """
    if factor == 1:
        return documents
    mask_NL = documents.mask_NL
    packed = pooled(PackedEmbeddings(documents.emb_NLD[mask_NL], mask_NL.sum(dim=1)), factor, protected)
    width = int(packed.lengths_N.max())
    mask_NW = torch.arange(width, device=mask_NL.device) < packed.lengths_N.unsqueeze(1)
    empty_TD = packed.emb_TD.new_zeros(mask_NW.numel(), packed.emb_TD.shape[1])
    filled_TD = empty_TD.index_copy(0, mask_NW.flatten().nonzero().flatten(), packed.emb_TD)
    return Embeddings(filled_TD.view(*mask_NW.shape, -1), mask_NW)
