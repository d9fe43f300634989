import importlib.util

import pytest
import torch

from colbert_lab.errors import InputError
from colbert_lab.scoring.backends import PACKAGE, maxsim_kernels, pick_maxsim
from colbert_lab.scoring.blocked import maxsim_blocked
from colbert_lab.types import Embeddings
from tests.scoring.test_maxsim import random_embeddings

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
    with pytest.raises(InputError, match=r"trainer\.maxsim=fast: must be torch or kernels"):
        pick_maxsim("fast", CPU, True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"trainer\.maxsim=kernels.*colbert-lab\[gpu\]"):
        pick_maxsim("kernels", CUDA, False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InputError, match=r"trainer\.maxsim=kernels: needs a CUDA device, this run is on cpu"):
        pick_maxsim("kernels", CPU, False)
    with pytest.raises(InputError, match=r"trainer\.maxsim=kernels.*set trainer\.deterministic=false"):
        pick_maxsim("kernels", CUDA, True)
    assert pick_maxsim("kernels", CUDA, False) is maxsim_kernels
