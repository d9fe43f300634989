"""XTR's inference (Lee et al. 2023, arXiv 2304.01982, section 3): documents by the tokens that were retrieved.

Each query token retrieves the k' nearest of all document tokens of the corpus, here exactly. A document of which a
token was retrieved is a candidate. With s(i, d) its largest similarity with query token i, and m(i) that of the k'-th
token that i retrieved,

    score(q, d) = sum over query tokens i of  s(i, d) where one of its tokens was retrieved, and m(i) where none was

which is the sum of max(s(i, d), m(i)): what is missing is known to be m(i) at most. One pass over the corpus finds m,
and another one scores as exact search does. The paper divides by the number of query tokens, as
``student.score=mean_maxsim`` does; without it the score stands in for MaxSim, and is equal to it where k' is the number
of all tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.model.devices import room_for, upload
from colbert_lab.search.exact import BLOCKS, document_blocks, search
from colbert_lab.search.store import TokenStore

HELD_VALUES = 2**25
"""Float32 similarities of retrieved tokens that are held at once, 128 MiB, and as many again while they are sorted:
together no more than the least ``evaluation.memory``. On a GPU it is a sixteenth of its memory."""


def search_retrieved(
    queries: PackedEmbeddings,
    store: TokenStore,
    ties_C: Tensor,
    k: int,
    tokens: int,
    *,
    device: torch.device | None = None,
    progress: str | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """The k best candidates of every query.

    All tokens as near as the k'-th, up to what products round, are retrieved, so that no order of the corpus decides.
    Memory beyond that of exact search is :data:`HELD_VALUES`; with more query tokens than that allows, the corpus is
    read again for the others.

    Args:
        queries: B packed queries.
        store: the documents; each has at least one token.
        ties_C: see :func:`colbert_lab.search.exact.tie_ranks`.
        k: how many documents to keep a query.
        tokens: k', document tokens that a query token retrieves; where there are fewer, it retrieves all.
        device: where to compute; None takes the queries'.
        progress: title of progress bars; None shows none.

    Returns:
        For each query, float32 scores and document rows on the CPU, best first: fewer than k where it has fewer
        candidates.
    """
    device = device or queries.emb_TD.device
    least_T = None
    if tokens < store.n_tokens:
        title = progress and f"{progress}, tokens"
        least_T = nearest_similarities(queries.emb_TD, store, tokens, device, title)
    scores, rows = search(queries, store, ties_C, k, device=device, progress=progress, least_T=least_T)
    found = [each > -torch.inf for each in scores]
    return (
        [each[there] for each, there in zip(scores, found, strict=True)],
        [each[there] for each, there in zip(rows, found, strict=True)],
    )


def nearest_similarities(
    query_TD: Tensor, store: TokenStore, k: int, device: torch.device, progress: str | None = None
) -> Tensor:
    """The k-th largest similarity of each query token with the tokens of all documents.

    Args:
        query_TD: the tokens.
        store: the documents, of k tokens together at least.
        k: at least 1.
        device: where to compute.
        progress: title of a progress bar; None shows none.

    Returns:
        float32 [T], on ``device``.
    """
    values, query_tokens = BLOCKS["cpu" if device.type == "cpu" else "cuda"]
    wide = values // query_tokens
    held = room_for(device, HELD_VALUES, 1 / 16, size=4)
    groups = upload(query_TD, device).split(max(1, held // (2 * k + wide)))
    found = []
    total = len(groups) * len(store)
    with progress_bar(total=total, desc=progress, unit="doc", unit_scale=True, disable=not progress) as bar:
        for group in groups:
            parts = [_Nearest(part, k) for part in group.split(query_tokens)]
            for shard in store.shards:
                for block in document_blocks(shard.lengths_C.tolist(), wide):
                    emb_TD = upload(store.read(shard, block.start, block.stop), device)
                    for part in parts:
                        part.see(emb_TD)
                    bar.update(block.stop - block.start)
            found += [part.least() for part in parts]
    return torch.cat(found)


class _Nearest:
    """The k largest similarities of some query tokens with what they have seen, sorted out when k more were seen."""

    def __init__(self, query_TD: Tensor, k: int) -> None:
        self.query_TD = query_TD
        self.k = k
        self.held = [query_TD.new_empty(len(query_TD), 0)]

    def see(self, emb_TD: Tensor) -> None:
        self.held.append(self.query_TD @ emb_TD.T)
        if sum(each.shape[1] for each in self.held) >= 2 * self.k:
            self._sort()

    def _sort(self) -> None:
        held_TN = torch.cat(self.held, dim=1)
        self.held = [held_TN.topk(min(self.k, held_TN.shape[1]), dim=1, sorted=False).values]

    def least(self) -> Tensor:
        self._sort()
        return self.held[0].amin(dim=1)
