"""What an evaluation of a student takes: every split in every configured way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace

import torch

from colbert_lab.base.types import Ranking, Split, Variant
from colbert_lab.evaluation.evaluator import EXACT, Evaluator, SharedCorpus
from colbert_lab.model.encode import encode
from colbert_lab.model.student import Student
from colbert_lab.plan.encoding import (
    Encoded,
    SearchRate,
    TextCount,
    count_texts,
    measure_encoding,
    measure_search,
)
from colbert_lab.search.corpus import document_bytes
from colbert_lab.search.exact import search_depth

Wanted = Mapping[str, Sequence[Variant]]


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
        split = evaluator.splits[key]
        self.encoded = measure_encoding(
            asked,
            split.corpus.texts,
            self.count(asked, split, "document"),
            self.batches,
            evaluator.token_budget,
            evaluator.precision,
            self.tick,
        )
        some = list(split.queries.values())[: self.queries]
        found = encode(
            asked, some, "query", token_budget=evaluator.token_budget, precision=evaluator.precision
        )
        search = replace(evaluator.search, variants=tuple(dict.fromkeys((*evaluator.search.variants, EXACT))))
        lists = max(map(len, split.candidates.values())) if split.candidates else None
        self.rates = measure_search(
            self.encoded,
            found,
            search,
            search_depth(split, evaluator.depth),
            lists,
            student.model.dim,
            next(student.model.parameters()).device,
            self.tick,
        )

    def count(self, student: Student, split: Split, role: str) -> TextCount:
        """Tokens of a split's documents or queries, as a student reads them; counted once."""
        texts: Sequence[str]
        rules = student.tokenizer.rules
        if role == "document":
            texts = split.corpus.texts
            key: tuple[object, ...] = (split.corpus.fingerprint, rules.document_length, rules.document_prompt)
        else:
            texts = list(split.queries.values())
            key = (split.fingerprint, rules.query_length, rules.query_prompt, rules.expansion)
        if key not in self._counts:
            self._counts[key] = count_texts(
                student.tokenizer,
                texts,
                "document" if role == "document" else "query",
                self.evaluator.token_budget,
                self.texts,
            )
        return self._counts[key]

    def cost(
        self,
        student: Student,
        wanted: Wanted | None = None,
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
                    elif variant.storage != "float32":
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
            scores = [float(-place) for place in range(depth)]
            ids = list(split.queries)[: self.queries]
            ranking = Ranking(ids, [documents] * len(ids), [scores] * len(ids))
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
