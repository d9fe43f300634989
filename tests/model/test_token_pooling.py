"""Pooled tokens are the means of a plain Ward clustering, with the gradients of these means."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from colbert_lab.base.types import Embeddings, PackedEmbeddings
from colbert_lab.model.token_pooling import clusters_of, pooled, pooled_chunk
from colbert_lab.search.storage import pool


def documents(lengths: list[int], seed: int = 0, dim: int = 6) -> list[Tensor]:
    """Unit-length tokens in float32."""
    generator = torch.Generator().manual_seed(seed)
    return [F.normalize(torch.randn(n, dim, generator=generator), dim=-1) for n in lengths]


def ward(tokens: Tensor, clusters: int) -> list[list[int]]:
    """Clusters by merging the nearest two again and again; distances by the formula of Lance and Williams."""
    unit = F.normalize(tokens.detach().double(), dim=-1)
    groups = [[n] for n in range(len(tokens))]
    apart = {
        (a, b): 1 - float(unit[a] @ unit[b]) for a in range(len(groups)) for b in range(a + 1, len(groups))
    }
    alive = set(range(len(groups)))

    def between(a: int, b: int) -> float:
        return apart[min(a, b), max(a, b)]

    while len(alive) > clusters:
        a, b = min(((a, b) for a in alive for b in alive if a < b), key=lambda pair: apart[pair])
        alive -= {a, b}
        made = len(groups)
        for k in alive:
            sizes = [len(groups[each]) for each in (k, a, b)]
            squares = between(k, a) ** 2, between(k, b) ** 2, between(a, b) ** 2
            total = (sizes[0] + sizes[1]) * squares[0] + (sizes[0] + sizes[2]) * squares[1]
            apart[k, made] = math.sqrt((total - sizes[0] * squares[2]) / sum(sizes))
        groups.append(groups[a] + groups[b])
        alive.add(made)
    return [groups[each] for each in alive]


def plainly(tokens: Tensor, factor: int, protected: int) -> Tensor:
    """Pooled tokens of a document in float64, in any order."""
    rest = tokens.double()[protected:]
    clusters = max(1, len(rest) // factor)
    if len(rest) <= clusters:
        return tokens.double()
    means = [rest[together].mean(dim=0) for together in ward(rest, clusters)]
    return torch.cat([tokens.double()[:protected], torch.stack([mean / mean.norm() for mean in means])])


def scored(tokens: Tensor) -> Tensor:
    """A number that every pooled token has its share of, whatever their order."""
    weights = torch.linspace(0.5, 2.0, tokens.shape[1], dtype=tokens.dtype)
    return (torch.tanh(tokens @ weights) + (tokens * weights).sin().sum(dim=1)).sum()


@pytest.mark.parametrize(("factor", "protected"), [(2, 1), (3, 0), (4, 2), (100, 1)])
def test_values_and_gradients_are_a_loops(factor: int, protected: int) -> None:
    for number, tokens in enumerate(documents([9, 1, 2, 14, 5, 3])):
        leaves = [tokens.double().requires_grad_() for _ in range(2)]
        ours = pooled(PackedEmbeddings(leaves[0], torch.tensor([len(tokens)])), factor, protected)
        plain = plainly(leaves[1], factor, protected)
        assert ours.lengths_N.tolist() == [len(plain)], number
        torch.testing.assert_close(
            torch.tensor(sorted(ours.emb_TD.tolist())), torch.tensor(sorted(plain.tolist()))
        )
        assert torch.equal(ours.emb_TD[:protected], leaves[0][:protected])
        scored(ours.emb_TD).backward()
        scored(plain).backward()
        torch.testing.assert_close(leaves[0].grad, leaves[1].grad)
        assert bool(leaves[0].grad.any())  # type: ignore[union-attr]


def test_a_padded_chunk_gives_the_bits_that_evaluation_pools() -> None:
    """Whatever does not score, at the end or inside."""
    texts = documents([8, 1, 11, 4], seed=3)
    generator = torch.Generator().manual_seed(4)
    emb_NLD = torch.randn(len(texts), 15, 6, generator=generator)
    mask_NL = torch.zeros(len(texts), 15, dtype=torch.bool)
    for row, tokens in enumerate(texts):
        places = torch.randperm(15, generator=generator)[: len(tokens)].sort().values
        emb_NLD[row, places], mask_NL[row, places] = tokens, True
    chunk = Embeddings(emb_NLD.requires_grad_(), mask_NL)
    found = pooled_chunk(chunk, 3, 1)
    expected = pool(PackedEmbeddings(torch.cat(texts), torch.tensor([8, 1, 11, 4])), 3, 1)
    assert found.mask_NL.sum(dim=1).tolist() == expected.lengths_N.tolist() == [3, 1, 4, 2]
    assert torch.equal(found.emb_NLD[found.mask_NL], expected.emb_TD)
    assert not bool(found.emb_NLD[~found.mask_NL].any())
    found.emb_NLD.sum().backward()
    assert not bool(emb_NLD.grad[~mask_NL].any())  # type: ignore[index]
    assert bool(emb_NLD.grad[mask_NL].any(dim=-1).all())  # type: ignore[index]
    assert pooled_chunk(chunk, 1, 1) is chunk


def test_low_precision_around_it_changes_no_bit() -> None:
    (tokens,) = documents([20])
    packed = PackedEmbeddings(tokens, torch.tensor([20]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = pooled(packed, 2, 1).emb_TD
    assert torch.equal(inside, pooled(packed, 2, 1).emb_TD)


def test_what_is_not_finite_stays_so() -> None:
    """Training then says that it diverges."""
    (tokens,) = documents([8])
    tokens[5, 2] = torch.nan
    assert clusters_of(tokens.double(), 2).tolist() == [0] * 8
    assert bool(pooled(PackedEmbeddings(tokens, torch.tensor([8])), 2, 1).emb_TD[1:].isnan().all())
