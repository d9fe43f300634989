"""One way to read the texts of any training source, row by row or as hashes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from colbert_lab.text.fingerprint import normalised, text_hash
from colbert_lab.text.rows.checking import BLOCK, DOCUMENT, ID, NEGATIVE, QUERY
from colbert_lab.text.rows.examples import Examples, ScoredLists
from colbert_lab.text.rows.triples import Triples


@dataclass(frozen=True)
class Row:
    """One row of training data.

    Attributes:
        query_id: id of the query, or the row's number where the data has none.
        query: its text.
        documents: ids and texts; the positive (or the teacher's best) first.
    """

    query_id: str
    query: str
    documents: list[tuple[str, str]]


@dataclass(frozen=True)
class Hashes:
    """Hashes of the texts of a source; equal texts have equal ones.

    Attributes:
        query_ids: a hash of the id of each of N rows, uint64.
        queries: hash of each row's query, uint64 [N].
        documents: hash of each stored document, uint64 [M].
        members: rows of ``documents`` that the rows hold, end to end, each row's positive first, int64.
        ends: where in ``members`` each row ends, int64 [N].
        query_id: from a row's number to the id of its query.
        document_id: from a row of ``documents`` to an id.
    """

    query_ids: np.ndarray
    queries: np.ndarray
    documents: np.ndarray
    members: np.ndarray
    ends: np.ndarray
    query_id: Callable[[int], str]
    document_id: Callable[[int], str]


@dataclass(frozen=True)
class TrainingText(ABC):
    """The texts of one source.

    Attributes:
        source: its rows.
    """

    source: Examples

    @property
    def name(self) -> str:
        """What tables call the source."""
        return self.source.name

    def __len__(self) -> int:
        """Number of rows that are used."""
        return len(self.source)

    def queries(self) -> Iterator[tuple[str, str]]:
        """Id and text of every row's query, as training reads them."""
        return self.source.training_queries()

    @abstractmethod
    def widths(self) -> np.ndarray:
        """Documents of each row, int64."""

    @abstractmethod
    def rows(self, numbers: np.ndarray | None = None) -> Iterator[Row]:
        """The rows of these ascending numbers; None for all."""

    @abstractmethod
    def documents(self) -> Iterator[tuple[str, str]]:
        """Id and text of every document: each once where rows point into a corpus, else as often as it occurs."""

    @abstractmethod
    def n_documents(self) -> int:
        """How many ``documents`` gives."""

    @abstractmethod
    def hashes(self) -> Hashes:
        """Every text hashed; 8 bytes each are kept."""


def training_text(source: Examples) -> TrainingText:
    """The texts of a source.

    Args:
        source: pairs, triples or score lists.
    """
    if isinstance(source, Triples):
        return TripleText(source)
    if isinstance(source, ScoredLists):
        return ListText(source)
    raise TypeError(f"no reader for {type(source).__name__}")


def draw(size: int, most: int | None, *entropy: int) -> np.ndarray | None:
    """Numbers below ``size``, ascending and without repetition; None when all are wanted.

    Args:
        size: how many there are.
        most: how many to draw; None for all.
        entropy: what the draw depends on, such as the seed.
    """
    if most is None or most >= size:
        return None
    return np.sort(np.random.default_rng(list(entropy)).choice(size, size=most, replace=False))


@dataclass(frozen=True)
class TripleText(TrainingText):
    """Pairs and triples: a row holds its own texts."""

    source: Triples

    def widths(self) -> np.ndarray:
        """The positive and as many negatives as are drawn from."""
        return np.full(len(self), self.source.fewest, dtype=np.int64)

    def rows(self, numbers: np.ndarray | None = None) -> Iterator[Row]:
        """Rows, read in blocks; a document is called by the row's number in the data, counted from 0."""
        source = self.source
        places = np.delete(np.arange(len(source.table)), source.dropped)
        table = source.table
        wanted = [QUERY, DOCUMENT, *([NEGATIVE] if source.negatives else [])]
        wanted += [ID] if ID in table.column_names else []
        table = table.select_columns(wanted)
        if numbers is not None:
            places = places[numbers]
        if len(places) < len(table):
            table = table.select(places)
        start = 0
        for block in table.iter(batch_size=BLOCK):
            for n, query in enumerate(block[QUERY]):
                place = int(places[start + n])
                texts = [(f"row {place}", block[DOCUMENT][n])]
                if source.negatives:
                    negatives = block[NEGATIVE][n][: source.negatives]
                    texts += [(f"row {place} negative {k}", text) for k, text in enumerate(negatives, 1)]
                yield Row(str(block[ID][n] if ID in block else place), query, texts)
            start += len(block[QUERY])

    def documents(self) -> Iterator[tuple[str, str]]:
        """Every document of every row."""
        return (document for row in self.rows() for document in row.documents)

    def n_documents(self) -> int:
        """The positive and the negatives of every row."""
        return len(self) * self.source.fewest

    def hashes(self) -> Hashes:
        """Every text of every row."""
        ids, queries, documents, ends = array("Q"), array("Q"), array("Q"), array("q")
        for row in self.rows():
            ids.append(text_hash(row.query_id))
            queries.append(_normal_hash(row.query))
            documents.extend(_normal_hash(text) for _, text in row.documents)
            ends.append(len(documents))

        def row_of(number: int) -> Row:
            return next(self.rows(np.array([number])))

        def document_id(position: int) -> str:
            number = int(np.searchsorted(last, position, side="right"))
            return row_of(number).documents[position - (int(last[number - 1]) if number else 0)][0]

        last = _numpy(ends)

        def query_id(number: int) -> str:
            return row_of(number).query_id

        of_ids, of_queries, of_documents = map(_numpy, (ids, queries, documents))
        members = np.arange(len(documents))
        return Hashes(of_ids, of_queries, of_documents, members, last, query_id, document_id)


@dataclass(frozen=True)
class ListText(TrainingText):
    """Score lists: rows point into a corpus, of which only the documents that occur in a list are training text."""

    source: ScoredLists

    def widths(self) -> np.ndarray:
        """Length of each list."""
        return np.fromiter(map(len, self.source.documents), dtype=np.int64, count=len(self))

    @cached_property
    def used(self) -> np.ndarray:
        """Rows of the corpus that occur in a list, ascending."""
        seen = np.zeros(len(self.source.corpus), dtype=bool)
        for rows in self.source.documents:
            seen[rows] = True
        return np.flatnonzero(seen)

    def rows(self, numbers: np.ndarray | None = None) -> Iterator[Row]:
        """Lists with the teacher's best document first."""
        source, corpus = self.source, self.source.corpus
        for n in range(len(source)) if numbers is None else numbers.tolist():
            documents = [(corpus.ids[row], corpus.texts[row]) for row in self._best_first(n).tolist()]
            yield Row(source.query_ids[n], source.queries[n], documents)

    def documents(self) -> Iterator[tuple[str, str]]:
        """Every document that occurs in a list, once."""
        corpus = self.source.corpus
        return ((corpus.ids[row], corpus.texts[row]) for row in self.used.tolist())

    def n_documents(self) -> int:
        """Those that occur in a list."""
        return len(self.used)

    def hashes(self) -> Hashes:
        """Every query, and every used document once."""
        source = self.source
        widths = self.widths()
        members = np.empty(int(widths.sum()), dtype=np.int64)
        ends = np.cumsum(widths)
        for n, end in enumerate(ends.tolist()):
            members[end - int(widths[n]) : end] = np.searchsorted(self.used, self._best_first(n))
        return Hashes(
            _hashed(source.query_ids, len(self), text_hash),
            _hashed(source.queries, len(self), _normal_hash),
            _hashed((text for _, text in self.documents()), len(self.used), _normal_hash),
            members,
            ends,
            lambda number: source.query_ids[number],
            lambda position: source.corpus.ids[int(self.used[position])],
        )

    def _best_first(self, number: int) -> np.ndarray:
        rows = np.asarray(self.source.documents[number])
        best = int(np.asarray(self.source.scores[number]).argmax())
        return np.concatenate([rows[best : best + 1], np.delete(rows, best)])


def _normal_hash(text: str) -> int:
    return text_hash(normalised(text))


def _hashed(texts: Iterator[str] | Sequence[str], count: int, hash_of: Callable[[str], int]) -> np.ndarray:
    return np.fromiter(map(hash_of, texts), dtype=np.uint64, count=count)


def _numpy(values: array[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint64 if values.typecode == "Q" else np.int64)
