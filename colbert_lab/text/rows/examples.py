"""Training data, row by row: a query with some of its documents, and the teacher's scores where there are any."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from colbert_lab.base.types import Corpus
from colbert_lab.text.fingerprint import text_keys
from colbert_lab.text.mapped import Chosen


@dataclass(frozen=True)
class Example:
    """A query with some of its documents: one row of a training batch.

    Attributes:
        query_id: id of the query, for messages.
        query: its text.
        document_ids: ids of the documents, for messages.
        documents: their texts; the positive (or the teacher's best) first.
        scores: raw teacher scores in the same order, float32; None without a teacher.
    """

    query_id: str
    query: str
    document_ids: Sequence[str]
    documents: Sequence[str]
    scores: np.ndarray | None


class Examples(Protocol):
    """Training data of one source, by row."""

    @property
    def name(self) -> str:
        """What messages and tables call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the content."""
        ...

    @property
    def fewest(self) -> int:
        """Documents of the shortest row, the positive included."""
        ...

    @property
    def scored(self) -> bool:
        """Whether rows have teacher scores."""
        ...

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def example(self, row: int, n_way: int, generator: np.random.Generator) -> Example:
        """A row with its positive and ``n_way - 1`` others, drawn without replacement."""
        ...

    def training_queries(self) -> Iterator[tuple[str, str]]:
        """Id and text of every query."""
        ...

    def query_keys(self) -> np.ndarray:
        """The key of the query's text (see :func:`colbert_lab.text.fingerprint.text_key`) of every pair, int64.

        A pair is a query and its positive; those of several rows may be told once.
        """
        ...

    def positive_texts(self, pairs: np.ndarray) -> Iterator[str]:
        """The positives of some pairs, by their numbers in :meth:`query_keys`."""
        ...

    def without(self, query_ids: Collection[str]) -> Examples:
        """The rows of all other queries."""
        ...


@dataclass(frozen=True)
class ScoredLists:
    """Teacher scores for candidate documents, the training data of distillation.

    Attributes:
        name: where they come from, for tables and logs.
        query_ids: one id a list.
        queries: the query texts, in the order of ``query_ids``.
        corpus: the documents that lists point into.
        documents: for each list, row numbers into ``corpus`` (int64 array of the list's length).
        scores: for each list, raw teacher scores (float32 array of the same length), in the same order.
        fingerprint: hash of everything above.
        details: provenance (teacher, counts, settings).
        draw: how documents of a list are chosen beside the positive.
        positive: which document of a list is the positive: the teacher's best, or the first one.
    """

    name: str
    query_ids: Sequence[str]
    queries: Sequence[str]
    corpus: Corpus
    documents: Sequence[np.ndarray]
    scores: Sequence[np.ndarray]
    fingerprint: str
    details: Mapping[str, Any] = field(default_factory=dict)
    draw: Literal["sample", "order"] = "sample"
    positive: Literal["best", "first"] = "best"

    def __len__(self) -> int:
        """Number of lists."""
        return len(self.query_ids)

    @cached_property
    def fewest(self) -> int:
        """Documents of the shortest list."""
        return min(map(len, self.documents))

    @property
    def scored(self) -> bool:
        """Lists always have scores."""
        return True

    def example(self, row: int, n_way: int, generator: np.random.Generator) -> Example:
        """The positive document of a list, and others, see :meth:`pick`."""
        scores = self.scores[row]
        pick = self.pick(scores, n_way, generator)
        rows = self.documents[row][pick].tolist()
        return Example(
            self.query_ids[row],
            self.queries[row],
            [self.corpus.ids[n] for n in rows],
            [self.corpus.texts[n] for n in rows],
            scores[pick],
        )

    def pick(self, scores: np.ndarray, n_way: int, generator: np.random.Generator) -> list[int]:
        """Places in a list: the positive, and a random draw of others, or the first ones in the list's order.

        Stored lists are often sorted by score, so taking the first n shows near-positives only.
        """
        positive = self._positive(scores)
        others = [n for n in range(len(scores)) if n != positive]
        if self.draw == "order":
            return [positive, *others[: n_way - 1]]
        return [positive, *generator.choice(others, size=n_way - 1, replace=False).tolist()]

    @property
    def ids_fingerprint(self) -> str:
        """Ids are a part of the content."""
        return self.fingerprint

    def training_queries(self) -> Iterator[tuple[str, str]]:
        """Id and text of every query."""
        return iter(zip(self.query_ids, self.queries, strict=True))

    def _positive(self, scores: np.ndarray) -> int:
        return int(scores.argmax()) if self.positive == "best" else 0

    def query_keys(self) -> np.ndarray:
        """A pair is a list."""
        return text_keys(self.queries)

    def positive_texts(self, pairs: np.ndarray) -> Iterator[str]:
        """The positive of each list."""
        for row in pairs.tolist():
            yield self.corpus.texts[int(self.documents[row][self._positive(self.scores[row])])]

    def without(self, query_ids: Collection[str]) -> ScoredLists:
        """The lists of all other queries; the fingerprint tells what was left out."""
        names = enumerate(self.query_ids)
        kept = np.array([row for row, query_id in names if query_id not in query_ids], dtype=np.int64)
        digest = hashlib.sha256("\n".join([self.fingerprint, *sorted(query_ids)]).encode()).hexdigest()
        return replace(
            self,
            query_ids=Chosen(self.query_ids, kept),
            queries=Chosen(self.queries, kept),
            documents=Chosen(self.documents, kept),
            scores=Chosen(self.scores, kept),
            fingerprint=digest[:16],
        )
