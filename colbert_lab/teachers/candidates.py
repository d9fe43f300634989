"""Documents that may become negatives, as each retriever ranks them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch

from colbert_lab.errors import InputError, some_ids
from colbert_lab.retrieval.exact import tie_ranks, top_k
from colbert_lab.teachers.choosing import RANDOM
from colbert_lab.teachers.list_candidates import query_generator
from colbert_lab.teachers.mining_settings import Mining
from colbert_lab.teachers.scorer import QUERIES_AT_ONCE, Scorer, indexed
from colbert_lab.types import Corpus, Split


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
        counts: for each retriever, is added to: the documents of its lists that are ``relevant`` (left out), and those
            ``out_of_range``, above the first rank.

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
        for own, (rows, relevant, above) in zip(found, ranges, strict=True):
            own[name] = rows.tolist()
            counts[name]["relevant"] += relevant
            counts[name]["out_of_range"] += above
    return found


@lru_cache(maxsize=1)
def _ties(corpus: Corpus) -> torch.Tensor:
    return tie_ranks(list(corpus.ids))


def _ranked(split: Split, scorer: Scorer, name: str, ids: Sequence[str], depth: int) -> list[np.ndarray]:
    """Rows of the best documents of each query, best first."""
    index, ties_C = indexed(scorer, split.corpus), _ties(split.corpus)
    ranked: list[np.ndarray] = []
    for start in range(0, len(ids), QUERIES_AT_ONCE):
        block = ids[start : start + QUERIES_AT_ONCE]
        scores_BC = index.scores([split.queries[query] for query in block])
        fine = torch.isfinite(scores_BC).all(dim=1).tolist()
        if not all(fine):
            bad = [query for query, finite in zip(block, fine, strict=True) if not finite]
            raise InputError(
                f"mine.retrievers.{name}: scores that are no finite numbers for queries {some_ids(bad)}; check the "
                "model and its precision"
            )
        ranked += list(top_k(scores_BC, ties_C, depth)[1].numpy())
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
