"""A folder of teacher scores: its parts while it is made, and what is in it when it is whole.

That is the layout of :func:`colbert_lab.text.scored_lists.write_scored_lists`, and ``teacher.json``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from colbert_lab.atomic import write_text
from colbert_lab.errors import InputError, some_ids
from colbert_lab.parts import UnfinishedFolder
from colbert_lab.teachers.list_scorer import PairScorer, score_lists
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.teachers.to_score import ToScore
from colbert_lab.text.collection import build_corpus
from colbert_lab.text.examples import ScoredLists
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays
from colbert_lab.text.scored_lists import write_scored_lists
from colbert_lab.types import Corpus

FACTS = "teacher.json"
SECONDS = b"seconds"


@dataclass(frozen=True, eq=False)
class Parts:
    """The queries in parts that are scored one by one, so that scores do not depend on which are missing.

    Attributes:
        folder: where they go.
        source: queries and documents.
        teacher: what scores them.
        size: queries of a part.
    """

    folder: UnfinishedFolder
    source: ToScore
    teacher: Scorer | PairScorer
    size: int

    def queries(self, part: int) -> range:
        """The queries of a part."""
        return range(part * self.size, min((part + 1) * self.size, len(self.source)))

    def write(self, part: int, advance: Callable[[int], Any]) -> None:
        """Score one part into its file.

        Args:
            part: its number.
            advance: told of queries that are done.

        Raises:
            InputError: a score is no finite number.
        """
        start = time.perf_counter()
        numbers, source = self.queries(part), self.source
        rows = source.rows(numbers)
        ids = [source.query_ids[n] for n in numbers]
        scores: list[np.ndarray] = []
        for values in score_lists(self.teacher, source.corpus, [source.queries[n] for n in numbers], rows):
            scores.append(values)
            advance(1)
        bad = [query for query, values in zip(ids, scores, strict=True) if not np.isfinite(values).all()]
        if bad:
            raise InputError(
                f"score.teacher: {self.teacher.name} gives NaN or infinite scores for queries {some_ids(bad)}; a "
                "precision of 32-true may help; what is scored already stays"
            )
        table = pa.table({"query": pa.array(numbers, pa.int64()), "rows": rows, "scores": scores})
        metadata = {SECONDS: str(time.perf_counter() - start).encode()}
        self.folder.write(part, table.replace_schema_metadata(metadata))

    def joined(self) -> tuple[ScoredLists, float]:
        """All lists, with the documents that they name, and the seconds of scoring."""
        rows: list[np.ndarray] = []
        scores: list[np.ndarray] = []
        seconds = 0.0
        for table in self.folder.read():
            seconds += float(table.schema.metadata[SECONDS])
            rows += _arrays(table["rows"])
            scores += _arrays(table["scores"])
        source = self.source
        return with_named_documents(
            source.name, source.query_ids, source.queries, source.corpus, rows, scores
        ), seconds


def part_count(queries: int, size: int) -> int:
    """How many parts of ``size`` queries there are."""
    return -(-queries // size)


def write_scores(path: Path, lists: ScoredLists, facts: Mapping[str, Any]) -> None:
    """Write the content of a finished folder.

    Args:
        path: the folder to make.
        lists: what to write.
        facts: for ``teacher.json``.
    """
    write_scored_lists(lists, path)
    write_text(path / FACTS, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def with_named_documents(
    name: str,
    query_ids: Sequence[str],
    queries: Sequence[str],
    corpus: Corpus,
    rows: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
) -> ScoredLists:
    """Lists over the documents that they name, in the order of the corpus.

    Args:
        name: of the collection.
        query_ids: one id a list.
        queries: their texts.
        corpus: all documents.
        rows: for each list, rows of the corpus.
        scores: for each list, as many scores.
    """
    named = np.unique(np.concatenate(rows))
    kept = build_corpus(
        [corpus.ids[row] for row in named.tolist()], [corpus.texts[row] for row in named.tolist()]
    )
    documents = [np.searchsorted(named, own).astype(np.int64) for own in rows]
    values = [own.astype(np.float32) for own in scores]
    marks = [kept.fingerprint, fingerprint_arrays(documents), fingerprint_arrays(values)]
    mark = fingerprint(marks, query_ids, queries)
    return ScoredLists(name, list(query_ids), list(queries), kept, documents, values, mark)


def counts(lists: ScoredLists) -> dict[str, int]:
    """How much was scored."""
    lengths = [len(own) for own in lists.documents]
    return {
        "queries": len(lists),
        "documents": len(lists.corpus),
        "scores": sum(lengths),
        "fewest_documents": min(lengths),
        "most_documents": max(lengths),
        "constant_lists": sum(bool(own.min() == own.max()) for own in lists.scores),
    }


def _arrays(column: pa.ChunkedArray) -> list[np.ndarray]:
    return [np.asarray(value.values) for chunk in column.chunks for value in chunk]
