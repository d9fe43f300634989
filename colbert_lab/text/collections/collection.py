"""Build a corpus, and a split with its fingerprint: corpus, queries and judgments, checked to belong together."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.types import Corpus, Split
from colbert_lab.text.collections.text_files import Qrels
from colbert_lab.text.fingerprint import fingerprint


def build_corpus(ids: Sequence[str], texts: Sequence[str]) -> Corpus:
    """Make a corpus.

    Args:
        ids: document ids, unique.
        texts: their texts, in the same order.

    Returns:
        The corpus with the fingerprint of ids and texts.
    """
    return Corpus(ids, texts, fingerprint(ids, texts))


def build_split(
    dataset: str,
    name: str,
    corpus: Corpus,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    details: Mapping[str, Any],
    *,
    excluded: Mapping[str, Collection[str]] | None = None,
    candidates: Mapping[str, Collection[str]] | None = None,
    protocol: Mapping[str, Any] | None = None,
) -> Split:
    """Make a split.

    Args:
        dataset: name of the collection.
        name: name of the split.
        corpus: the documents.
        queries: query id to text.
        qrels: query id to {document id: grade}.
        details: provenance worth keeping.
        excluded: see :class:`Split`; what is not in the corpus or not asked is left out.
        candidates: see :class:`Split`.
        protocol: see :class:`Split`; not part of the fingerprint, as it changes no text.

    Returns:
        The split with the fingerprint of corpus, queries, judgments, exclusions and candidates; their reading
        order does not matter.
    """
    order = sorted(queries)
    kept = _within(corpus, queries, excluded or {})
    parts: list[Iterable[str]] = [
        corpus.fingerprint,
        order,
        (queries[query_id] for query_id in order),
        _judgments(order, qrels),
    ]
    for name_of_part, lists in (("excluded", kept), ("candidates", candidates or {})):
        if lists:
            parts += [name_of_part, _lists(lists)]
    return Split(
        dataset,
        name,
        corpus,
        queries,
        qrels,
        fingerprint(*parts),
        details,
        kept,
        candidates or {},
        protocol or {},
    )


def split_parts(split: Split) -> dict[str, str]:
    """Fingerprints of what a split's own fingerprint is made of, to tell what differs between two splits.

    Returns:
        Those of ``documents``, ``queries`` and ``judgments``; of ``excluded`` and ``candidates`` where there are any.
    """
    order = sorted(split.queries)
    parts = {
        "documents": split.corpus.fingerprint,
        "queries": fingerprint(order, (split.queries[query_id] for query_id in order)),
        "judgments": fingerprint(_judgments(order, split.qrels)),
    }
    lists = {"excluded": split.excluded, "candidates": split.candidates}
    return parts | {name: fingerprint(_lists(each)) for name, each in lists.items() if each}


def _judgments(order: Sequence[str], qrels: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for query_id in order:
        for document_id, grade in sorted(qrels[query_id].items()):
            yield from (query_id, document_id, str(grade))


def _within(
    corpus: Corpus, queries: Mapping[str, str], excluded: Mapping[str, Collection[str]]
) -> dict[str, Collection[str]]:
    if not excluded:
        return {}
    known = set(corpus.ids)
    found = {query_id: known.intersection(excluded.get(query_id, ())) for query_id in queries}
    return {query_id: documents for query_id, documents in found.items() if documents}


def _lists(lists: Mapping[str, Collection[str]]) -> Iterator[str]:
    for query_id in sorted(lists):
        yield from (query_id, *sorted(lists[query_id]), "")


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shared:
    """What the splits of a collection share.

    Attributes:
        dataset: name of the collection.
        corpus: the documents.
        texts: query id to text, of all queries.
        corpus_place: where the corpus comes from, for messages.
        queries_place: where the queries come from.
        also_known: documents that are not in the corpus on purpose; their judgments stay.
        excluded: see :class:`Split`.
    """

    dataset: str
    corpus: Corpus
    texts: Mapping[str, str]
    corpus_place: str
    queries_place: str
    also_known: Collection[str] = ()
    excluded: Mapping[str, Collection[str]] = field(default_factory=dict)


def judged_split(
    shared: Shared,
    name: str,
    qrels: Qrels,
    details: Mapping[str, Any],
    place: str,
    *,
    tolerate_unknown_documents: bool = False,
) -> Split:
    """Make a split of the judged queries.

    Queries without judgments are counted in ``details`` and left out, as trec_eval does.

    Args:
        shared: the documents and queries.
        name: name of the split.
        qrels: query id to {document id: grade}.
        details: provenance worth keeping.
        place: where the judgments come from, for messages.
        tolerate_unknown_documents: drop judgments of documents that are not in the corpus, and queries left without
            any, instead of raising; the counts go to ``details`` and to the log.

    Raises:
        InputError: judgments name unknown documents or queries, or a relevant document is excluded.
    """
    details, texts = dict(details), shared.texts
    known = {*shared.corpus.ids, *shared.also_known}
    unknown = sorted({document for grades in qrels.values() for document in grades} - known)
    if unknown and not tolerate_unknown_documents:
        raise InputError(
            f"{place}: judges documents that are not in {shared.corpus_place}: {some_ids(unknown)}; "
            "add them or remove their rows, or set evaluation.unknown_documents=drop"
        )
    if unknown:
        left = {query: {d: g for d, g in grades.items() if d in known} for query, grades in qrels.items()}
        judged_queries, qrels = len(qrels), {query: grades for query, grades in left.items() if grades}
        details["unknown_documents"] = len(unknown)
        details["queries_without_document"] = judged_queries - len(qrels)
        log.warning(
            "%s: judgments of %s documents that are not in %s are dropped, and with them %d queries",
            place,
            some_ids(unknown),
            shared.corpus_place,
            details["queries_without_document"],
        )
    missing = [query_id for query_id in qrels if query_id not in texts]
    if missing:
        raise InputError(
            f"{place}: judges queries that are not in {shared.queries_place}: {some_ids(missing)}; "
            "add them or remove their rows"
        )
    details["queries_without_judgments"] = len(texts) - len(qrels)
    if len(texts) > len(qrels):
        log.info(
            "%s/%s: %d of %d queries have no judgments in it and are not measured",
            shared.dataset,
            name,
            len(texts) - len(qrels),
            len(texts),
        )
    chosen = {query_id: texts[query_id] for query_id in qrels}
    check_exclusions(qrels, shared.excluded, place)
    return build_split(shared.dataset, name, shared.corpus, chosen, qrels, details, excluded=shared.excluded)


def own_documents(split: Split) -> list[str]:
    """Queries that are documents themselves, as in ArguAna: those that have a document of their own id.

    Where the judgments say that it is relevant, or the split excludes it already, or has it in no candidate list of the
    query, it is none.
    """
    shared = set(split.corpus.ids).intersection(split.queries)
    return [
        query
        for query in split.queries
        if query in shared
        and split.qrels.get(query, {}).get(query, 0) <= 0
        and query not in split.excluded.get(query, ())
        and query in split.candidates.get(query, (query,))
    ]


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
