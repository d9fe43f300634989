from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from colbert_lab.base.types import PackedEmbeddings, Ranking
from colbert_lab.search import exact
from colbert_lab.search.exact import (
    list_rows,
    score_of,
    search,
    search_depth,
    sort_keys,
    tie_ranks,
    top_k,
    without_excluded,
)
from colbert_lab.search.storage import Float
from colbert_lab.search.store import TokenStore, make_shard
from colbert_lab.text.collections.collection import build_corpus, build_split


def packed(n: int, seed: int, dim: int = 4) -> PackedEmbeddings:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (n,), generator=generator)
    emb = torch.randn(int(lengths.sum()), dim, generator=generator)
    return PackedEmbeddings(torch.nn.functional.normalize(emb, dim=-1), lengths)


def stored(documents: PackedEmbeddings, shards: int = 2) -> TokenStore:
    """In shards of equal numbers of documents."""
    codec = Float("float32")
    ends = torch.cumsum(documents.lengths_N, 0).tolist()
    edges = [len(documents) * n // shards for n in range(shards + 1)]
    made = []
    for start, stop in itertools.pairwise(edges):
        part = documents.emb_TD[(ends[start - 1] if start else 0) : ends[stop - 1]]
        embeddings = PackedEmbeddings(part, documents.lengths_N[start:stop])
        made.append(make_shard(embeddings, torch.arange(start, stop), codec))
    return TokenStore(codec, made)


def naive(queries: PackedEmbeddings, documents: PackedEmbeddings) -> Tensor:
    q, d = (
        queries.emb_TD.split(queries.lengths_N.tolist()),
        documents.emb_TD.split(documents.lengths_N.tolist()),
    )
    return torch.stack([torch.stack([(a @ b.T).amax(dim=1).sum() for b in d]) for a in q])


@pytest.mark.parametrize(("block", "query_tokens"), [*exact.BLOCKS.values(), (200, 10), (1, 1)])
def test_equals_a_naive_loop_for_any_block_size(
    block: int, query_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "BLOCKS", {"cpu": (block, query_tokens)})
    queries, documents = packed(7, 0), packed(40, 1)
    expected = naive(queries, documents)
    scores, rows = search(queries, stored(documents), torch.arange(40), k=10)
    torch.testing.assert_close(scores, expected.topk(10, dim=1).values, atol=1e-5, rtol=0)
    torch.testing.assert_close(expected.gather(1, rows), scores, atol=1e-5, rtol=0)


def test_k_beyond_the_corpus_returns_everything() -> None:
    scores, rows = search(packed(2, 0), stored(packed(5, 1)), torch.arange(5), k=100)
    assert rows.sort(dim=1).values.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert bool((scores.diff(dim=1) <= 0).all())


def test_ties_go_to_the_larger_document_id_at_any_cut() -> None:
    ids = ["d3", "d1", "d2", "d10"]
    documents = PackedEmbeddings(torch.ones(4, 1), torch.ones(4, dtype=torch.int64))
    query = PackedEmbeddings(torch.ones(1, 1), torch.ones(1, dtype=torch.int64))
    for k in (1, 2, 4):
        _, rows = search(query, stored(documents), tie_ranks(ids), k=k)
        assert [ids[row] for row in rows[0]] == ["d3", "d2", "d10", "d1"][:k]


def test_sort_keys_order_scores_like_floats_and_give_them_back() -> None:
    scores = torch.tensor([[-3.5, -0.0, 0.0, 1e-30, 2.0, -1e30, 7.25]])
    keys = sort_keys(scores, torch.arange(7))
    assert torch.equal(score_of(keys), scores + 0.0)
    assert keys.argsort(descending=True)[0].tolist() == [6, 4, 3, 2, 1, 0, 5]


def test_top_k_is_the_stable_order() -> None:
    scores = torch.randint(0, 4, (5, 50), generator=torch.Generator().manual_seed(0)).float()
    values, columns = top_k(scores, torch.arange(50), 20)
    for b in range(5):
        row = scores[b].tolist()
        expected = sorted(range(50), key=lambda n, row=row: (-row[n], -n))[:20]  # type: ignore[misc]
        assert columns[b].tolist() == expected
    torch.testing.assert_close(values, scores.gather(1, columns))


def test_rows_of_a_split() -> None:
    corpus = build_corpus(["c", "a", "b"], ["x", "y", "z"])
    lists = {"q2": ["b"], "q1": ["b", "c"]}
    split = build_split(
        "toy", "test", corpus, {"q1": "1", "q2": "2"}, {"q1": {"c": 1}, "q2": {"b": 1}}, {}, candidates=lists
    )
    assert [rows.tolist() for rows in list_rows(split)] == [[2, 0], [2]]


def test_excluded_documents_leave_and_the_list_keeps_its_length() -> None:
    ranking = Ranking(["q1", "q2"], [["a", "b", "c", "d"], ["d", "c", "b", "a"]], [[4.0, 3.0, 2.0, 1.0]] * 2)
    cut = without_excluded(ranking, {"q1": {"a", "c"}}, 2)
    assert cut == Ranking(["q1", "q2"], [["b", "d"], ["d", "c"]], [[3.0, 1.0], [4.0, 3.0]])
    assert without_excluded(ranking, {}, 2) is ranking


def test_the_search_goes_deeper_by_the_longest_exclusion() -> None:
    corpus = build_corpus(list("abcde"), list("abcde"))
    queries = {"q1": "x", "q2": "y"}
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}}
    plain = build_split("toy", "test", corpus, queries, qrels, {})
    assert search_depth(plain, 3) == 3
    lists = {"q1": ["b", "c"], "q2": ["a", "not there"]}
    assert search_depth(build_split("toy", "test", corpus, queries, qrels, {}, excluded=lists), 3) == 5
