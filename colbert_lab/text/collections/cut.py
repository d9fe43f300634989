"""Smaller splits that are the same on every machine."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus, Split
from colbert_lab.text.collections.collection import build_corpus, build_split


def cut_split(split: Split, documents: int | None, queries: int | None) -> Split:
    """Keep some queries and some documents of a split.

    Queries are taken in the order of the SHA-256 of their ids. Documents are taken in this order: relevant
    to a kept query, judged for one, the others by the SHA-256 of their ids. Both keep the order they had.
    A smaller corpus is an easier task: numbers of different cuts do not compare. Judgments of documents that
    were cut are dropped (they are never relevant ones), and so is a query that has none left.

    Args:
        split: what to cut.
        documents: how many documents to keep; None keeps all.
        queries: how many queries to keep; None keeps all.

    Returns:
        The smaller split, or ``split`` itself when there is nothing to cut.

    Raises:
        InputError: a number is below 1, or ``documents`` has no room for the relevant documents.
    """
    return cut_together([split], documents, [queries])[0]


def cut_together(
    splits: Sequence[Split], documents: int | None, queries: Sequence[int | None]
) -> list[Split]:
    """Cut several splits of one collection to one shared smaller corpus, which is then encoded only once.

    Args:
        splits: splits over equal corpora.
        documents: how many documents to keep in all; None keeps all. Without effect on splits with candidate lists,
            which keep the documents of the kept lists.
        queries: how many queries of each split to keep, in the order of ``splits``; None keeps all.

    Returns:
        The splits, whose ``corpus`` is one and the same object. A split that loses nothing is returned as
        it is.

    Raises:
        InputError: a number is below 1, ``documents`` has no room for the relevant documents of the kept
            queries, or the splits have different corpora.
    """
    if not splits:
        return []
    if len({split.corpus.fingerprint for split in splits}) > 1:
        names = ", ".join(f"{split.dataset}/{split.name}" for split in splits)
        raise InputError(f"{names}: splits of different corpora cannot share one; cut each of them by itself")
    for key, number in (("documents", documents), *(("queries", number) for number in queries)):
        if number is not None and number < 1:
            raise InputError(f"{key}={number}: at least 1 must be kept; leave it null to keep all")
    whole = splits[0].corpus
    chosen = [_choose_queries(split, number) for split, number in zip(splits, queries, strict=True)]
    closed = any(split.candidates for split in splits)
    corpus = _listed(whole, chosen) if closed else _cut_corpus(whole, chosen, documents)
    kept = None if corpus is whole else set(corpus.ids)
    return [_finish(split, part, corpus, kept) for split, part in zip(splits, chosen, strict=True)]


def _order(text: str) -> tuple[bytes, str]:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), text


def _choose_queries(split: Split, number: int | None) -> Split:
    if number is None or number >= len(split.queries):
        return split
    wanted = set(sorted(split.queries, key=_order)[:number])
    queries = {query_id: text for query_id, text in split.queries.items() if query_id in wanted}
    return replace(split, queries=queries, qrels={query_id: split.qrels[query_id] for query_id in queries})


def _listed(corpus: Corpus, chosen: Sequence[Split]) -> Corpus:
    """The documents of the kept candidate lists."""
    wanted = {name for split in chosen for query_id in split.queries for name in split.candidates[query_id]}
    return corpus if len(wanted) == len(corpus) else _kept(corpus, wanted)


def _cut_corpus(corpus: Corpus, chosen: Sequence[Split], documents: int | None) -> Corpus:
    if documents is None or documents >= len(corpus):
        return corpus
    rank: dict[str, int] = {}
    for split in chosen:
        for grades in split.qrels.values():
            for document_id, grade in grades.items():
                rank[document_id] = min(rank.get(document_id, 1), 0 if grade > 0 else 1)
    relevant = sum(value == 0 for value in rank.values())
    if relevant > documents:
        names = " and ".join(f"{split.dataset}/{split.name}" for split in chosen)
        raise InputError(
            f"documents={documents} is too few: the kept queries of {names} have {relevant} relevant "
            f"documents; set documents to {relevant} or more, or keep fewer queries "
            "(evaluation.every.queries=N; of training data, data.queries=N)"
        )
    order = sorted(corpus.ids, key=lambda document_id: (rank.get(document_id, 2), *_order(document_id)))
    return _kept(corpus, set(order[:documents]))


def _kept(corpus: Corpus, wanted: set[str]) -> Corpus:
    rows = [row for row, document_id in enumerate(corpus.ids) if document_id in wanted]
    return build_corpus([corpus.ids[row] for row in rows], [corpus.texts[row] for row in rows])


def _finish(split: Split, chosen: Split, corpus: Corpus, kept: set[str] | None) -> Split:
    if chosen is split and corpus is split.corpus:
        return split
    if chosen is split and kept is None:
        return replace(split, corpus=corpus)
    qrels = {}
    for query_id, grades in chosen.qrels.items():
        left = {name: grade for name, grade in grades.items() if kept is None or name in kept}
        if left:
            qrels[query_id] = left
    queries = {query_id: text for query_id, text in chosen.queries.items() if query_id in qrels}
    dropped = sum(map(len, chosen.qrels.values())) - sum(map(len, qrels.values()))
    cut = {
        "documents": len(corpus),
        "documents_before": len(split.corpus),
        "queries": len(queries),
        "queries_before": len(split.queries),
        "judgments_dropped": dropped,
    }
    return build_split(
        split.dataset,
        split.name,
        corpus,
        queries,
        qrels,
        dict(split.details) | {"cut": cut},
        excluded=split.excluded,
        candidates={query_id: split.candidates[query_id] for query_id in queries} if split.candidates else {},
        protocol=split.protocol,
    )
