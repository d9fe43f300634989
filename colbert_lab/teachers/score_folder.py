"""A folder of teacher scores on disk: its parts while it is made, its identity, and how it comes to be whole.

While it is made, ``<out>.unfinished/`` holds ``identity.json`` and one Parquet file for each part of the queries; each
file appears by one rename. The finished folder appears by one rename too, with the layout of
:func:`colbert_lab.text.scored_lists.write_scored_lists` and ``teacher.json``.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.atomic import atomic_path, write_text
from colbert_lab.errors import InputError, some_ids
from colbert_lab.teachers.list_scorer import PairScorer, score_lists
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.teachers.to_score import ToScore
from colbert_lab.text.collection import build_corpus
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays
from colbert_lab.text.scored_lists import write_scored_lists
from colbert_lab.types import Corpus, ScoredLists

FACTS, IDENTITY, JOINED = "teacher.json", "identity.json", "joined"
SECONDS = b"seconds"
Identity = Mapping[str, Any]


@dataclass(frozen=True)
class ScoreFolder:
    """Where scores go.

    Attributes:
        path: the finished folder.
        identity: what decides its content, as plain JSON values.
    """

    path: Path
    identity: Identity

    @property
    def unfinished(self) -> Path:
        """Where parts are while there are some missing."""
        return self.path.with_name(self.path.name + ".unfinished")

    def finished(self) -> bool:
        """Whether the folder is there already.

        Raises:
            InputError: something else is there, or scores of another identity.
        """
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return False
        facts = _read_json(self.path / FACTS)
        if facts is None:
            raise InputError(f"out={self.path}: exists and is no finished folder of scores; choose another")
        _check_same(facts.get("identity", {}), self.identity, self.path)
        return True

    def open(self) -> None:
        """Make the folder of parts, or go on in the one that an interrupted command left.

        Raises:
            InputError: it holds parts of another identity.
        """
        before = _read_json(self.unfinished / IDENTITY)
        if before is not None:
            _check_same(before, self.identity, self.unfinished)
            return
        there = self.unfinished.iterdir() if self.unfinished.exists() else []
        if any(not file.name.startswith(".") for file in there):  # a temporary name is nothing's content
            raise InputError(
                f"out={self.path}: {self.unfinished} is in the way and holds no scores; remove it"
            )
        write_text(self.unfinished / IDENTITY, json.dumps(self.identity, indent=2) + "\n")

    def close(self, lists: ScoredLists, facts: Mapping[str, Any]) -> None:
        """Write the finished folder and remove the parts.

        Args:
            lists: what to write.
            facts: more for ``teacher.json``.

        Raises:
            InputError: the folder appeared meanwhile.
            OSError: the write failed; the parts stay.
        """
        joined = self.unfinished / JOINED
        write_scored_lists(lists, joined)
        known = {"identity": self.identity, **facts}
        write_text(joined / FACTS, json.dumps(known, indent=2, ensure_ascii=False) + "\n")
        try:
            joined.rename(self.path)
        except OSError as error:
            if self.path.exists():
                raise InputError(
                    f"out={self.path}: appeared while it was being made here; remove it, and run the command again"
                ) from error
            raise
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def clear(self) -> None:
        """Remove parts that a command which was killed at the very end left beside the finished folder."""
        shutil.rmtree(self.unfinished, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class Parts:
    """The queries in parts that are scored one by one, so that scores do not depend on which are missing.

    Attributes:
        folder: where they go.
        source: queries and documents.
        teacher: what scores them.
        size: queries of a part.
    """

    folder: ScoreFolder
    source: ToScore
    teacher: Scorer | PairScorer
    size: int

    def missing(self) -> list[int]:
        """The parts whose files are not there."""
        return [part for part in range(len(self)) if not self._file(part).is_file()]

    def __len__(self) -> int:
        """Number of parts."""
        return -(-len(self.source) // self.size)

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
        with atomic_path(self._file(part)) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")

    def joined(self) -> tuple[ScoredLists, float]:
        """All lists, with the documents that they name, and the seconds of scoring."""
        rows: list[np.ndarray] = []
        scores: list[np.ndarray] = []
        seconds = 0.0
        for part in range(len(self)):
            table = pq.read_table(self._file(part))
            seconds += float(table.schema.metadata[SECONDS])
            rows += _arrays(table["rows"])
            scores += _arrays(table["scores"])
        source = self.source
        return with_named_documents(
            source.name, source.query_ids, source.queries, source.corpus, rows, scores
        ), seconds

    def _file(self, part: int) -> Path:
        return self.folder.unfinished / f"part-{part:06d}.parquet"


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


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _check_same(before: Identity, now: Identity, place: Path) -> None:
    """Raise InputError that says what differs."""
    was, is_now = dict(_flat(before)), dict(_flat(now))
    differing = [key for key in {**was, **is_now} if was.get(key) != is_now.get(key)]
    if differing:
        told = "; ".join(
            f"{key} was {was.get(key, 'not set')}, now {is_now.get(key, 'not set')}" for key in differing[:3]
        )
        raise InputError(
            f"out: {place} was made by another command ({told}); choose another out, or remove it"
        )


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key, value
