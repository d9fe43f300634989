"""Teacher scores in files: those of other systems, ensembles of them as one teacher, and the folder that is written.

The folder has parts while it is made, and then says what is in it. Its layout is that of
:func:`colbert_lab.text.list_store.write_scored_lists`, and ``teacher.json``.

``zscore``: a member's score s of a document becomes ``(s - mean) / deviation`` over the member's list of the query
(a list of equal scores becomes zeros). ``rank``: it becomes ``1 - (r - 1) / (n - 1)`` with r its rank among the n
documents of the list (1 is best; equal scores share their mean rank), so that the best is 1 and the last 0. The
ensemble's score is the mean over the members.

Documents that a member lacks: with ``drop``, only documents that all members score are kept, and means, deviations
and ranks are over those. With ``lowest``, every document that any member scores is kept, and a member that lacks it
gives it the lowest value of its list of the query.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata

from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.parts import UnfinishedFolder
from colbert_lab.base.types import Corpus
from colbert_lab.sources.to_score import ToScore
from colbert_lab.teachers.scorer import PairScorer, Scorer, score_lists, told_of
from colbert_lab.text.collections.collection import build_corpus
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays
from colbert_lab.text.list_rows import Problems, rows_of_scores
from colbert_lab.text.list_store import write_scored_lists
from colbert_lab.text.rows.examples import ScoredLists

KEY = "score.files"


class QueryScores(NamedTuple):
    """The scores of one query.

    Attributes:
        documents: document ids.
        scores: one float64 score each.
    """

    documents: list[str]
    scores: np.ndarray


def read_scores(path: Path, queries: Collection[str], documents: Collection[str]) -> dict[str, QueryScores]:
    """Read a score file (see :mod:`colbert_lab.text.list_rows`) and check it against a collection.

    Args:
        path: the file.
        queries: known query ids.
        documents: known document ids.

    Returns:
        Query id to scores, in the order of the file.

    Raises:
        InputError: the file is missing, empty, of another type or malformed; an id is unknown or repeated; a list
            has fewer than 2 documents, or not one finite score for each.
    """
    problems = Problems()
    found: dict[str, QueryScores] = {}
    for row in rows_of_scores(path, KEY):
        with np.errstate(over="ignore"):
            in_32_bits = np.array(row.scores, dtype=np.float64).astype(np.float32)
        if not problems.of_row(row, in_32_bits, documents, queries, found):
            found[row.query_id] = QueryScores(row.document_ids, np.array(row.scores, dtype=np.float64))
    problems.raise_first()
    if not found:
        raise InputError(f"{KEY}: {path}: holds no scores")
    return found


def combine(
    members: Mapping[str, Mapping[str, QueryScores]], how: str, missing: str
) -> dict[str, QueryScores]:
    """Combine the scores of several systems.

    Args:
        members: name to the member's scores by query.
        how: ``zscore`` or ``rank``.
        missing: ``drop`` or ``lowest``.

    Returns:
        Query id to scores, best first, equal scores by document id descending; queries in the order of the first
        member.

    Raises:
        InputError: a query that not every member has, or fewer than 2 documents left for one.
    """
    first, *others = members
    for other in others:
        for one, two in ((first, other), (other, first)):
            lacking = [query for query in members[one] if query not in members[two]]
            if lacking:
                raise InputError(
                    f"{KEY}: queries of {one} that {two} does not score: {some_ids(lacking)}; every file must score "
                    "the same queries"
                )
    combined = {
        query: _combined([member[query] for member in members.values()], NORMALISED[how], missing)
        for query in members[first]
    }
    short = [query for query, scored in combined.items() if len(scored.documents) < 2]
    if short:
        raise InputError(
            f"{KEY}: queries with fewer than 2 documents that all files score: {some_ids(short)}; "
            "score.missing=lowest keeps documents that some of them lack"
        )
    return combined


def _combined(
    lists: Sequence[QueryScores], normalised: Callable[[np.ndarray], np.ndarray], missing: str
) -> QueryScores:
    known = [dict(zip(scored.documents, scored.scores.tolist(), strict=True)) for scored in lists]
    documents = list(dict.fromkeys(document for scored in lists for document in scored.documents))
    if missing == "drop":
        documents = [document for document in documents if all(document in scores for scores in known)]
        known = [{document: scores[document] for document in documents} for scores in known]
    if not documents:
        return QueryScores([], np.empty(0))
    values = []
    for scores in known:
        of_document = dict(zip(scores, normalised(np.array(list(scores.values()))).tolist(), strict=True))
        lowest = min(of_document.values())
        values.append([of_document.get(document, lowest) for document in documents])
    means = np.mean(values, axis=0).tolist()
    order = sorted(zip(means, documents, strict=True), reverse=True)
    return QueryScores([document for _, document in order], np.array([mean for mean, _ in order]))


def _zscores(scores: np.ndarray) -> np.ndarray:
    if scores.min() == scores.max():  # the rounded mean of equal numbers need not be that number
        return np.zeros(len(scores))
    return np.asarray((scores - scores.mean()) / scores.std())


def _rank_values(scores: np.ndarray) -> np.ndarray:
    return np.asarray(1 - (rankdata(-scores) - 1) / max(len(scores) - 1, 1))


NORMALISED: dict[str, Callable[[np.ndarray], np.ndarray]] = {"zscore": _zscores, "rank": _rank_values}
"""How a member's scores are made comparable, by the name in ``score.combine``."""

FACTS = "teacher.json"
SECONDS, FEW = b"seconds", b"few"


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
        before = Counter(source.candidates.few) if source.candidates else Counter[str]()
        rows = source.rows(numbers)
        few = Counter(source.candidates.few) - before if source.candidates else before
        ids = [source.query_ids[n] for n in numbers]
        scores: list[np.ndarray] = []
        with told_of("score.teacher"):
            for values in score_lists(
                self.teacher, source.corpus, [source.queries[n] for n in numbers], rows
            ):
                scores.append(values)
                advance(1)
        bad = [query for query, values in zip(ids, scores, strict=True) if not np.isfinite(values).all()]
        if bad:
            raise InputError(
                f"score.teacher: {self.teacher.name} gives NaN or infinite scores for queries {some_ids(bad)}; a "
                "precision of 32-true may help; what is scored already stays"
            )
        table = pa.table({"query": pa.array(numbers, pa.int64()), "rows": rows, "scores": scores})
        metadata = {SECONDS: str(time.perf_counter() - start).encode(), FEW: json.dumps(few).encode()}
        self.folder.write(part, table.replace_schema_metadata(metadata))

    def joined(self) -> tuple[ScoredLists, float]:
        """All lists, with the documents that they name, and the seconds of scoring; the log says what was not found."""
        rows: list[np.ndarray] = []
        scores: list[np.ndarray] = []
        seconds = 0.0
        few = Counter[str]()
        for table in self.folder.read():
            seconds += float(table.schema.metadata[SECONDS])
            few.update(json.loads(table.schema.metadata.get(FEW, b"{}")))
            rows += _arrays(table["rows"])
            scores += _arrays(table["scores"])
        source = self.source
        if source.candidates:
            source.candidates.tell(few, len(source))
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
