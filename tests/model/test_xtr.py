"""XTR's score and its gradient are what the formula says, token by token in float64."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from colbert_lab.base.types import Embeddings
from colbert_lab.model.maxsim import maxsim
from colbert_lab.model.xtr import xtr_scores
from tests.parity import make_xtr_golden as pylate

SHAPES = [(5, 7), (4, 3), (6, 9)]  # documents and their width, by chunk
QUERIES, DIM = 6, 4


def texts(n: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Embeddings:
    """Random texts: some are shorter than the widest, and some have a token inside that does not score."""
    generator = torch.Generator().manual_seed(seed)
    emb = torch.nn.functional.normalize(
        torch.randn(n, width, DIM, generator=generator, dtype=torch.float64), dim=-1
    )
    lengths = torch.randint(1, width + 1, (n, 1), generator=generator)
    mask = torch.arange(width) < lengths
    mask[1::2, 0] &= lengths[1::2, 0] == 1
    return Embeddings(emb.to(dtype).requires_grad_(), mask)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Embeddings, list[Embeddings]]:
    chunks = [texts(n, width, seed, dtype) for seed, (n, width) in enumerate(SHAPES, start=1)]
    return texts(QUERIES, 5, 0, dtype), chunks


def tokens_of(embeddings: Embeddings) -> list[list[Tensor]]:
    return [list(row[mask]) for row, mask in zip(embeddings.emb_NLD, embeddings.mask_NL, strict=True)]


def loop(queries: Embeddings, chunks: list[Embeddings], k: int, pool: list[bool] | None = None) -> Tensor:
    """Sort a query token's similarities with all tokens, keep the first k, and go through the documents."""
    documents = [document for chunk in chunks for document in tokens_of(chunk)]
    rows = []
    for query in tokens_of(queries):
        sums: list[list[Tensor]] = [[] for _ in documents]
        for token in query:
            similar = [[token @ other for other in document] for document in documents]
            everything = sorted(
                (
                    float(value.detach())
                    for d, row in enumerate(similar)
                    if pool is None or pool[d]
                    for value in row
                ),
                reverse=True,
            )
            least = everything[:k][-1]
            for d, row in enumerate(similar):
                kept = [value for value in row if float(value.detach()) >= least]
                if kept:
                    sums[d].append(torch.stack(kept).max())
        nothing = 0 * query[0].sum()
        rows.append(torch.stack([torch.stack(each).mean() if each else nothing for each in sums]))
    return torch.stack(rows)


ALL = 10**6


@pytest.mark.parametrize("block_values", [None, 40, 1])
@pytest.mark.parametrize("k", [1, 3, 20, 50, ALL])
def test_scores_and_gradients_equal_a_float64_loop(k: int, block_values: int | None) -> None:
    queries, chunks = batch()
    plain = loop(queries, chunks, k)
    assert bool((plain == 0).any()) == (k < ALL)
    assert bool((plain < 0).any()) == (k >= 50)
    ours = xtr_scores(queries, chunks, k, block_values=block_values)
    torch.testing.assert_close(ours, plain)
    weights = torch.linspace(-1, 2, plain.numel(), dtype=torch.float64).view_as(plain)
    leaves = [queries.emb_NLD, *(chunk.emb_NLD for chunk in chunks)]
    theirs = torch.autograd.grad((plain * weights).sum(), leaves)
    found = torch.autograd.grad((ours * weights).sum(), leaves)
    for one, other in zip(found, theirs, strict=True):
        assert bool(one.any())
        torch.testing.assert_close(one, other)


def test_all_tokens_make_the_mean_of_maxsim() -> None:
    queries, chunks = batch()
    lengths = queries.mask_NL.sum(dim=1, keepdim=True)
    for n, chunk in enumerate(chunks):
        start = sum(rows for rows, _ in SHAPES[:n])
        ours = xtr_scores(queries, chunks, ALL)[:, start : start + len(chunk.mask_NL)]
        torch.testing.assert_close(ours, maxsim(queries, chunk) / lengths)


def test_copies_of_a_document_change_nothing() -> None:
    """Its tokens count once, and each copy has its score."""
    queries, chunks = batch()
    alone = xtr_scores(queries, chunks, 5)
    again = [*chunks, chunks[0]]
    n = len(chunks[0].mask_NL)
    pool = torch.arange(alone.shape[1] + n) < alone.shape[1]
    both = xtr_scores(queries, again, 5, pool)
    torch.testing.assert_close(both[:, :-n], alone)
    torch.testing.assert_close(both[:, -n:], alone[:, :n])
    torch.testing.assert_close(both, loop(queries, again, 5, pool.tolist()))
    assert not torch.allclose(xtr_scores(queries, again, 5)[:, :-n], alone)


def test_the_order_of_documents_decides_nothing_where_tokens_are_equal() -> None:
    """Whole numbers as similarities, many of them equal: with the k-th, all that are as near are kept."""
    generator = torch.Generator().manual_seed(5)
    queries = Embeddings(torch.eye(3).repeat(2, 1, 1), torch.ones(2, 3, dtype=torch.bool))
    emb = torch.randint(-2, 3, (8, 4, 3), generator=generator).float()
    mask = torch.ones(8, 4, dtype=torch.bool)
    order = torch.randperm(8, generator=generator)
    for k in (1, 2, 5, 11):
        first = xtr_scores(queries, [Embeddings(emb, mask)], k)
        second = xtr_scores(queries, [Embeddings(emb[order], mask)], k)
        assert torch.equal(first[:, order], second)


def test_float32_is_near_and_what_is_not_finite_is_seen() -> None:
    wide, narrow = batch(), batch(torch.float32)
    ours = xtr_scores(*narrow, 4)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), xtr_scores(*wide, 4), atol=1e-6, rtol=0)
    for k in (4, ALL):
        broken = [Embeddings(each.emb_NLD.detach().clone(), each.mask_NL) for each in narrow[1]]
        broken[1].emb_NLD[2, 0] = torch.nan
        broken[1].mask_NL[2, 0] = True
        assert bool(xtr_scores(narrow[0], broken, k)[:, SHAPES[0][0] + 2].isnan().all())


def test_a_document_needs_a_token() -> None:
    queries, chunks = batch()
    chunks[0].mask_NL[1] = False
    with pytest.raises(ValueError, match="documents without a scoring token"):
        xtr_scores(queries, chunks, 3)


@pytest.mark.parametrize("k", pylate.KEPT)
def test_scores_are_those_of_pylate_where_no_similarity_is_below_zero(k: int) -> None:
    golden = torch.tensor(json.loads(pylate.GOLDEN.read_text())["trained"][str(k)])
    queries, documents = pylate.make_batch()
    flat = documents.flatten(0, 1)
    every, whole = (Embeddings(emb, torch.ones(emb.shape[:2], dtype=torch.bool)) for emb in (queries, flat))
    ours = xtr_scores(every, [whole], k)
    assert bool((golden == 0).any() if k == 3 else (golden > 0).all())
    torch.testing.assert_close(ours, golden, atol=1e-5, rtol=0)
