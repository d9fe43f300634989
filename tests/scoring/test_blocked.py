import pytest
import torch

from colbert_lab.scoring.blocked import maxsim_blocked
from colbert_lab.scoring.maxsim import maxsim
from colbert_lab.student.chunked import concatenate
from colbert_lab.types import Embeddings


def random_embeddings(n: int, width: int, seed: int) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    emb = torch.randn(n, width, 8, generator=generator)
    lengths = torch.randint(1, width + 1, (n,), generator=generator)
    return Embeddings(emb.requires_grad_(), torch.arange(width)[None] < lengths[:, None])


@pytest.mark.parametrize("block_values", [1, 50, 700, 10**9])
def test_blocks_change_neither_scores_nor_gradients(block_values: int) -> None:
    queries = random_embeddings(7, 5, 0)
    chunks = [random_embeddings(4, 9, 1), random_embeddings(6, 3, 2)]
    weights = torch.randn(7, 10, generator=torch.Generator().manual_seed(3))
    inputs = [queries.emb_NLD, *(chunk.emb_NLD for chunk in chunks)]
    whole = maxsim(queries, concatenate(chunks))
    blocked = maxsim_blocked(queries, chunks, block_values)
    torch.testing.assert_close(blocked, whole, atol=1e-6, rtol=1e-6)
    ours = torch.autograd.grad((blocked * weights).sum(), inputs)
    theirs = torch.autograd.grad((whole * weights).sum(), inputs)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_nothing_the_size_of_all_similarities_is_kept() -> None:
    queries, chunk = random_embeddings(16, 8, 0), random_embeddings(32, 16, 1)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):  # type: ignore[func-returns-value]
        maxsim_blocked(queries, [chunk], block_values=4096)
    assert max(kept) <= max(queries.emb_NLD.numel(), chunk.emb_NLD.numel()) < 16 * 8 * 32 * 16


def test_a_document_without_scoring_token_is_refused() -> None:
    chunk = random_embeddings(3, 4, 0)
    chunk.mask_NL[1] = False
    with pytest.raises(ValueError, match="rows \\[1\\]"):
        maxsim_blocked(random_embeddings(2, 3, 1), [chunk])
