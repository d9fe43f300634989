"""Join corpus, queries and judgments of a collection to a split, and check that they belong together."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from colbert_lab.errors import InputError, some_ids
from colbert_lab.text.collection import build_split
from colbert_lab.text.qrels import Qrels
from colbert_lab.types import Corpus, Split

log = logging.getLogger(__name__)


class Places(NamedTuple):
    """Where the three parts come from, for messages."""

    corpus: str
    queries: str
    qrels: str


def judged_split(
    dataset: str,
    name: str,
    corpus: Corpus,
    texts: Mapping[str, str],
    qrels: Qrels,
    details: Mapping[str, Any],
    places: Places,
    *,
    tolerate_unknown_documents: bool = False,
    also_known: Collection[str] = (),
    excluded: Mapping[str, Collection[str]] | None = None,
) -> Split:
    """Make a split of the judged queries.

    Queries without judgments are counted in ``details`` and left out, as trec_eval does.

    Args:
        dataset: name of the collection.
        name: name of the split.
        corpus: the documents.
        texts: query id to text, of all queries.
        qrels: query id to {document id: grade}.
        details: provenance worth keeping.
        places: where the parts come from.
        tolerate_unknown_documents: drop judgments of documents that are not in the corpus, and queries left without
            any, instead of raising; the counts go to ``details`` and to the log.
        also_known: documents that are not in the corpus on purpose; their judgments stay.
        excluded: see :class:`Split`.

    Raises:
        InputError: judgments name unknown documents or queries, or a relevant document is excluded.
    """
    details = dict(details)
    known = {*corpus.ids, *also_known}
    unknown = sorted({document for grades in qrels.values() for document in grades} - known)
    if unknown and not tolerate_unknown_documents:
        raise InputError(
            f"{places.qrels}: judges documents that are not in {places.corpus}: {some_ids(unknown)}; "
            "add them or remove their rows, or set evaluation.unknown_documents=drop"
        )
    if unknown:
        left = {query: {d: g for d, g in grades.items() if d in known} for query, grades in qrels.items()}
        judged_queries, qrels = len(qrels), {query: grades for query, grades in left.items() if grades}
        details["unknown_documents"] = len(unknown)
        details["queries_without_document"] = judged_queries - len(qrels)
        log.warning(
            "%s: judgments of %s documents that are not in %s are dropped, and with them %d queries",
            places.qrels,
            some_ids(unknown),
            places.corpus,
            details["queries_without_document"],
        )
    missing = [query_id for query_id in qrels if query_id not in texts]
    if missing:
        raise InputError(
            f"{places.qrels}: judges queries that are not in {places.queries}: {some_ids(missing)}; "
            "add them or remove their rows"
        )
    details["queries_without_judgments"] = len(texts) - len(qrels)
    if len(texts) > len(qrels):
        log.info(
            "%s/%s: %d of %d queries have no judgments in it and are not measured",
            dataset,
            name,
            len(texts) - len(qrels),
            len(texts),
        )
    chosen = {query_id: texts[query_id] for query_id in qrels}
    check_exclusions(qrels, excluded or {}, places.qrels)
    return build_split(dataset, name, corpus, chosen, qrels, details, excluded=excluded)


def check_exclusions(
    qrels: Mapping[str, Mapping[str, int]], excluded: Mapping[str, Collection[str]], place: str
) -> None:
    """Check that nothing relevant is excluded: it could never be found, and nDCG's ideal would still count it.

    Args:
        qrels: query id to {document id: grade}.
        excluded: query id to document ids.
        place: where the judgments come from.

    Raises:
        InputError: a query's excluded document is relevant to it.
    """
    both = [
        f"{query}/{name}"
        for query, names in excluded.items()
        for name in names
        if qrels.get(query, {}).get(name, 0) > 0
    ]
    if both:
        raise InputError(
            f"{place}: documents that are relevant and excluded for one query: {some_ids(both)}; keep one of the two"
        )


def check_unique(ids: Sequence[str], what: str, place: str) -> None:
    """Check that no id occurs twice.

    Args:
        ids: the ids.
        what: ``document`` or ``query``.
        place: where they come from.

    Raises:
        InputError: naming those that do.
    """
    if len(set(ids)) < len(ids):
        repeated = [name for name, count in Counter(ids).items() if count > 1]
        raise InputError(f"{place}: {what} ids occur twice: {some_ids(repeated)}; make them unique")
