"""Which documents of a corpus a query's list holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from colbert_lab.errors import InputError
from colbert_lab.retrieval.exact import tie_ranks, top_k
from colbert_lab.teachers.scorer import Scorer, indexed
from colbert_lab.types import Corpus

PERMUTED = 1_000_000
"""Documents up to which random candidates are the first of a permutation of the corpus; a longer one takes seconds."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best documents of every retriever, and others at random, without repetition.

    They do not depend on a teacher, so that lists which differ in the teacher hold the same documents.

    Attributes:
        corpus: the documents.
        retrievers: name to scorer.
        top: documents taken from each retriever.
        random: documents drawn at random.
        seed: of the random documents.
    """

    corpus: Corpus
    retrievers: Mapping[str, Scorer]
    top: int
    random: int
    seed: int

    def check(self, key: str) -> None:
        """Check the numbers.

        Args:
            key: config key above ``top`` and ``random``, for errors.

        Raises:
            InputError: a number is below 0, a query could get fewer than 2 candidates (retrievers may agree), or
                more are asked for than the corpus holds.
        """
        for name, number in (("top", self.top), ("random", self.random)):
            if number < 0:
                raise InputError(f"{key}.{name}={number}: must not be below 0")
        if (self.top if self.retrievers else 0) + self.random < 2:
            raise InputError(
                f"{key}.top={self.top} and {key}.random={self.random} with {len(self.retrievers)} retrievers: a query "
                "could get fewer than 2 candidate documents"
            )
        wanted = self.top * len(self.retrievers) + self.random
        if wanted > len(self.corpus):
            raise InputError(
                f"{key}.top and {key}.random ask for up to {wanted} of only {len(self.corpus)} documents"
            )

    def choose(
        self, queries: Mapping[str, str], always: Mapping[str, Sequence[int]] | None = None
    ) -> list[np.ndarray]:
        """The lists of some queries, each in the order: ``always``, what the retrievers found, random others.

        Args:
            queries: query id to text; few enough to hold the scores of all documents for each.
            always: query id to rows of documents that its list must hold.

        Returns:
            For each query, rows of the corpus, int64; a query's list does not depend on the other queries.
        """
        texts = list(queries.values())
        indexes = [indexed(retriever, self.corpus) for retriever in self.retrievers.values()]
        found = [top_k(index.scores(texts), self._ties, self.top)[1].numpy() for index in indexes]
        lists = []
        for b, query in enumerate(queries):
            chosen = dict.fromkeys(always.get(query, ()) if always else ())
            chosen |= dict.fromkeys(int(row) for rows in found for row in rows[b])
            lists.append(np.array([*chosen, *self._others(query, chosen)], dtype=np.int64))
        return lists

    @cached_property
    def _ties(self) -> Tensor:
        return tie_ranks(list(self.corpus.ids))

    def _others(self, query: str, chosen: Mapping[int, None]) -> list[int]:
        """Random documents that are not chosen."""
        if self.random == 0:
            return []
        generator = query_generator(self.seed, query)
        size = len(self.corpus)
        if size <= PERMUTED:
            drawn = generator.permutation(size)
        else:
            drawn = generator.choice(size, size=self.random + len(chosen), replace=False)
        return [row for row in drawn.tolist() if row not in chosen][: self.random]


def query_generator(seed: int, query_id: str) -> np.random.Generator:
    """A generator that depends on the query alone, so adding queries changes no other list."""
    digest = hashlib.sha256(f"{seed}:{query_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
