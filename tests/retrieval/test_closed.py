"""Candidate lists against every pair scored by itself in float64."""

from __future__ import annotations

import torch

from colbert_lab.retrieval.closed import list_rows, search_lists
from colbert_lab.retrieval.exact import tie_ranks
from colbert_lab.text.collection import build_corpus, build_split
from colbert_lab.types import PackedEmbeddings


def packed(lengths: list[int], seed: int) -> PackedEmbeddings:
    generator = torch.Generator().manual_seed(seed)
    emb_TD = torch.nn.functional.normalize(torch.randn(sum(lengths), 8, generator=generator), dim=-1)
    return PackedEmbeddings(emb_TD, torch.tensor(lengths))


def test_lists_are_ranked_as_pair_by_pair_in_float64() -> None:
    queries, documents = packed([3, 1, 5], 0), packed([4, 1, 7, 2, 3, 6], 1)
    rows = [torch.tensor([5, 0, 3]), torch.tensor([1]), torch.tensor([4, 2, 1, 0])]
    ids = ["f", "a", "c", "b", "e", "d"]
    scores, found = search_lists(queries, documents, tie_ranks(ids), rows, 3)
    parts = documents.emb_TD.double().split(documents.lengths_N.tolist())
    for query, own, values, ranked in zip(
        queries.emb_TD.double().split(queries.lengths_N.tolist()), rows, scores, found, strict=True
    ):
        expected = {
            row: sum(max(float(token @ other) for other in parts[row]) for token in query)
            for row in own.tolist()
        }
        best = sorted(expected, key=lambda row: -expected[row])[:3]
        assert ranked == best
        torch.testing.assert_close(
            torch.tensor(values), torch.tensor([expected[row] for row in best]), atol=1e-5, rtol=0
        )


def test_ties_go_by_document_id_as_in_trec_eval() -> None:
    one = torch.ones(1, 8)
    documents = PackedEmbeddings(one.repeat(3, 1), torch.tensor([1, 1, 1]))
    found = search_lists(
        PackedEmbeddings(one, torch.tensor([1])), documents, tie_ranks(["b", "c", "a"]), [torch.arange(3)], 2
    )
    assert found == ([[8.0, 8.0]], [[1, 0]])


def test_rows_of_a_split() -> None:
    corpus = build_corpus(["c", "a", "b"], ["x", "y", "z"])
    lists = {"q2": ["b"], "q1": ["b", "c"]}
    split = build_split(
        "toy", "test", corpus, {"q1": "1", "q2": "2"}, {"q1": {"c": 1}, "q2": {"b": 1}}, {}, candidates=lists
    )
    assert [rows.tolist() for rows in list_rows(split)] == [[2, 0], [2]]
