"""What the rows beside the student take: BM25, a dense retriever, the teacher."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from colbert_lab.base.types import Corpus, Split
from colbert_lab.plan.counting import evenly
from colbert_lab.search.exact import tie_ranks, top_k
from colbert_lab.teachers.scorer import QUERIES_AT_ONCE, Index, Scorer
from colbert_lab.text.collections.collection import build_corpus

FEW = 16  # documents of a corpus that makes a system ready
WINDOW = 48  # documents of similar length that are indexed together
WINDOWS = 4


@dataclass(frozen=True)
class SystemRate:
    """What one system takes.

    Attributes:
        ready: seconds to load it, once.
        index: seconds a document to index.
        query: seconds a query, whatever the corpus.
        scan: seconds a query and document.
    """

    ready: float
    index: float
    query: float
    scan: float


def members_of(scorer: Scorer) -> list[Scorer]:
    """The systems that index a corpus for a scorer: its members, or itself."""
    members: Mapping[str, Scorer] | None = getattr(scorer, "members", None)
    return [scorer] if members is None else list(members.values())


class BaselineCosts:
    """Measures every system once, on a part of a corpus.

    Args:
        tick: called after each system.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick = tick
        self._rates: dict[Any, SystemRate] = {}
        self._indexed: set[Any] = set()

    def cost(self, name: str, scorer: Scorer, splits: Mapping[str, Split]) -> dict[str, float]:
        """Seconds to rank the queries of splits, by ``name/split``.

        A system of equal settings indexes a corpus once a process.

        Args:
            name: what the records call it.
            scorer: the system.
            splits: to rank.
        """
        found = {}
        for key, split in splits.items():
            seconds = 0.0
            for member in members_of(scorer):
                known = (member, split.corpus.fingerprint)
                rate = self._rate(member, split)
                if member not in self._indexed:
                    seconds += rate.ready
                if known not in self._indexed:
                    seconds += rate.index * len(split.corpus)
                self._indexed |= {member, known}
                seconds += len(split.queries) * (rate.query + rate.scan * len(split.corpus))
            found[f"{name}/{key}"] = seconds
        return found

    def _rate(self, scorer: Scorer, split: Split) -> SystemRate:
        if scorer not in self._rates:
            self._rates[scorer] = _measure(scorer, split)
            self.tick()
        return self._rates[scorer]


def _measure(scorer: Scorer, split: Split) -> SystemRate:
    corpus = split.corpus
    order = sorted(range(len(corpus)), key=lambda row: len(corpus.texts[row]))
    few, some = _part(corpus, evenly(order, FEW)), _part(corpus, _windows(order))
    queries = list(split.queries.values())[:QUERIES_AT_ONCE]
    begun = time.perf_counter()
    small = scorer.index(few)
    small.scores(queries)
    ready = time.perf_counter() - begun
    short = _scoring(small, queries, few)
    begun = time.perf_counter()
    large = scorer.index(some)
    indexing = time.perf_counter() - begun
    long = _scoring(large, queries, some)
    scan = max(0.0, long - short) / max(1, len(some) - len(few)) / len(queries)
    query = max(0.0, short / len(queries) - scan * len(few))
    return SystemRate(max(0.0, ready - short), indexing / len(some), query, scan)


def _windows(order: list[int]) -> list[int]:
    """Documents in groups of similar length, evenly over all lengths."""
    if len(order) <= WINDOW * WINDOWS:
        return order
    step = len(order) // WINDOWS
    starts = [n * step + (step - WINDOW) // 2 for n in range(WINDOWS)]
    return [row for start in starts for row in order[start : start + WINDOW]]


def _part(corpus: Corpus, rows: list[int]) -> Corpus:
    return build_corpus([corpus.ids[row] for row in rows], [corpus.texts[row] for row in rows])


def _scoring(index: Index, queries: list[str], corpus: Corpus) -> float:
    ties_C = tie_ranks(list(corpus.ids))
    begun = time.perf_counter()
    top_k(index.scores(queries), ties_C, len(corpus))
    return time.perf_counter() - begun
