"""Hard negatives: what a retriever finds that is not relevant."""

from __future__ import annotations

import logging

from colbert_lab.errors import InputError, some_ids
from colbert_lab.teachers.scorer import Scorer, rank
from colbert_lab.text.triples import DOCUMENT, ID, NEGATIVE, QUERY, Triples, make_triples, table_of
from colbert_lab.types import Split

log = logging.getLogger(__name__)


def pairs_of(split: Split) -> Triples:
    """Every relevant document of every query as a pair."""
    rows = _pairs(split)
    columns = {
        ID: [q for q, _ in rows],
        QUERY: [split.queries[q] for q, _ in rows],
        DOCUMENT: _texts(split, rows),
    }
    return make_triples(f"{split.dataset}/{split.name}", table_of(columns), None, "data.path")


def mine_triples(split: Split, retriever: Scorer, negatives: int) -> Triples:
    """Pairs with the retriever's best documents that are not judged relevant and are no copies of such.

    Unjudged documents may be relevant all the same; ``objective.contrastive.false_negative_ratio`` filters by a
    teacher where there are scores.

    Args:
        split: queries, judgments and corpus.
        retriever: finds the negatives.
        negatives: how many for each query.

    Raises:
        InputError: a query has fewer.
    """
    if negatives < 1:
        raise InputError(f"data.negatives={negatives}: must be at least 1; use data=pairs for none")
    relevant = relevant_documents(split)
    queries = {query: split.queries[query] for query in relevant}
    corpus = split.corpus
    text_of = dict(zip(corpus.ids, corpus.texts, strict=True))

    def find(wanted: dict[str, str], depth: int, progress: str | None) -> dict[str, list[str]]:
        ranking = rank(retriever, corpus, wanted, min(depth, len(corpus)), progress)
        found = {}
        for query, ranked in zip(ranking.query_ids, ranking.document_ids, strict=True):
            own = {text_of[document] for document in relevant[query]}
            texts = dict.fromkeys(text_of[document] for document in ranked)
            found[query] = [text for text in texts if text not in own][:negatives]
        return found

    depth = negatives + max((len(found) for found in relevant.values()), default=0)
    mined = find(queries, depth, "hard negatives")
    # Copies of a document may have taken the places of others.
    again = {query: queries[query] for query, texts in mined.items() if len(texts) < negatives}
    if again and depth < len(corpus):
        mined |= find(again, len(corpus), None)
    short = [query for query, texts in mined.items() if len(texts) < negatives]
    if short:
        raise InputError(
            f"data.negatives={negatives}: {split.dataset} has not that many other documents for queries "
            f"{some_ids(short)}; lower it"
        )
    rows = _pairs(split)
    columns = {
        ID: [q for q, _ in rows],
        QUERY: [split.queries[q] for q, _ in rows],
        DOCUMENT: _texts(split, rows),
        NEGATIVE: [mined[q] for q, _ in rows],
    }
    log.info(
        "%d rows of %s with %d hard negatives from %s", len(rows), split.dataset, negatives, retriever.name
    )
    return make_triples(f"{split.dataset}/{split.name}", table_of(columns), negatives, "data.path")


def relevant_documents(split: Split) -> dict[str, list[str]]:
    """The relevant documents (grade above 0) of every query that has any, in the order of the split."""
    found = {
        query: [document for document, grade in split.qrels[query].items() if grade > 0]
        for query in split.queries
    }
    return {query: documents for query, documents in found.items() if documents}


def _pairs(split: Split) -> list[tuple[str, str]]:
    return [(query, document) for query, found in relevant_documents(split).items() for document in found]


def _texts(split: Split, rows: list[tuple[str, str]]) -> list[str]:
    text_of = dict(zip(split.corpus.ids, split.corpus.texts, strict=True))
    return [text_of[document] for _, document in rows]
