"""Build a corpus or a split together with its fingerprint."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.types import Corpus, Split


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
