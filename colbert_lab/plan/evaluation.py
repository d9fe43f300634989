"""What an evaluation takes: of a student, every split in every configured way; and of the rows beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import torch

from colbert_lab.base.types import Corpus, Ranking, Role, Split, Variant
from colbert_lab.evaluation.evaluator import EXACT, Evaluator
from colbert_lab.evaluation.shared_corpus import SharedCorpus
from colbert_lab.model.encode import encode
from colbert_lab.model.student import Student
from colbert_lab.plan.counting import evenly
from colbert_lab.plan.encoding import (
    Encoded,
    SearchRate,
    TextCount,
    count_texts,
    measure_encoding,
    measure_search,
)
from colbert_lab.search.corpus import document_bytes
from colbert_lab.search.exact import search_depth, tie_ranks, top_k
from colbert_lab.teachers.scorer import Index, Scorer, queries_at_once
from colbert_lab.text.collections.collection import build_corpus


@dataclass(frozen=True)
class EvaluationCost:
    """What an evaluation takes.

    Attributes:
        seconds: by split and way to search, ``split/variant``; what several share counts in the first of them.
        tokens: that are encoded, without padding.
        bytes: of embeddings and indexes held at once, beyond what the process holds anyway.
        cached: whether embeddings of an earlier run are used.
    """

    seconds: Mapping[str, float]
    tokens: int
    bytes: int
    cached: bool = False

    @property
    def total(self) -> float:
        """Seconds of everything."""
        return sum(self.seconds.values())


@dataclass(eq=False)
class EvaluationCosts:
    """Measures once, on the first corpus; then predicts for any split, length and prompt.

    Attributes:
        evaluator: what a run evaluates with.
        texts: texts of a corpus to tokenize at most.
        batches: encoding batches to measure.
        queries: queries to search with.
        tick: called after each measurement.
    """

    evaluator: Evaluator
    _: KW_ONLY
    texts: int
    batches: int
    queries: int
    tick: Callable[[], None]

    def __post_init__(self) -> None:
        self._counts: dict[tuple[object, ...], TextCount] = {}
        self._measuring: dict[tuple[str, int], float] = {}
        self.encoded: Encoded | None = None
        self.rates: Mapping[Variant, SearchRate] = {}

    def measure(self, student: Student) -> None:
        """Measure with a student, where there is something to evaluate."""
        if not self.evaluator.splits:
            return
        evaluator = self.evaluator
        shared = evaluator.corpora(student)[0]
        key, asked = next(iter(shared.students.items()))
        split, budget, precision = evaluator.splits[key], evaluator.token_budget, evaluator.precision
        texts, counted = split.corpus.texts, self.count(asked, split, "document")
        self.encoded = measure_encoding(asked, texts, counted, self.batches, budget, precision, self.tick)
        some = list(split.queries.values())[: self.queries]
        found = encode(asked, some, "query", token_budget=budget, precision=precision)
        search = replace(evaluator.search, variants=tuple(dict.fromkeys((*evaluator.search.variants, EXACT))))
        lists = max(map(len, split.candidates.values())) if split.candidates else None
        depth, device = search_depth(split, evaluator.depth), next(student.model.parameters()).device
        self.rates = measure_search(
            self.encoded, found, search, depth, lists, student.model.dim, device, self.tick
        )

    def count(self, student: Student, split: Split, role: Role) -> TextCount:
        """Tokens of a split's documents or queries, as a student reads them; counted once."""
        texts: Sequence[str]
        rules = student.tokenizer.rules
        if role == "document":
            texts = split.corpus.texts
            key: tuple[object, ...] = (split.corpus.fingerprint, rules.document_length, rules.document_prompt)
        else:
            texts = list(split.queries.values())
            floor = student.tokenizer.floor(role)
            key = (split.fingerprint, rules.query_length, rules.query_prompt, floor)
        if key not in self._counts:
            budget = self.evaluator.token_budget
            self._counts[key] = count_texts(student.tokenizer, texts, role, budget, self.texts)
        return self._counts[key]

    def cost(
        self,
        student: Student,
        wanted: Mapping[str, Sequence[Variant]] | None = None,
        evaluator: Evaluator | None = None,
        *,
        on_disk: bool = False,
    ) -> EvaluationCost:
        """Predict an evaluation.

        Args:
            student: what is evaluated, or one that reads texts alike.
            wanted: by split, the ways to search; None for all.
            evaluator: another one with other splits.
            on_disk: whether the student is the one that will be evaluated, so that its embeddings may be on disk.
        """
        if self.encoded is None:
            return EvaluationCost({}, 0, 0)
        evaluator = evaluator or self.evaluator
        seconds: dict[str, float] = {}
        tokens, most, cached = 0.0, 0, True
        for shared in evaluator.corpora(student, wanted):
            first = evaluator.splits[next(iter(shared.students))]
            documents = self.count(next(iter(shared.students.values())), first, "document")
            missing = _missing_share(shared) if on_disk else 1.0
            cached = cached and missing == 0
            carried = self.encoded.seconds(documents) * missing
            tokens += documents.tokens * missing
            scoring = documents.tokens * self.encoded.scoring
            held = min(4 * scoring * student.model.dim, self._most(shared))
            built: set[Variant] = set()
            for key, variants in shared.wanted.items():
                split = evaluator.splits[key]
                queries = self.count(shared.students[key], split, "query")
                carried += self.encoded.seconds(queries)
                tokens += queries.tokens
                for variant in variants:
                    rate = self.rates[variant]
                    took = rate.seconds(scoring / variant.pool_factor, queries.tokens)
                    if variant in built:
                        took -= rate.index * scoring / variant.pool_factor
                    elif variant.storage != "float32" or variant.dim is not None:
                        held += rate.bytes * scoring
                    built.add(variant)
                    seconds[f"{key}/{variant.label}"] = carried + took + self.measures(key, evaluator)
                    carried = 0.0
            most = max(most, int(held))
        return EvaluationCost(seconds, round(tokens), most, cached and bool(seconds))

    def _most(self, shared: SharedCorpus) -> float:
        """Bytes of embeddings that are held at once: those of all documents, or as many as are allowed."""
        encoding = shared.encoding
        if not encoding.in_files:
            return float(len(encoding.corpus) * document_bytes(encoding.student))
        return float(self.evaluator.keeping.memory)

    def measures(self, key: str, evaluator: Evaluator) -> float:
        """Seconds to compute the measures of a ranking of a split; measured once."""
        split = evaluator.splits[key]
        known = (split.fingerprint, len(split.queries))
        if known not in self._measuring:
            depth = min(evaluator.depth, len(split.corpus))
            documents = [split.corpus.ids[row] for row in range(depth)]
            ids = list(split.queries)[: self.queries]
            ranking = Ranking(ids, [documents] * len(ids), [[float(-n) for n in range(depth)]] * len(ids))
            begun = time.perf_counter()
            evaluator.evaluate_ranking(key, ranking, {}, 0.0)
            self._measuring[known] = (time.perf_counter() - begun) * len(split.queries) / len(ids)
        return self._measuring[known]


