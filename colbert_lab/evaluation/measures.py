"""Retrieval measures of a ranking against complete judgments, computed by trec_eval's own code."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.evaluation.measure import Measure, own_value
from colbert_lab.text.collections.text_files import LARGEST_GRADE

if TYPE_CHECKING:
    import numpy as np

    from colbert_lab.base.types import Ranking

Qrels = Mapping[str, Mapping[str, int]]

TREC_NAMES = {
    "ndcg": "ndcg_cut",
    "mrr": "recip_rank",
    "recall": "recall",
    "map": "map_cut",
    "mapmin": "map_cut",
    "precision": "P",
    "success": "success",
    "accuracy": "success",
}
"""Our name of a measure to trec_eval's; recip_rank has no cutoff there and is taken on the first k.

Accuracy is the name of success (a relevant document among the first k) in sentence-transformers' NanoBEIR tables, and
mapmin what those tables call MAP: it divides by min(k, relevant documents) where trec_eval divides by all of them."""

KINDS = (*TREC_NAMES, "f1")
"""All kinds of measures; F1 is computed here from trec_eval's precision and recall."""


@dataclass(frozen=True, eq=False)
class PerQuery:
    """Measures of each judged query.

    Attributes:
        query_ids: the judged queries, in the order of the judgments.
        values: measure name to float64 values in [0, 1], in the order of ``query_ids``.
        unjudged: how many queries of the ranking have no judgments; they are not in ``query_ids``.
    """

    query_ids: tuple[str, ...]
    values: dict[str, np.ndarray]
    unjudged: int = 0

    def mean(self, measure: str) -> float:
        """The measure averaged over the judged queries; nan when there are none."""
        values = self.values[measure]
        return float(values.mean()) if len(values) else float("nan")

    def __len__(self) -> int:
        """Number of judged queries."""
        return len(self.query_ids)


def parse_measure(name: str, own: Collection[str] = ()) -> tuple[str, int]:
    """Split a measure's name into kind and cutoff.

    Args:
        name: for example ``ndcg@10``.
        own: names in ``evaluation.own_measures``.

    Returns:
        The kind (one of ``KINDS`` and ``own``) and k.

    Raises:
        InputError: unknown kind, or a cutoff that is not a whole number above 0.
    """
    match = re.fullmatch(r"([a-z][a-z0-9_]*)@([1-9][0-9]{0,8})", name)
    if match is None or match[1] not in (*KINDS, *own):
        valid = ", ".join(f"{kind}@k" for kind in (*KINDS, *own))
        raise InputError(
            f"evaluation.measures: unknown measure {name!r}; valid are {valid} with k = 1, 2, ... "
            "(for example ndcg@10)"
        )
    return match[1], int(match[2])


def own_kind(name: str) -> str:
    """The kind of a measure of a user's own, whose numbers have a protocol of their own; "" for a measure of ours."""
    kind = name.partition("@")[0]
    return "" if kind in KINDS else kind


def measure_title(name: str) -> str:
    """How tables print a measure: ``ndcg@10`` is shown as ``nDCG@10``.

    Args:
        name: a measure's name; an unknown one is returned as it is.
    """
    kind, at, k = name.partition("@")
    titles = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP", "mapmin": "MAPmin"}
    return titles.get(kind, kind.capitalize() if kind in KINDS else kind) + at + k


def evaluate(
    ranking: Ranking, qrels: Qrels, measures: Sequence[str], own: Mapping[str, Measure] | None = None
) -> PerQuery:
    """Measure a ranking against all judgments, one value a query.

    The backend is trec_eval 9 through pytrec_eval-terrier. Its conventions hold: scores count as float32;
    equal scores are ordered by document id, largest first; a grade above 0 is relevant; nDCG's gain is the
    grade itself and its ideal ranking comes from all judged documents, retrieved or not; precision divides
    by k. F1 is 2PR / (P + R) of a query's precision and recall at k, 0 when both are (van Rijsbergen 1979). MAPmin is
    MAP times R / min(k, R) for a query with R relevant documents, as sentence-transformers'
    InformationRetrievalEvaluator computes it: 1 where the first k documents are all relevant. As with
    ``trec_eval -c``, a judged query that the ranking does not hold counts as 0.

    Args:
        ranking: retrieved documents with scores that do not increase down a list.
        qrels: query id to {document id: grade}. A query without a single judgment is not judged.
        measures: names such as ``ndcg@10``.
        own: measures of a class of their own, by the kinds in those names.

    Returns:
        The values of all judged queries, in the order of ``qrels``.

    Raises:
        InputError: an unknown measure, a query or a document that is listed twice, lists of different
            lengths, a score that is NaN, or scores that increase down a list (the ranking's order and the
            order that is measured would differ); a value of a measure of a user's own that is not from 0 to 1; or
            what trec_eval's code does not survive: a grade above ``LARGEST_GRADE``, or an id that is no text in
            UTF-8 or holds a NUL character.
    """
    import numpy as np
    import pytrec_eval

    own = own or {}
    wanted = [(name, *parse_measure(name, own)) for name in measures]
    # trec_eval sees no difference between negative grades and 0, but keeps special meanings below 0.
    judged = {q: {d: max(int(g), 0) for d, g in grades.items()} for q, grades in qrels.items() if grades}
    _check_judged(judged)
    runs, unjudged = _trec_runs(ranking, judged)
    plain = {
        f"{name}.{k}" for _, kind, k in wanted if kind not in ("mrr", *own) for name in _trec_parts(kind)
    }
    whole = pytrec_eval.RelevanceEvaluator(judged, plain).evaluate(runs) if plain else {}

    def column(found: Mapping[str, Mapping[str, float]], key: str) -> np.ndarray:
        return np.array([found.get(q, {}).get(key, 0.0) for q in judged], dtype=np.float64)

    values = {}
    for name, kind, k in wanted:
        if kind in own:
            each = [own_value(own[kind], kind, k, q, list(runs.get(q, {})), judged[q]) for q in judged]
            values[name] = np.array(each, dtype=np.float64)
        elif kind == "mrr":
            # Lists are in trec_eval's order, so the first k here are the first k there.
            cut = {query: dict(list(documents.items())[:k]) for query, documents in runs.items()}
            ranks = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(cut)
            values[name] = column(ranks, "recip_rank")
        elif kind == "f1":
            precision, recall = column(whole, f"P_{k}"), column(whole, f"recall_{k}")
            both = precision + recall
            values[name] = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
        elif kind == "mapmin":
            relevant = np.array([sum(grade > 0 for grade in grades.values()) for grades in judged.values()])
            values[name] = column(whole, f"map_cut_{k}") * relevant / np.clip(relevant, 1, k)
        else:
            values[name] = column(whole, f"{TREC_NAMES[kind]}_{k}")
    return PerQuery(tuple(judged), values, unjudged)


