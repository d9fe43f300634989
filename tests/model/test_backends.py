import importlib.util

import pytest
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings
from colbert_lab.model import backends
from colbert_lab.model.backends import PACKAGE, maxsim_blocked, maxsim_kernels, pick_maxsim
from colbert_lab.model.batches import concatenate
from colbert_lab.model.blocks import scoring_places
from colbert_lab.model.maxsim import MEAN, maxsim, scoring_queries
from tests.model.test_maxsim import loop, random_embeddings

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DEVICES = [
    CPU,
    pytest.param(CUDA, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")),
]


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason="needs late-interaction-kernels (extra gpu)"
)
def test_kernels_agree_with_ours(device: torch.device) -> None:
    """On a CPU the package takes its own PyTorch reference: what the masks and chunks mean must be the same."""
    queries = random_embeddings(5, 8, dim=16, seed=0)
    chunks = [random_embeddings(7, 12, dim=16, seed=1), random_embeddings(6, 9, dim=16, seed=2)]
    weights = torch.randn(5, 13, generator=torch.Generator().manual_seed(3)).to(device)
    found = []
    for score in (maxsim_blocked, maxsim_kernels):
        inputs = [each.emb_NLD.to(device).detach().requires_grad_() for each in (queries, *chunks)]
        masks = [each.mask_NL.to(device) for each in (queries, *chunks)]
        q, *d = [Embeddings(*pair) for pair in zip(inputs, masks, strict=True)]
        scores = score(q, d)
        found.append((scores.detach(), torch.autograd.grad((scores * weights).sum(), inputs)))
    tolerance = 1e-5 if device.type == "cpu" else 5e-3
    torch.testing.assert_close(found[1][0], found[0][0], atol=tolerance, rtol=tolerance)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        assert float((ours - theirs).norm() / ours.norm()) < tolerance


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_blocked_on_a_gpu_equals_the_cpu_and_itself() -> None:
    queries, chunk = random_embeddings(9, 8, dim=16, seed=0), random_embeddings(12, 10, dim=16, seed=1)
    there = [Embeddings(e.emb_NLD.to(CUDA).requires_grad_(), e.mask_NL.to(CUDA)) for e in (queries, chunk)]
    torch.use_deterministic_algorithms(True)
    try:
        runs = []
        for _ in range(2):
            scores = maxsim_blocked(there[0], [there[1]], 200)
            runs.append(torch.autograd.grad(scores.sum(), [e.emb_NLD for e in there]))
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(scores.cpu(), maxsim_blocked(queries, [chunk]), atol=1e-5, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_names_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_maxsim("torch", CPU, True) is maxsim_blocked
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"trainer\.maxsim=kernels.*colbert-lab\[gpu\]"):
        pick_maxsim("kernels", CUDA, False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InputError, match=r"trainer\.maxsim=kernels: needs a CUDA device, this run is on cpu"):
        pick_maxsim("kernels", CPU, False)
    with pytest.raises(InputError, match=r"trainer\.maxsim=kernels.*set trainer\.deterministic=false"):
        pick_maxsim("kernels", CUDA, True)
    assert pick_maxsim("kernels", CUDA, False) is maxsim_kernels


def drawn(n: int, width: int, seed: int) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    emb = torch.randn(n, width, 8, generator=generator)
    lengths = torch.randint(1, width + 1, (n,), generator=generator)
    return Embeddings(emb.requires_grad_(), torch.arange(width)[None] < lengths[:, None])


@pytest.mark.parametrize("kept", [0, 10**9])
@pytest.mark.parametrize("block_values", [1, 50, 700, 10**9])
def test_blocks_change_neither_scores_nor_gradients(
    block_values: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "KEPT_PLACES", kept)
    queries = drawn(7, 5, 0)
    chunks = [drawn(4, 9, 1), drawn(6, 3, 2)]
    weights = torch.randn(7, 10, generator=torch.Generator().manual_seed(3))
    inputs = [queries.emb_NLD, *(chunk.emb_NLD for chunk in chunks)]
    whole = maxsim(queries, concatenate(chunks))
    blocked = maxsim_blocked(queries, chunks, block_values)
    torch.testing.assert_close(blocked, whole, atol=1e-6, rtol=1e-6)
    ours = torch.autograd.grad((blocked * weights).sum(), inputs)
    theirs = torch.autograd.grad((whole * weights).sum(), inputs)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_gradients_equal_finite_differences() -> None:
    queries = drawn(3, 4, 0)
    chunks = [drawn(2, 5, 1), drawn(3, 4, 2)]

    def score(q: Tensor, *documents: Tensor) -> Tensor:
        pairs = zip(documents, chunks, strict=True)
        return maxsim_blocked(
            Embeddings(q, queries.mask_NL), [Embeddings(d, chunk.mask_NL) for d, chunk in pairs], 20
        )

    inputs = [each.emb_NLD.detach().double().requires_grad_() for each in (queries, *chunks)]
    assert torch.autograd.gradcheck(score, inputs)