def _missing_share(shared: SharedCorpus) -> float:
    """Share of a corpus that is not embedded on disk."""
    encoding = shared.encoding
    if not encoding.in_files:
        return 1.0
    with torch.inference_mode():
        return sum(map(len, encoding.missing())) / len(encoding.corpus)


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


@dataclass(eq=False)
class BaselineCosts:
    """Measures every system once, on a part of a corpus.

    Attributes:
        tick: called after each system.
    """

    tick: Callable[[], None]
    _rates: dict[Any, SystemRate] = field(default_factory=dict)
    _indexed: set[Any] = field(default_factory=set)

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
            size, seconds = len(split.corpus), 0.0
            for member in members_of(scorer):
                known = (member, split.corpus.fingerprint)
                if member not in self._rates:
                    self._rates[member] = _measure(member, split)
                    self.tick()
                rate = self._rates[member]
                if member not in self._indexed:
                    seconds += rate.ready
                if known not in self._indexed:
                    seconds += rate.index * size
                self._indexed |= {member, known}
                seconds += len(split.queries) * (rate.query + rate.scan * size)
            found[f"{name}/{key}"] = seconds
        return found


def _measure(scorer: Scorer, split: Split) -> SystemRate:
    corpus = split.corpus
    order = sorted(range(len(corpus)), key=lambda row: len(corpus.texts[row]))
    few, some = _part(corpus, evenly(order, FEW)), _part(corpus, _windows(order))
    queries = list(split.queries.values())[: queries_at_once(len(corpus))]
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
