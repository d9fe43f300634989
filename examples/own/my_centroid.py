"""A search mode: documents whose mean token is near the query's, then MaxSim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.search.corpus import in_row_order
from colbert_lab.search.exact import rerank
from colbert_lab.search.mode import Searchable, SearchMode
from colbert_lab.settings.allowed import whole


def means(texts: PackedEmbeddings) -> Tensor:
    """The mean token embedding of each text, [texts, dim]."""
    return torch.stack([part.mean(dim=0) for part in texts.emb_TD.split(texts.lengths_N.tolist())])


@dataclass(frozen=True, kw_only=True)
class Centroid(SearchMode):
    """One vector a document finds candidates, MaxSim orders them.

    Args:
        keep: candidates a query.
    """

    keep: int = whole(1, default=10)
    stored: ClassVar[bool] = True

    def index(self, corpus: Searchable) -> Means:
        """One vector a document, from the shards as they are stored."""
        store = corpus.store
        vectors = in_row_order(store, [means(store.packed(shard)) for shard in store.shards])
        return Means(corpus, vectors, self.keep)


@dataclass
class Means:
    """A corpus that can be searched."""

    corpus: Searchable
    vectors: Tensor
    keep: int

    @property
    def nbytes(self) -> int:
        """Size of the index beside the stored embeddings."""
        return self.vectors.nbytes

    def search(self, queries: PackedEmbeddings, k: int) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Scores and rows of the best documents of each query."""
        near = (means(queries) @ self.vectors.T).topk(min(self.keep, len(self.vectors))).indices
        return rerank(queries, self.corpus.store, list(near), self.corpus.ties_C, k)