def test_scores_without_gradient_are_left_out() -> None:
    """At a low temperature most of InfoNCE's gradients are 0; the others must not change."""
    queries, chunk = drawn(6, 4, 0), drawn(9, 5, 1)
    weights = torch.randn(6, 9, generator=torch.Generator().manual_seed(3))
    weights[[0, 2, 3]] = 0.0
    weights[:, 4] = 0.0
    inputs = [queries.emb_NLD, chunk.emb_NLD]
    for block_values in (1, 60, 10**9):
        blocked = (maxsim_blocked(queries, [chunk], block_values) * weights).sum()
        whole = (maxsim(queries, chunk) * weights).sum()
        for ours, theirs in zip(
            torch.autograd.grad(blocked, inputs), torch.autograd.grad(whole, inputs), strict=True
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_document_below_zero_keeps_its_real_maximum() -> None:
    query = Embeddings(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[True]]))
    documents = Embeddings(
        torch.tensor([[[0.0, 0.0], [-1.0, 0.0], [-0.6, 0.8]], [[-0.8, 0.6], [9.0, 9.0], [-0.9, 0.1]]]),
        torch.tensor([[False, True, True], [True, False, True]]),
    )
    torch.testing.assert_close(maxsim_blocked(query, [documents]), torch.tensor([[-0.6, -0.8]]))


@pytest.mark.parametrize("kept", [0, 10**9])
def test_one_of_equally_close_tokens_gets_the_gradient(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "KEPT_PLACES", kept)
    query = Embeddings(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[True]]))
    same = torch.tensor([[[0.6, 0.8], [0.6, -0.8], [0.0, 1.0], [1.0, 0.0]]]).requires_grad_()
    document = Embeddings(same, torch.tensor([[True, True, True, False]]))
    (gradient,) = torch.autograd.grad(maxsim_blocked(query, [document]).sum(), [same])
    assert gradient[0].tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_places_that_are_found_again_give_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, chunks = drawn(7, 5, 0), [drawn(4, 9, 1), drawn(6, 3, 2)]
    weights = torch.randn(7, 10, generator=torch.Generator().manual_seed(3))
    found = []
    for most in (10**9, 0):
        monkeypatch.setattr(backends, "KEPT_PLACES", most)
        scores = maxsim_blocked(queries, chunks, 60)
        assert (scores.grad_fn.saved_tensors[0] is None) == (most == 0)  # type: ignore[union-attr]
        inputs = [queries.emb_NLD, *(chunk.emb_NLD for chunk in chunks)]
        found.append(torch.autograd.grad((scores * weights).sum(), inputs))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_tokens_that_score_are_moved_to_the_left() -> None:
    mask = torch.tensor([[False, True, False, True], [True, True, True, False], [False, False, True, False]])
    assert scoring_places(mask, 3).tolist() == [[1, 3, 1], [0, 1, 2], [2, 2, 2]]


@pytest.mark.parametrize("block_values", [1, None])
def test_a_query_without_scoring_token_scores_zero(block_values: int | None) -> None:
    queries = drawn(3, 4, 0)
    queries.mask_NL[1] = False
    scores = maxsim_blocked(queries, [drawn(5, 6, 1)], block_values)
    assert scores[1].tolist() == [0.0] * 5
    (gradient,) = torch.autograd.grad(scores.sum(), [queries.emb_NLD])
    assert not gradient[1].any()


def test_autocast_does_not_lower_the_precision() -> None:
    queries, chunk = drawn(3, 4, 0), drawn(5, 6, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = maxsim_blocked(queries, [chunk])
    assert torch.equal(lowered, maxsim_blocked(queries, [chunk]))


def test_nothing_the_size_of_all_similarities_is_kept() -> None:
    queries, chunk = drawn(16, 8, 0), drawn(32, 16, 1)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):  # type: ignore[func-returns-value]
        maxsim_blocked(queries, [chunk], block_values=4096)
    assert max(kept) <= max(queries.emb_NLD.numel(), chunk.emb_NLD.numel()) < 16 * 8 * 32 * 16


def test_a_document_without_scoring_token_is_refused() -> None:
    chunk = drawn(3, 4, 0)
    chunk.mask_NL[1] = False
    with pytest.raises(ValueError, match="rows \\[1\\]"):
        maxsim_blocked(drawn(2, 3, 1), [chunk])


def test_gradients_of_the_mean_equal_finite_differences_and_a_loop() -> None:
    queries = drawn(3, 4, 0)
    chunks = [drawn(2, 5, 1), drawn(3, 4, 2)]
    counts = queries.mask_NL.sum(dim=1)
    assert len(set(counts.tolist())) > 1

    def score(q: Tensor, *documents: Tensor) -> Tensor:
        pairs = zip(documents, chunks, strict=True)
        averaged = scoring_queries(Embeddings(q, queries.mask_NL), MEAN)
        return maxsim_blocked(averaged, [Embeddings(d, chunk.mask_NL) for d, chunk in pairs], 20)

    inputs = [each.emb_NLD.detach().double().requires_grad_() for each in (queries, *chunks)]
    with torch.no_grad():
        plain = [Embeddings(each.emb_NLD.detach(), each.mask_NL) for each in (queries, concatenate(chunks))]
        expected = loop(*plain) / counts[:, None]
    torch.testing.assert_close(score(*inputs), expected, atol=1e-12, rtol=0)
    assert torch.autograd.gradcheck(score, inputs)
