"""Small training data and splits for the audit's tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from colbert_lab.base.types import Split
from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.rows.examples import ScoredLists
from colbert_lab.text.rows.triples import Triples, make_triples


def triples(
    rows: Sequence[tuple[str, str, list[str]]], ids: Sequence[str] | None = None, name: str = "made"
) -> Triples:
    """Rows of query, positive and negatives; pairs where there are none."""
    columns: dict[str, Any] = {"query": [q for q, _, _ in rows], "document": [d for _, d, _ in rows]}
    width = min(len(negatives) for _, _, negatives in rows)
    if width:
        columns["negative"] = [negatives for _, _, negatives in rows]
    if ids is not None:
        columns["query_id"] = list(ids)
    return make_triples(name, Dataset.from_dict(columns), width or None)


def lists(
    queries: Sequence[str],
    documents: Sequence[str],
    members: Sequence[Sequence[int]],
    scores: Sequence[Sequence[float]],
) -> ScoredLists:
    """Score lists with queries q0, q1, ... and documents d0, d1, ..."""
    corpus = build_corpus([f"d{n}" for n in range(len(documents))], documents)
    return ScoredLists(
        "lists",
        [f"q{n}" for n in range(len(queries))],
        queries,
        corpus,
        [np.array(rows) for rows in members],
        [np.array(values, dtype=np.float32) for values in scores],
        "mark",
    )


def split(documents: dict[str, str], queries: dict[str, str], relevant: dict[str, str]) -> Split:
    """A test split with one relevant document a query."""
    corpus = build_corpus(list(documents), list(documents.values()))
    qrels = {query: {document: 1} for query, document in relevant.items()}
    return build_split("held", "test", corpus, queries, qrels, {})
