"""Build a corpus or a split together with its fingerprint."""

from collections.abc import Iterator, Mapping, Sequence
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
) -> Split:
    """Make a split.

    Args:
        dataset: name of the collection.
        name: name of the split.
        corpus: the documents.
        queries: query id to text.
        qrels: query id to {document id: grade}.
        details: provenance worth keeping.

    Returns:
        The split with the fingerprint of corpus, queries and judgments; their reading order does not matter.
    """
    order = sorted(queries)
    mark = fingerprint(
        corpus.fingerprint, order, (queries[query_id] for query_id in order), _judgments(order, qrels)
    )
    return Split(dataset, name, corpus, queries, qrels, mark, details)


def _judgments(order: Sequence[str], qrels: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for query_id in order:
        for document_id, grade in sorted(qrels[query_id].items()):
            yield from (query_id, document_id, str(grade))
