"""Mine hard negatives from a mix of retrievers, without the likely false ones, in parts."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.types import Split
from colbert_lab.sources.choosing import RANDOM, Choice, Mining, choose, quotas, turns
from colbert_lab.sources.negatives import find_candidates, never_candidates, relevant_documents
from colbert_lab.teachers.revision import identified
from colbert_lab.teachers.scorer import PairScorer, indexed, score_lists, told_of
from colbert_lab.text.fingerprint import fingerprint, normalised

VERSION = 2  # raise when the same settings would give other negatives
KEYS_IN_MEMORY = 1 << 20
TEACHER_KEY = "mine.filter.teacher"
SCHEMA = pa.schema(
    {
        "query_id": pa.string(),
        "rows": pa.list_(pa.int64()),
        "sources": pa.list_(pa.int8()),
        "scores": pa.list_(pa.float32()),
        "positive_scores": pa.list_(pa.float32()),
    }
)
"""A part: for each query the rows of its negatives in the corpus, the number of the retriever that each is from, and
the teacher's scores of negatives and relevant documents (null without a teacher)."""


class Miner:
    """Finds the negatives of a split's queries, a part at a time; a part does not depend on the others.

    Args:
        split: queries, judgments and corpus. Queries without a relevant document are left out.
        mining: the settings.

    Attributes:
        relevant: query id to its relevant documents, in the order of the rows.
        queries: the ids in that order.
        parts: how many there are.
        row_of: document id to row of the corpus.

    Raises:
        InputError: no query has a relevant document, or a query or relevant document has no text.
    """

    def __init__(self, split: Split, mining: Mining) -> None:
        self.split, self.mining = split, mining
        self.relevant = relevant_documents(split)
        self._never = never_candidates(split)
        self.queries = list(self.relevant)
        self.parts = -(-len(self.queries) // mining.part)
        self.row_of = {document: row for row, document in enumerate(split.corpus.ids)}
        self._turns = turns(quotas(mining.shares, mining.negatives))
        # A teacher that is a retriever too has its index.
        teacher = mining.teacher
        self._index = teacher in mining.retrievers.values() or not isinstance(teacher, PairScorer)
        self._key = lru_cache(maxsize=KEYS_IN_MEMORY)(lambda row: _digest(split.corpus.texts[row]))
        if not self.queries:
            raise InputError(f"data: no query of {split.dataset}/{split.name} has a relevant document")
        texts = split.corpus.texts
        empty = [query for query in self.queries if not split.queries[query].strip()]
        if empty:
            raise InputError(f"data: queries without text: {some_ids(empty)}; mend them or take them out")
        asked = dict.fromkeys(document for found in self.relevant.values() for document in found)
        empty = [document for document in asked if not texts[self.row_of[document]].strip()]
        if empty:
            raise InputError(
                f"data: relevant documents without text: {some_ids(empty)}; mend them or take out their judgments"
            )

    def identity(self) -> dict[str, Any]:
        """Everything that decides the content of the parts."""
        split, mining = self.split, self.mining
        chance = RANDOM in mining.shares or mining.sample == "random"
        return {
            "task": "mine",
            "version": VERSION,
            "data": {
                "name": f"{split.dataset}/{split.name}",
                "fingerprint": split.fingerprint,
                "order": fingerprint(self.queries),
            },
            "retrievers": {name: identified(scorer) for name, scorer in mining.retrievers.items()},
            "shares": dict(mining.shares),
            "negatives": mining.negatives,
            "ranks": list(mining.ranks),
            "sample": mining.sample,
            "seed": mining.seed if chance else None,
            "filter": {
                "teacher": None if mining.teacher is None else identified(mining.teacher),
                **asdict(mining.bounds),
            },
            "part": mining.part,
        }

    def index(self) -> dict[str, float]:
        """Index the corpus with every retriever, and with the teacher if it has an index: seconds of each."""
        retrievers = self.mining.retrievers
        systems: list[tuple[str, str, Any]] = [(n, f"mine.retrievers.{n}", retrievers[n]) for n in retrievers]
        if self.mining.teacher is not None and self._index:
            systems.append(("teacher", TEACHER_KEY, self.mining.teacher))
        seconds = {}
        for name, key, scorer in systems:
            start = time.perf_counter()
            with told_of(key):
                indexed(scorer, self.split.corpus)
            seconds[name] = time.perf_counter() - start
        return seconds

    def mine(self, part: int, bar: tqdm[Any] | None = None) -> pa.Table:
        """The negatives of one part's queries.

        Args:
            part: its number.
            bar: a progress bar in queries.

        Returns:
            A table of :data:`SCHEMA`; the metadata ``report`` hold counts and seconds as JSON.

        Raises:
            InputError: a score is not a finite number.
        """
        start = time.perf_counter()
        ids = self.queries[part * self.mining.part : (part + 1) * self.mining.part]
        counts = {name: Counter[str]() for name in self.mining.shares}
        candidates = find_candidates(self.split, self.mining, ids, [self._left_out(q) for q in ids], counts)
        relevant = [[self.row_of[document] for document in self.relevant[query]] for query in ids]
        choices, known = self._choose(ids, candidates, relevant)
        number_of = {name: number for number, name in enumerate(self.mining.shares)}
        rows: list[dict[str, Any]] = []
        for query, choice, own, scores in zip(ids, choices, relevant, known, strict=True):
            for name, counted in choice.counts.items():
                counts[name].update(counted)
            scored = self.mining.teacher is not None
            rows.append(
                {
                    "query_id": query,
                    "rows": choice.rows,
                    "sources": [number_of[name] for name in choice.sources],
                    "scores": [scores[row] for row in choice.rows] if scored else None,
                    "positive_scores": [scores[row] for row in own] if scored else None,
                }
            )
        if bar is not None:
            bar.update(len(ids))
        report = {"counts": counts, "seconds": time.perf_counter() - start}
        return pa.Table.from_pylist(rows, SCHEMA.with_metadata({"report": json.dumps(report)}))

    def _left_out(self, query: str) -> np.ndarray:
        """Rows that are in no list: relevant documents, those that the split excludes, and the query itself."""
        rows = {self.row_of[d] for d in (*self.relevant[query], *self._never.get(query, ()))}
        return np.array(sorted(rows), dtype=np.int64)

    def _choose(
        self,
        ids: Sequence[str],
        candidates: Sequence[Mapping[str, Sequence[int]]],
        relevant: Sequence[Sequence[int]],
    ) -> tuple[list[Choice], list[dict[int, float]]]:
        """Negatives of each query, and the scores that the teacher gave on the way (row to score).

        A teacher that reads pairs scores what is chosen, not every candidate: where it refuses some of it, the choice
        is made again with what is known by then, until all that is chosen is scored. That is the choice that would
        be made if all candidates were scored, as a choice depends only on those that come before its last one.
        """
        teacher = self.mining.teacher
        known: list[dict[int, float]] = [{} for _ in ids]
        whole = list(zip(ids, candidates, relevant, strict=True))
        choices = [self._choice(query, own, good, {}) for query, own, good in whole]
        if teacher is None:
            return choices, known
        ask = [
            list(dict.fromkeys([*good, *(row for rows in own.values() for row in rows)]))
            if self._index
            else [*good, *choice.rows]
            for own, good, choice in zip(candidates, relevant, choices, strict=True)
        ]
        while any(ask):
            self._score(ids, ask, known)
            for b, asked in enumerate(ask):
                if asked:
                    choices[b] = self._choice(*whole[b], known[b])
                ask[b] = [row for row in choices[b].rows if row not in known[b]]
        return choices, known

    def _choice(
        self,
        query: str,
        candidates: Mapping[str, Sequence[int]],
        relevant: Sequence[int],
        known: Mapping[int, float],
    ) -> Choice:
        good, asked = {self._key(row) for row in relevant}, _digest(self.split.queries[query])
        positive = min(known[row] for row in relevant) if known else 0.0

        def refused(row: int) -> str | None:
            if not self.split.corpus.texts[row].strip():
                return "empty"
            if self._key(row) in good:
                return "copy_of_relevant"
            if self._key(row) == asked:
                return "copy_of_query"
            return self.mining.bounds.reason(known[row], positive) if row in known else None

        return choose(candidates, self._turns, refused, self._key)

    def _score(
        self, ids: Sequence[str], ask: Sequence[Sequence[int]], known: Sequence[dict[int, float]]
    ) -> None:
        assert self.mining.teacher is not None
        places = [b for b, rows in enumerate(ask) if rows]
        texts = [self.split.queries[ids[b]] for b in places]
        rows = [np.array(ask[b], dtype=np.int64) for b in places]
        with told_of(TEACHER_KEY):
            found = list(score_lists(self.mining.teacher, self.split.corpus, texts, rows, index=self._index))
        for b, scores in zip(places, found, strict=True):
            if not np.isfinite(scores).all():
                raise InputError(
                    f"{TEACHER_KEY}: {self.mining.teacher.name} gives scores of query {ids[b]} that are no "
                    "finite numbers; check the model and its precision"
                )
            known[b].update(zip(ask[b], scores.tolist(), strict=True))


def _digest(text: str) -> str:
    """A hash of a text's normal form; equal ones mean copies."""
    return hashlib.sha256(normalised(text).encode("utf-8", "surrogatepass")).hexdigest()[:32]
