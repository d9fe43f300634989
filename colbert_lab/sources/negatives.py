"""Hard negatives: what retrievers find that is not relevant, as each ranks it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import datasets
import numpy as np
import torch

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.types import Corpus, Split
from colbert_lab.search.exact import tie_ranks
from colbert_lab.sources.choosing import RANDOM, Mining
from colbert_lab.sources.list_candidates import query_generator
from colbert_lab.teachers.scorer import Scorer, hits, indexed, queries_at_once, rank, told_of, top_hits
from colbert_lab.text.collections.collection import own_documents
from colbert_lab.text.fingerprint import normalised
from colbert_lab.text.rows.checking import DOCUMENT, ID, NEGATIVE, QUERY
from colbert_lab.text.rows.triples import Triples, make_triples

log = logging.getLogger(__name__)


def rows_of(
    splits: Callable[[], Sequence[Split]], negatives: int | None, retriever: Scorer | None
) -> list[Triples]:
    """Every relevant document of every query as a pair, with hard negatives where some are wanted.

    Args:
        splits: loads queries, judgments and corpora, once the settings are checked.
        negatives: how many for each query, see :func:`mine_triples`; 0 and None give pairs.
        retriever: finds them.

    Raises:
        InputError: nothing finds the negatives, or see :func:`mine_triples`.
    """
    if not negatives:
        return [_triples(split, None, None) for split in splits()]
    if retriever is None:
        raise InputError(
            "data.retriever: hard negatives need a retriever; set teacher@data.retriever=bm25, bi_encoder or ensemble"
        )
    return [mine_triples(split, retriever, negatives) for split in splits()]


def _triples(split: Split, mined: Mapping[str, Sequence[str]] | None, negatives: int | None) -> Triples:
    """The same, with the negatives that were mined for each query."""
    text_of = dict(zip(split.corpus.ids, split.corpus.texts, strict=True))
    rows = [(query, document) for query, found in relevant_documents(split).items() for document in found]
    columns: dict[str, list[Any]] = {
        ID: [query for query, _ in rows],
        QUERY: [split.queries[query] for query, _ in rows],
        DOCUMENT: [text_of[document] for _, document in rows],
    }
    if mined is not None:
        columns[NEGATIVE] = [mined[query] for query, _ in rows]
    table = datasets.Dataset.from_dict(columns)
    return make_triples(f"{split.dataset}/{split.name}", table, negatives, "data.path")


def mine_triples(split: Split, retriever: Scorer, negatives: int) -> Triples:
    """Pairs with the best documents that a retriever finds: no relevant ones, not the query itself, no copies of such.

    Where it finds too few, random documents take the free places, so that all rows are as long; the log counts them.
    ``task=mine`` can leave such queries out instead (``mine.short``).

    Texts are copies when they are the same in their normal form, see
    :func:`colbert_lab.text.fingerprint.normalised`.
    Unjudged documents may be relevant all the same; ``objective.contrastive.false_negative_ratio`` filters by a
    teacher where there are scores.

    Args:
        split: queries, judgments and corpus.
        retriever: finds the negatives.
        negatives: how many for each query.

    Raises:
        InputError: the corpus has fewer for a query.
    """
    relevant = relevant_documents(split)
    queries = {query: split.queries[query] for query in relevant}
    corpus = split.corpus
    text_of = dict(zip(corpus.ids, corpus.texts, strict=True))

    never = never_candidates(split)

    def others(query: str, ranked: Iterable[str], found: Sequence[str] = ()) -> list[str]:
        """What is found and the texts of a ranking that may be negatives, as many as are wanted."""
        out = {normalised(text_of[document]) for document in relevant[query]}
        out |= {normalised(text) for text in (queries[query], *found)}
        texts = list(found)
        for document in ranked:
            if len(texts) == negatives:
                break
            if document not in never.get(query, ()) and (form := normalised(text_of[document])) not in out:
                out.add(form)
                texts.append(text_of[document])
        return texts

    def find(wanted: dict[str, str], depth: int, progress: str | None) -> dict[str, list[str]]:
        with told_of("data.retriever"):
            ranking = rank(retriever, corpus, wanted, min(depth, len(corpus)), progress)
        pairs = zip(ranking.query_ids, ranking.document_ids, strict=True)
        return {query: others(query, ranked) for query, ranked in pairs}

    longest = (max(map(len, lists.values()), default=0) for lists in (relevant, never))
    depth = negatives + sum(longest)
    mined = find(queries, depth, "hard negatives")
    # Copies of a document may have taken the places of others.
    again = {query: queries[query] for query, texts in mined.items() if len(texts) < negatives}
    if again and depth < len(corpus):
        mined |= find(again, len(corpus), None)
    short = [query for query, texts in mined.items() if len(texts) < negatives]
    for query in short:
        drawn = query_generator(0, query).permutation(len(corpus))
        mined[query] = others(query, (corpus.ids[row] for row in drawn), mined[query])
    lacking = [query for query in short if len(mined[query]) < negatives]
    if lacking:
        raise InputError(
            f"data.negatives={negatives}: {split.dataset} has fewer other documents for queries {some_ids(lacking)}; "
            "lower it"
        )
    if short:
        log.warning(
            "%s finds fewer than %d other documents of %s for queries %s; random documents are in their places",
            retriever.name, negatives, split.dataset, some_ids(short),
        )  # fmt: skip
    made = _triples(split, mined, negatives)
    log.info(
        "%d rows of %s with %d hard negatives from %s", len(made), split.dataset, negatives, retriever.name
    )
    return made


def relevant_documents(split: Split) -> dict[str, list[str]]:
    """The relevant documents (grade above 0) of every query that has any, in the order of the split."""
    found = {
        query: [document for document, grade in split.qrels[query].items() if grade > 0]
        for query in split.queries
    }
    return {query: documents for query, documents in found.items() if documents}


def never_candidates(split: Split) -> dict[str, set[str]]:
    """Documents that are no candidates of a query although they are not judged relevant.

    They are those that the split excludes, and the query itself where it is a document (see
    :func:`colbert_lab.text.collections.collection.own_documents`): its best answer, and no negative.
    """
    out = {query: set(names) for query, names in split.excluded.items()}
    for query in own_documents(split):
        out.setdefault(query, set()).add(query)
    return out


def find_candidates(
    split: Split,
    mining: Mining,
    ids: Sequence[str],
    left_out: Sequence[np.ndarray],
    counts: Mapping[str, Counter[str]],
) -> list[dict[str, list[int]]]:
    """For each query and retriever, the rows of its candidates in the order in which they are to be taken.

    Args:
        split: queries and corpus.
        mining: the settings.
        ids: the queries.
        left_out: for each query, sorted rows that are no candidates and do not count as ranks.
        counts: for each retriever, is added to: the documents of its lists that are ``relevant`` (left out), those
            ``out_of_range``, above the first rank, and the queries for which it finds ``nothing``.

    Raises:
        InputError: a score is not a finite number.
    """
    found: list[dict[str, list[int]]] = [{} for _ in ids]
    first, last = mining.ranks
    for name in mining.shares:
        generators = (query_generator(mining.seed, f"{name}:{query}") for query in ids)
        if name == RANDOM:
            n = min(mining.pool, len(split.corpus))
            lists = [generator.choice(len(split.corpus), n, replace=False) for generator in generators]
            ranges = [_within(rows, out, 1, n) for rows, out in zip(lists, left_out, strict=True)]
        else:
            depth = last + max(map(len, left_out))
            lists = _ranked(split, mining.retrievers[name], name, ids, depth)
            ranges = [_within(rows, out, first, last) for rows, out in zip(lists, left_out, strict=True)]
            if mining.sample == "random":
                ranges = [
                    (generator.permutation(rows), n, m)
                    for generator, (rows, n, m) in zip(generators, ranges, strict=True)
                ]
        for own, ranked, (rows, relevant, above) in zip(found, lists, ranges, strict=True):
            if not len(ranked):
                counts[name]["nothing"] += 1
            own[name] = rows.tolist()
            counts[name]["relevant"] += relevant
            counts[name]["out_of_range"] += above
    return found


@lru_cache(maxsize=1)
def _ties(corpus: Corpus) -> torch.Tensor:
    return tie_ranks(list(corpus.ids))


def _ranked(split: Split, scorer: Scorer, name: str, ids: Sequence[str], depth: int) -> list[np.ndarray]:
    """Rows of the best documents that are found for each query, best first."""
    index, ties_C = indexed(scorer, split.corpus), _ties(split.corpus)
    ranked: list[np.ndarray] = []
    step = queries_at_once(len(split.corpus))
    for start in range(0, len(ids), step):
        block = ids[start : start + step]
        queries = [split.queries[query] for query in block]
        scores_BC, found_BC = hits(index, queries, f"mine.retrievers.{name}")
        ranked += [rows.numpy() for _, rows in top_hits(scores_BC, found_BC, ties_C, depth)]
    return ranked


def _within(ranked: np.ndarray, out: np.ndarray, first: int, last: int) -> tuple[np.ndarray, int, int]:
    """Rows of the ranks from first to last, counted without ``out``.

    Returns:
        The rows, how many of ``out`` are met on the way to the last rank, and how many others are above the first.
    """
    places = np.flatnonzero(~np.isin(ranked, out))
    end = int(places[last - 1]) + 1 if len(places) >= last else len(ranked)
    places = places[:last]
    return ranked[places[first - 1 :]], end - len(places), min(first - 1, len(places))
