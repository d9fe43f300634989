"""XTR's inference against a loop in float64: tokens that are retrieved, imputed similarities, blocks and ties."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.search import exact, xtr
from colbert_lab.search.exact import search, tie_ranks
from colbert_lab.search.xtr import nearest_similarities, search_retrieved
from tests.parity import make_xtr_golden as pylate
from tests.search.test_exact import packed, stored

N = 40
PEER = "COLBERT_LAB_PYLATE_PYTHON"


def loop(queries: PackedEmbeddings, documents: PackedEmbeddings, k: int) -> list[dict[int, float]]:
    """For each query, the score of every candidate: retrieve tokens one by one, impute what is missing."""
    owner = [d for d, length in enumerate(documents.lengths_N.tolist()) for _ in range(length)]
    found = []
    for query in queries.emb_TD.double().split(queries.lengths_N.tolist()):
        retrieved: list[dict[int, float]] = []
        imputed = []
        for token in query:
            similar = [float(token @ other) for other in documents.emb_TD.double()]
            first = sorted(range(len(owner)), key=lambda t, s=similar: -s[t])[:k]  # type: ignore[misc]
            best: dict[int, float] = {}
            for t in first:
                best[owner[t]] = max(best.get(owner[t], -2.0), similar[t])
            retrieved.append(best)
            imputed.append(similar[first[-1]])
        candidates = {d for best in retrieved for d in best}
        found.append(
            {d: sum(best.get(d, m) for best, m in zip(retrieved, imputed, strict=True)) for d in candidates}
        )
    return found


def check(
    found: tuple[list[Tensor], list[Tensor]], expected: list[dict[int, float]], ties: list[int], depth: int
) -> None:
    for scores, rows, of in zip(*found, expected, strict=True):
        assert len(scores) == len(rows) == min(depth, len(of))
        assert set(rows.tolist()) <= set(of)
        assert scores.tolist() == pytest.approx([of[row] for row in rows.tolist()], abs=1e-5)
        best = sorted(of, key=lambda d: (round(of[d], 5), ties[d]), reverse=True)[:depth]
        assert [round(of[d], 5) for d in rows.tolist()] == pytest.approx(
            [round(of[d], 5) for d in best], abs=2e-5
        )


@pytest.mark.parametrize("held", [xtr.HELD_VALUES, 200, 1])
@pytest.mark.parametrize(("block", "query_tokens"), [exact.BLOCKS["cpu"], (200, 10), (1, 1)])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_equals_a_float64_loop_for_any_block_size(
    k: int, block: int, query_tokens: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (exact, xtr):
        monkeypatch.setattr(module, "BLOCKS", {"cpu": (block, query_tokens)})
    monkeypatch.setattr(xtr, "HELD_VALUES", held)
    queries, documents = packed(7, 0), packed(N, 1)
    expected = loop(queries, documents, k)
    assert k == 60 or min(map(len, expected)) < N // 2
    found = search_retrieved(queries, stored(documents), torch.arange(N), 10, k)
    check(found, expected, list(range(N)), 10)


def test_the_kth_similarity_of_each_token() -> None:
    queries, documents = packed(7, 0), packed(N, 1)
    similar = queries.emb_TD @ documents.emb_TD.T
    for k in (1, 2, 50, similar.shape[1]):
        least = nearest_similarities(queries.emb_TD, stored(documents), k, torch.device("cpu"))
        torch.testing.assert_close(least, similar.sort(dim=1, descending=True).values[:, k - 1])


@pytest.mark.parametrize("more", [0, 1, 10**6])
def test_all_tokens_make_exact_search(more: int) -> None:
    queries, documents = packed(7, 0), packed(N, 1)
    store, ties = stored(documents), torch.arange(N)
    scores, rows = search(queries, store, ties, N)
    found, places = search_retrieved(queries, store, ties, N, store.n_tokens + more)
    assert torch.equal(torch.stack(places), rows)
    assert torch.equal(torch.stack(found), scores)


def test_fewer_tokens_find_fewer_documents_and_score_them_no_lower() -> None:
    """What is imputed is a bound from above."""
    queries, documents = packed(7, 0), packed(N, 1)
    store, ties = stored(documents), torch.arange(N)
    scores, rows = search(queries, store, ties, N)
    found = [search_retrieved(queries, store, ties, N, k) for k in (1, 4, 16)]
    sizes = [sum(map(len, each)) for each, _ in found]
    assert 7 <= sizes[0] < sizes[1] < sizes[2] <= 7 * N
    for b in range(7):
        own = dict(zip(rows[b].tolist(), scores[b].tolist(), strict=True))
        for values, places in found:
            pairs = zip(places[b].tolist(), values[b].tolist(), strict=True)
            assert all(value >= own[row] - 1e-5 for row, value in pairs)


def test_equal_tokens_are_retrieved_together_and_ties_go_by_document_id() -> None:
    """Ten documents of one token, all alike: the first k of them cannot be told from the others."""
    ids = [f"d{n}" for n in range(10)]
    documents = PackedEmbeddings(torch.ones(10, 1), torch.ones(10, dtype=torch.int64))
    query = PackedEmbeddings(torch.ones(2, 1), torch.tensor([2]))
    for k in (1, 3):
        scores, rows = search_retrieved(query, stored(documents), tie_ranks(ids), 4, k)
        assert [ids[row] for row in rows[0]] == ["d9", "d8", "d7", "d6"]
        assert scores[0].tolist() == [2.0] * 4


def test_a_padded_token_is_not_retrieved_twice() -> None:
    """Documents are padded with copies of their last token where they are scored, not where tokens are counted."""
    lengths = torch.tensor([1, 5])
    emb = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.5, 0.5]])
    documents = PackedEmbeddings(torch.nn.functional.normalize(emb, dim=1), lengths)
    query = PackedEmbeddings(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    for k, found in ((1, [0]), (2, [0, 1])):
        _, rows = search_retrieved(query, stored(documents, shards=1), torch.arange(2), 2, k)
        assert rows[0].tolist() == found


@pytest.mark.parametrize("k", pylate.RETRIEVED)
def test_scores_are_those_of_pylate(k: int) -> None:
    """On the tokens that are the nearest, which its index retrieves approximately."""
    golden = json.loads(pylate.GOLDEN.read_text())["searched"][str(k)]
    sides = (
        (pylate.make_texts(pylate.QUERIES, 0), pylate.QUERIES),
        (
            pylate.make_texts(pylate.DOCUMENTS, 1),
            pylate.DOCUMENTS,
        ),
    )
    queries, documents = (PackedEmbeddings(emb, torch.tensor(lengths)) for emb, lengths in sides)
    n = len(pylate.DOCUMENTS)
    found = search_retrieved(queries, stored(documents), torch.arange(n), n, k)
    for scores, rows, theirs in zip(*found, golden, strict=True):
        ours = dict(zip(map(str, rows.tolist()), scores.tolist(), strict=True))
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parity
def test_pylate_still_says_so(tmp_path: Path) -> None:
    python = os.environ.get(PEER)
    if not python:
        pytest.skip(f"{PEER} does not name a Python with pylate {pylate.VERSION}")
    file = tmp_path / "golden.json"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, pylate.__file__, str(file)], check=True, env=environment)
    new, committed = (json.loads(path.read_text()) for path in (file, pylate.GOLDEN))
    for k, queries in committed["searched"].items():
        for mine, theirs in zip(new["searched"][k], queries, strict=True):
            assert mine == pytest.approx(theirs, abs=2e-6)
    for k, rows in committed["trained"].items():
        torch.testing.assert_close(torch.tensor(new["trained"][k]), torch.tensor(rows))