def _check_judged(judged: Mapping[str, Mapping[str, int]]) -> None:
    for query, grades in judged.items():
        largest = max(grades, key=grades.__getitem__)
        if grades[largest] > LARGEST_GRADE:
            raise InputError(
                f"qrels: the grade of query {query} and document {largest} is above {LARGEST_GRADE}"
            )
        _check_ids([query, *grades], "qrels")


def _check_ids(ids: Sequence[str], place: str) -> None:
    together = "".join(ids)
    try:
        together.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place}: an id holds half of a character: {error.object[error.start]!a}"
        ) from error
    if "\0" in together:
        raise InputError(f"{place}: an id holds a NUL character, at which trec_eval would cut it off")


def _trec_parts(kind: str) -> tuple[str, ...]:
    """What trec_eval has to compute for a kind of measure."""
    return ("P", "recall") if kind == "f1" else (TREC_NAMES[kind],)


def trec_order(document_ids: Sequence[str], scores: Sequence[float]) -> list[int]:
    """The positions of documents in trec_eval's order: float32 score descending, then id descending.

    Ids compare as UTF-8 bytes in trec_eval and as code points here, which is the same order.

    Args:
        document_ids: ids of one query's documents.
        scores: their scores, no NaN.
    """
    import numpy as np

    rounded = np.asarray(scores, dtype=np.float32)
    by_id = sorted(range(len(document_ids)), key=document_ids.__getitem__, reverse=True)
    return sorted(by_id, key=lambda position: -rounded[position])


def _trec_runs(ranking: Ranking, judged: Mapping[str, Any]) -> tuple[dict[str, dict[str, float]], int]:
    """The judged part of a ranking as pytrec_eval takes it, in trec_eval's order, and the number left out."""
    import numpy as np

    if not len(ranking.query_ids) == len(ranking.document_ids) == len(ranking.scores):
        raise InputError(
            f"ranking: {len(ranking.query_ids)} queries, {len(ranking.document_ids)} lists of documents and "
            f"{len(ranking.scores)} lists of scores do not belong together"
        )
    runs: dict[str, dict[str, float]] = {}
    unjudged: set[str] = set()
    twice, not_numbers, unsorted = [], [], []
    for query, documents, scores in zip(ranking.query_ids, ranking.document_ids, ranking.scores, strict=True):
        if len(documents) != len(scores):
            raise InputError(
                f"ranking: query {query} has {len(documents)} documents and {len(scores)} scores"
            )
        if query in runs or query in unjudged:
            raise InputError(f"ranking: query {query} is listed twice")
        rounded = np.asarray(scores, dtype=np.float32)
        if np.isnan(rounded).any():
            not_numbers.append(query)
        elif (rounded[1:] > rounded[:-1]).any():
            unsorted.append(query)
        elif len(set(documents)) != len(documents):
            twice.append(query)
        elif query not in judged:
            unjudged.add(query)
        else:
            order = (
                trec_order(documents, scores)
                if (rounded[1:] == rounded[:-1]).any()
                else range(len(documents))
            )
            _check_ids(documents, "ranking")
            runs[query] = {documents[i]: float(rounded[i]) for i in order}
    for queries, problem in (
        (not_numbers, "scores that are NaN"),
        (unsorted, "scores that increase down the list (best must come first)"),
        (twice, "a document more than once"),
    ):
        if queries:
            raise InputError(f"ranking: these queries have {problem}: {some_ids(queries)}")
    return runs, len(unjudged)
