"""Which documents of a corpus a query's list holds."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus
from colbert_lab.search.exact import tie_ranks
from colbert_lab.teachers.scorer import Scorer, hits, indexed, told_of, top_hits
from colbert_lab.text.fingerprint import normalised

log = logging.getLogger(__name__)
PERMUTED = 1_000_000
"""Documents up to which random candidates are the first of a permutation of the corpus; a longer one takes seconds."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best documents of every retriever, and others at random, without repetition.

    A retriever that finds fewer than ``top`` leaves its places to random documents, so that a list is never shorter
    than ``top`` and ``random`` together. A document that is the query's own text is found by none.

    They do not depend on a teacher, so that lists which differ in the teacher hold the same documents.

    Attributes:
        corpus: the documents.
        retrievers: name to scorer.
        top: documents taken from each retriever.
        random: documents drawn at random.
        seed: of the random documents.
        key: config key above ``top``, ``random`` and ``retrievers``, for errors.
        few: for each retriever, how many queries it found fewer documents for, so far.
    """

    corpus: Corpus
    retrievers: Mapping[str, Scorer]
    top: int
    random: int
    seed: int
    key: str = "data"
    few: Counter[str] = field(default_factory=Counter)

    def check(self) -> None:
        """Check the numbers.

        Raises:
            InputError: a query could get fewer than 2 candidates (retrievers may agree), or more are asked for than the
                corpus holds.
        """
        key = self.key
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
        self,
        queries: Mapping[str, str],
        always: Mapping[str, Sequence[int]] | None = None,
        never: Mapping[str, Collection[int]] | None = None,
    ) -> list[np.ndarray]:
        """The lists of some queries, each in the order: ``always``, what the retrievers found, random others.

        Args:
            queries: query id to text; few enough to hold the scores of all documents for each.
            always: query id to rows of documents that its list must hold.
            never: query id to rows of documents that its list must not hold.

        Returns:
            For each query, rows of the corpus, int64; a query's list does not depend on the other queries.
        """
        texts = list(queries.values())
        always, never = always or {}, never or {}
        depth = self.top + 1 + max((len(never.get(query, ())) for query in queries), default=0)
        found = {}
        for name, retriever in self.retrievers.items():
            with told_of(f"{self.key}.retrievers.{name}"):
                found[name] = top_hits(*hits(indexed(retriever, self.corpus), texts), self._ties, depth)
        lists = []
        for b, (query, text) in enumerate(queries.items()):
            chosen = dict.fromkeys(always.get(query, ()))
            asked, out, lacking = normalised(text), set(never.get(query, ())), 0
            for name, of_retriever in found.items():
                rows = [row for row in of_retriever[b][1].tolist() if row not in out]
                rows = [row for row in rows if normalised(self.corpus.texts[row]) != asked][: self.top]
                chosen |= dict.fromkeys(rows)
                if len(rows) < self.top:
                    self.few[name] += 1
                    lacking = max(lacking, self.top - len(rows))
            lists.append(np.array([*chosen, *self._others(query, chosen, out, lacking)], dtype=np.int64))
        return lists

    def tell(self, few: Mapping[str, int], n_queries: int) -> None:
        """Say which retrievers found fewer than ``top`` documents.

        Args:
            few: retriever to queries, as in :attr:`few`.
            n_queries: of how many.
        """
        for name, count in few.items():
            log.warning(
                "%s finds fewer than %d documents for %d of %d queries, as no more have a word of theirs; random "
                "documents are in their places", name, self.top, count, n_queries,
            )  # fmt: skip

    @cached_property
    def _ties(self) -> Tensor:
        return tie_ranks(list(self.corpus.ids))

    def _others(
        self, query: str, chosen: Mapping[int, None], out: Collection[int], lacking: int
    ) -> list[int]:
        """Random documents that are not chosen, and as many more as a retriever lacks."""
        wanted = self.random + lacking
        if wanted == 0:
            return []
        generator = query_generator(self.seed, query)
        size = len(self.corpus)
        if size <= PERMUTED:
            drawn = generator.permutation(size)
        else:
            drawn = generator.choice(size, size=wanted + len(chosen) + len(out), replace=False)
        return [row for row in drawn.tolist() if row not in chosen and row not in out][:wanted]


def query_generator(seed: int, query_id: str) -> np.random.Generator:
    """A generator that depends on the query alone, so adding queries changes no other list."""
    digest = hashlib.sha256(f"{seed}:{query_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
