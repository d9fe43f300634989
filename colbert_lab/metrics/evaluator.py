"""The evaluator: one class for every system, split and moment of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from colbert_lab.errors import InputError
from colbert_lab.metrics.measures import PerQuery, evaluate, parse_measure
from colbert_lab.metrics.protocol import log_prompts, search_protocol, student_for, student_protocol
from colbert_lab.retrieval.closed import list_rows, search_lists
from colbert_lab.retrieval.exact import search, tie_ranks
from colbert_lab.retrieval.exclusion import search_depth, without_excluded
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
        """Exact MaxSim search with a student, or MaxSim with each query's candidates where a split has such lists.

        A corpus that several splits share is encoded once and dropped after the last of them. A split's own lengths
        and prompts take the place of the student's, and its excluded documents are in no ranking.

        Args:
            student: the model to evaluate.
            title: what the progress bars say.
            keys: which splits; None takes all.
            progress: whether to show progress bars.

        Raises:
            InputError: a split asks for lengths that the student cannot have.
        """
        chosen = list(self.splits if keys is None else keys)
        asked = {key: student_for(student, self.splits[key], key) for key in chosen}
        texts = {key: _document_side(asked[key], self.splits[key]) for key in chosen}
        encoded: dict[tuple[Any, ...], tuple[PackedEmbeddings, Any]] = {}
        results = []
        for number, key in enumerate(chosen):
            split, start = self.splits[key], time.perf_counter()
            log_prompts(student, asked[key], key)
            bar = f"{title}: {split.dataset}" if progress else None
            if texts[key] not in encoded:
                documents = encode(
                    asked[key],
                    split.corpus.texts,
                    "document",
                    token_budget=self.token_budget,
                    precision=self.precision,
                    progress=bar and f"{bar} documents",
                    ids=split.corpus.ids,
                )
                encoded[texts[key]] = documents, tie_ranks(list(split.corpus.ids))
            documents, ties_C = encoded[texts[key]]
            query_ids = list(split.queries)
            queries = encode(
                asked[key],
                [split.queries[query] for query in query_ids],
                "query",
                token_budget=self.token_budget,
                precision=self.precision,
                ids=query_ids,
            )
            if split.candidates:
                scores, rows = search_lists(queries, documents, ties_C, list_rows(split), self.depth)
            else:
                depth, name = search_depth(split, self.depth), bar and f"{bar} {key} search"
                best_scores, best_rows = search(queries, documents, ties_C, depth, progress=name)
                scores, rows = best_scores.tolist(), best_rows.tolist()
            ids = split.corpus.ids
            ranking = Ranking(query_ids, [[ids[r] for r in row] for row in rows], scores)
            protocol = {
                "encoder_precision": self.precision,
                **asked[key].tokenizer.rules.to_dict(),
                **student_protocol(split),
            }
            results.append(self._measure(key, split, ranking, protocol, time.perf_counter() - start))
            if texts[key] not in [texts[later] for later in chosen[number + 1 :]]:
                del encoded[texts[key]]
        return results

    def evaluate_ranking(
        self, key: str, ranking: Ranking, protocol: Mapping[str, Any], seconds: float
    ) -> Result:
        """Measure a ranking that another system made (BM25, a teacher).

        Its excluded documents are dropped here, so it has to be searched as deep as
        :func:`colbert_lab.retrieval.exclusion.search_depth` says.
        """
        return self._measure(key, self.splits[key], ranking, protocol, seconds)

    def _measure(
        self, key: str, split: Split, ranking: Ranking, protocol: Mapping[str, Any], seconds: float
    ) -> Result:
        ranking = without_excluded(ranking, split.excluded, self.depth)
        per_query = evaluate(ranking, split.qrels, self.measures)
        whole = {"mode": MODE, "depth": self.depth, **protocol, **search_protocol(split)}
        return Result(key, split, ranking, per_query, whole, seconds)


def _document_side(student: Student, split: Split) -> tuple[Any, ...]:
    """What decides the embeddings of a corpus; splits that are equal here share them."""
    rules = student.tokenizer.rules
    return split.corpus.fingerprint, rules.document_length, rules.document_prompt
