"""The evaluator: one class for every system, split and moment of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from colbert_lab.errors import InputError
from colbert_lab.metrics.measures import PerQuery, evaluate, parse_measure
from colbert_lab.retrieval.exact import search, tie_ranks
from colbert_lab.student.encode import encode
from colbert_lab.student.student import Student
from colbert_lab.types import PackedEmbeddings, Ranking, Split

MODE = "exact"


@dataclass(frozen=True)
class Result:
    """One system on one split.

    Attributes:
        key: the split's name in the config (``evaluation.splits.<key>``).
        split: what was searched.
        ranking: the retrieved documents.
        per_query: measures of each judged query.
        protocol: everything about how the system searched that decides its numbers.
        seconds: wall time of encoding and search for this split (a shared corpus counts where it was encoded).
    """

    key: str
    split: Split
    ranking: Ranking
    per_query: PerQuery
    protocol: Mapping[str, Any]
    seconds: float


class Evaluator:
    """Runs systems over splits.

    Args:
        splits: config name to split.
        measures: names such as ``ndcg@10``.
        depth: how many documents a ranking keeps.
        token_budget: most padded tokens of an encoding batch.
        precision: precision of the encoder, a Lightning name.

    Raises:
        InputError: an unknown measure, or a cutoff beyond the depth.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        measures: Sequence[str],
        depth: int,
        token_budget: int,
        precision: str,
    ) -> None:
        for measure in measures:
            if parse_measure(measure)[1] > depth:
                raise InputError(f"evaluation.measures: {measure} looks deeper than evaluation.depth={depth}")
        self.splits = dict(splits)
        self.measures = list(measures)
        self.depth = depth
        self.token_budget = token_budget
        self.precision = precision

    def evaluate_student(
        self, student: Student, title: str, keys: Sequence[str] | None = None, progress: bool = True
    ) -> list[Result]:
        """Exact MaxSim search with a student.

        A corpus that several splits share is encoded once.

        Args:
            student: the model to evaluate.
            title: what the progress bars say.
            keys: which splits; None takes all.
            progress: whether to show progress bars.
        """
        encoded: dict[str, tuple[PackedEmbeddings, Any]] = {}
        results = []
        for key in self.splits if keys is None else keys:
            split, start = self.splits[key], time.perf_counter()
            bar = f"{title}: {split.dataset}" if progress else None
            if split.corpus.fingerprint not in encoded:
                documents = encode(
                    student,
                    split.corpus.texts,
                    "document",
                    token_budget=self.token_budget,
                    precision=self.precision,
                    progress=bar and f"{bar} documents",
                    ids=split.corpus.ids,
                )
                encoded[split.corpus.fingerprint] = documents, tie_ranks(list(split.corpus.ids))
            documents, ties_C = encoded[split.corpus.fingerprint]
            query_ids = list(split.queries)
            queries = encode(
                student,
                [split.queries[query] for query in query_ids],
                "query",
                token_budget=self.token_budget,
                precision=self.precision,
                ids=query_ids,
            )
            scores, rows = search(
                queries, documents, ties_C, self.depth, progress=bar and f"{bar} {key} search"
            )
            ids = split.corpus.ids
            ranking = Ranking(query_ids, [[ids[r] for r in row] for row in rows.tolist()], scores.tolist())
            protocol = {"encoder_precision": self.precision, **student.tokenizer.rules.to_dict()}
            results.append(self._measure(key, split, ranking, protocol, time.perf_counter() - start))
        return results

    def evaluate_ranking(
        self, key: str, ranking: Ranking, protocol: Mapping[str, Any], seconds: float
    ) -> Result:
        """Measure a ranking that another system made (BM25, a teacher)."""
        return self._measure(key, self.splits[key], ranking, protocol, seconds)

    def _measure(
        self, key: str, split: Split, ranking: Ranking, protocol: Mapping[str, Any], seconds: float
    ) -> Result:
        per_query = evaluate(ranking, split.qrels, self.measures)
        whole = {"mode": MODE, "depth": self.depth, **protocol}
        return Result(key, split, ranking, per_query, whole, seconds)
