import subprocess
import sys

import pytest
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.search import inner_product
from colbert_lab.search.exact import tie_ranks, top_k
from colbert_lab.search.inner_product import InnerProductIndex

faiss = pytest.importorskip("faiss", reason="the extra 'search' is not installed")


def random(rows: int, size: int, seed: int) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def grid(rows: int, size: int, seed: int) -> Tensor:
    """Small whole numbers: inner products are exact and many are equal."""
    return torch.randint(-1, 2, (rows, size), generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("k", [1, 10, 500, 900])
@pytest.mark.parametrize("n_queries", [3, 40])
def test_exact_search_equals_the_matrix_product(k: int, n_queries: int) -> None:
    documents, queries = random(500, 24, 0), random(n_queries, 24, 1)
    index = InnerProductIndex.build(documents, torch.arange(500), approximate=False)
    scores, rows = index.search(queries, k)
    expected, columns = top_k((queries.double() @ documents.double().T).float(), torch.arange(500), k)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(rows, columns)


@pytest.mark.parametrize("k", [1, 7, 100, 300])
def test_exact_search_decides_ties_at_the_cut_by_document_id(k: int) -> None:
    documents, queries = grid(300, 4, 0), grid(30, 4, 1)
    queries[0] = 0  # every score is equal
    ties = torch.randperm(300, generator=torch.Generator().manual_seed(2))
    scores, rows = InnerProductIndex.build(documents, ties, approximate=False).search(queries, k)
    expected, columns = top_k(queries @ documents.T, ties, k)
    assert torch.equal(scores, expected)
    assert torch.equal(rows, columns)


def test_approximate_search_orders_equal_scores_by_document_id() -> None:
    ids = ["d3", "d1", "d2", "d10"]
    index = InnerProductIndex.build(torch.ones(4, 3), tie_ranks(ids), approximate=True)
    scores, rows = index.search(torch.ones(1, 3), 4)
    assert scores.tolist() == [[3.0] * 4]
    assert [ids[row] for row in rows[0]] == ["d3", "d2", "d10", "d1"]


def test_approximate_search_finds_nearly_all(monkeypatch: pytest.MonkeyPatch) -> None:
    documents, queries = random(4_000, 32, 0), random(100, 32, 1)
    ties = torch.arange(4_000)
    exact = InnerProductIndex.build(documents, ties, approximate=False).search(queries, 10)
    scores, rows = InnerProductIndex.build(documents, ties, approximate=True).search(queries, 10)
    recall = (rows[:, :, None] == exact[1][:, None, :]).any(dim=2).float().mean()
    assert float(recall) > 0.99
    torch.testing.assert_close(scores, (queries[:, None] * documents[rows]).sum(dim=-1), atol=1e-4, rtol=0)
    assert bool((scores.diff(dim=1) <= 0).all())
    for name, value in (("HNSW_M", 4), ("EF_CONSTRUCTION", 8), ("EF_SEARCH", 1)):
        monkeypatch.setattr(inner_product, name, value)
    narrow = InnerProductIndex.build(documents, ties, approximate=True)
    fewer = (narrow.search(queries, 10)[1][:, :, None] == exact[1][:, None, :]).any(dim=2).float().mean()
    assert float(fewer) < float(recall)  # the settings reach the graph


def test_documents_that_the_graph_does_not_reach_are_minus_one(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = random(600, 16, 3)
    monkeypatch.setattr(inner_product, "HNSW_M", 2)
    monkeypatch.setattr(inner_product, "EF_CONSTRUCTION", 1)
    index = InnerProductIndex.build(documents, torch.arange(600), approximate=True)
    scores, rows = index.search(random(5, 16, 4), 600)
    missing = rows < 0
    assert bool(missing.any())
    assert torch.equal(missing, scores == -torch.inf)
    assert not bool((missing[:, :-1] & ~missing[:, 1:]).any())  # they come last
    for row in rows:
        found = row[row >= 0].tolist()
        assert len(set(found)) == len(found)


def test_blocks_make_the_same_index() -> None:
    documents, queries = random(300, 8, 0), random(4, 8, 1)
    for approximate in (False, True):
        whole = InnerProductIndex.build(documents, torch.arange(300), approximate=approximate)
        blocks = InnerProductIndex.build(documents.split(70), torch.arange(300), approximate=approximate)
        for ours, theirs in zip(blocks.search(queries, 20), whole.search(queries, 20), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("approximate", [False, True])
def test_its_size_is_that_of_what_faiss_would_write(approximate: bool) -> None:
    index = InnerProductIndex.build(random(300, 8, 0), torch.arange(300), approximate=approximate)
    assert 0 <= len(faiss.serialize_index(index.index)) - index.nbytes < 1_000  # a header


def test_bad_input_is_named() -> None:
    vectors, ties = random(9, 4, 0), torch.arange(9)
    with pytest.raises(InputError, match="corpus is empty"):
        InnerProductIndex.build(vectors[:0], ties[:0], approximate=False)
    with pytest.raises(ValueError, match="8 tie ranks for 9 vectors"):
        InnerProductIndex.build(vectors, ties[:8], approximate=False)
    index = InnerProductIndex.build(vectors, ties, approximate=False)
    with pytest.raises(InputError, match="queries have 5 values and the index 4"):
        index.search(random(1, 5, 0), 3)
    with pytest.raises(ValueError, match="k is 0"):
        index.search(vectors, 0)
    vectors[3, 1] = torch.nan
    with pytest.raises(InputError, match=r"vectors of documents are not finite \(rows \[3\]\)"):
        InnerProductIndex.build(vectors, ties, approximate=False)


def test_a_missing_faiss_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r'pip install "colbert-lab\[search\]"'):
        InnerProductIndex.build(random(9, 4, 0), torch.arange(9), approximate=False)


@pytest.mark.parametrize("first", ["import torch, faiss", "import faiss, torch"])
def test_thread_counts_stay_as_they_were(first: str) -> None:
    code = f"""
{first}
from colbert_lab.search.inner_product import InnerProductIndex
for n in (1, 2):
    torch.set_num_threads(n)
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    for threads in (1, 2):
        seen = []
        blocks = (seen.append(torch.get_num_threads()) or torch.eye(50)[:25] for _ in range(2))
        index = InnerProductIndex.build(blocks, torch.arange(50), approximate=True, threads=threads)
        assert seen == [n, n]
        index.search(torch.eye(50), 3)
        assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == before
        assert torch.get_num_threads() == n
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_faiss_is_imported_only_when_needed() -> None:
    code = f"import sys, {inner_product.__name__}; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
