"""BM25 through bm25s (Lù 2024), with the Snowball English stemmer and English stop words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus
from colbert_lab.settings.allowed import number


@dataclass(frozen=True)
class BM25:
    """Lucene's BM25.

    Attributes:
        k1: term frequency saturation; 0.9, as Anserini uses for BEIR and MS MARCO.
        b: length normalisation; 0.4, likewise.
    """

    k1: float = number(0, default=0.9)
    b: float = number(0, 1, default=0.4)
    system: ClassVar[str] = "bm25"

    @property
    def name(self) -> str:
        """What a table calls it."""
        return f"BM25 (k1={self.k1:g}, b={self.b:g})"

    def index(self, corpus: Corpus) -> BM25Index:
        """Index the corpus in memory.

        Raises:
            InputError: no document has a term.
        """
        import bm25s

        terms = _tokenize(list(corpus.texts))
        if not terms.vocab:
            raise InputError(
                "bm25: the documents have no term to search by, only stop words and punctuation; leave bm25 out"
            )
        retriever = bm25s.BM25(method="lucene", k1=self.k1, b=self.b)
        retriever.index(terms, show_progress=False)
        return BM25Index(retriever, len(corpus))


@dataclass(frozen=True, eq=False)
class BM25Index:
    """An indexed corpus.

    Attributes:
        retriever: the bm25s index.
        n_documents: documents in the corpus.
    """

    retriever: Any
    n_documents: int

    def scores(self, queries: Sequence[str]) -> Tensor:
        """BM25 of all documents: float32 [B, C]; zeros for a query without a known term."""
        return self.hits(queries)[0]

    def hits(self, queries: Sequence[str]) -> tuple[Tensor, Tensor]:
        """BM25 of all documents, and True for those with a term of the query, whose BM25 is above 0 (Lucene's is)."""
        scores_BC = np.zeros((len(queries), self.n_documents), dtype=np.float32)
        for row, terms in enumerate(_tokenize(list(queries), return_ids=False)):
            known = [term for term in terms if term in self.retriever.vocab_dict]
            if known:
                scores_BC[row] = self.retriever.get_scores(known)
        found = torch.from_numpy(scores_BC)
        return found, found > 0


def _tokenize(texts: list[str], return_ids: bool = True) -> Any:
    import bm25s
    import Stemmer

    return bm25s.tokenize(
        texts, stopwords="en", stemmer=Stemmer.Stemmer("english"), return_ids=return_ids, show_progress=False
    )
