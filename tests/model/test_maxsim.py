import pytest
import torch
from torch import Tensor

from colbert_lab.base.types import Embeddings, Ranking
from colbert_lab.model.maxsim import MEAN, found_ranking, found_scores, maxsim, maxsim_lists, scoring_queries


def random_embeddings(
    n: int, tokens: int, dim: int = 6, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    emb = torch.nn.functional.normalize(
        torch.randn(n, tokens, dim, generator=generator, dtype=torch.float64), dim=-1
    )
    mask = torch.rand(n, tokens, generator=generator) > 0.3
    mask[:, 0] = True
    return Embeddings(emb.to(dtype), mask)


def loop(queries: Embeddings, documents: Embeddings) -> Tensor:
    """MaxSim by definition, in float64."""
    scores = torch.zeros(len(queries.emb_NLD), len(documents.emb_NLD), dtype=torch.float64)
    for b, query in enumerate(queries.emb_NLD.double()):
        for n, document in enumerate(documents.emb_NLD.double()):
            for i in range(len(query)):
                if queries.mask_NL[b, i]:
                    best = max(
                        float(query[i] @ document[j]) for j in range(len(document)) if documents.mask_NL[n, j]
                    )
                    scores[b, n] += best
    return scores


def test_equals_a_float64_loop() -> None:
    queries, documents = random_embeddings(3, 5, seed=1), random_embeddings(4, 9, seed=2)
    torch.testing.assert_close(
        maxsim(queries, documents).double(), loop(queries, documents), atol=1e-5, rtol=0
    )


def test_lists_are_the_right_entries_of_all_pairs() -> None:
    queries, documents = random_embeddings(3, 5, seed=1), random_embeddings(12, 9, seed=2)
    every = maxsim(queries, documents)
    expected = torch.stack([every[b, 4 * b : 4 * b + 4] for b in range(3)])
    torch.testing.assert_close(maxsim_lists(queries, documents), expected, atol=1e-6, rtol=0)


def test_a_document_below_zero_keeps_its_real_maximum() -> None:
    query = Embeddings(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[True]]))
    # Its best real similarity is -0.6; the padded position would score 0.
    document = Embeddings(
        torch.tensor([[[-1.0, 0.0], [-0.6, 0.8], [0.0, 0.0]]]), torch.tensor([[True, True, False]])
    )
    assert float(maxsim(query, document)) == pytest.approx(-0.6)
    assert float(maxsim_lists(query, document)) == pytest.approx(-0.6)


def test_gradients_equal_finite_differences() -> None:
    queries, documents = (
        random_embeddings(2, 3, seed=3, dtype=torch.float64),
        random_embeddings(4, 5, seed=4, dtype=torch.float64),
    )

    def score(q: Tensor, d: Tensor) -> Tensor:
        return maxsim_lists(Embeddings(q, queries.mask_NL), Embeddings(d, documents.mask_NL))

    inputs = (queries.emb_NLD.requires_grad_(), documents.emb_NLD.requires_grad_())
    assert torch.autograd.gradcheck(score, inputs)


def test_float32_gradients_equal_a_float64_loop() -> None:
    queries, documents = random_embeddings(2, 3, seed=3), random_embeddings(4, 5, seed=4)
    weights = torch.arange(8, dtype=torch.float64).view(2, 4)
    reference = Embeddings(documents.emb_NLD.double().requires_grad_(), documents.mask_NL)
    query_NLD = queries.emb_NLD.double()
    total = torch.zeros((), dtype=torch.float64)
    for b in range(2):
        for n in range(4):
            for i in range(3):
                if queries.mask_NL[b, i]:
                    similarities = [
                        query_NLD[b, i] @ reference.emb_NLD[n, j] for j in range(5) if documents.mask_NL[n, j]
                    ]
                    total = total + weights[b, n] * torch.stack(similarities).max()
    total.backward()
    ours = Embeddings(documents.emb_NLD.clone().requires_grad_(), documents.mask_NL)
    (maxsim(queries, ours) * weights.float()).sum().backward()
    assert ours.emb_NLD.grad is not None
    assert reference.emb_NLD.grad is not None
    torch.testing.assert_close(ours.emb_NLD.grad.double(), reference.emb_NLD.grad, atol=1e-5, rtol=0)


def test_padding_changes_nothing() -> None:
    queries, documents = random_embeddings(2, 4, seed=5), random_embeddings(3, 6, seed=6)
    padded = Embeddings(
        torch.nn.functional.pad(documents.emb_NLD, (0, 0, 0, 7), value=9.0),
        torch.nn.functional.pad(documents.mask_NL, (0, 7)),
    )
    torch.testing.assert_close(maxsim(queries, padded), maxsim(queries, documents))


def test_autocast_does_not_lower_the_precision() -> None:
    queries, documents = random_embeddings(2, 4, seed=5), random_embeddings(4, 6, seed=6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered, lists = maxsim(queries, documents), maxsim_lists(queries, documents)
    assert torch.equal(lowered, maxsim(queries, documents))
    assert torch.equal(lists, maxsim_lists(queries, documents))


def test_document_without_scoring_token_raises() -> None:
    queries, documents = random_embeddings(2, 4), random_embeddings(2, 4, seed=1)
    documents.mask_NL[1] = False
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        maxsim(queries, documents)
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        maxsim_lists(queries, documents)


def test_the_mean_is_a_float64_loop_over_the_tokens_that_score() -> None:
    queries, documents = random_embeddings(3, 5, seed=1), random_embeddings(12, 9, seed=2)
    counts = queries.mask_NL.sum(dim=1)
    assert len(set(counts.tolist())) > 1
    expected = loop(queries, documents) / counts[:, None]
    averaged = scoring_queries(queries, MEAN)
    torch.testing.assert_close(maxsim(averaged, documents).double(), expected, atol=1e-6, rtol=0)
    own = torch.stack([expected[b, 4 * b : 4 * b + 4] for b in range(3)])
    torch.testing.assert_close(maxsim_lists(averaged, documents).double(), own, atol=1e-6, rtol=0)
    found = found_scores(list(maxsim(queries, documents)), counts, MEAN)
    torch.testing.assert_close(torch.stack(found).double(), expected, atol=1e-6, rtol=0)
    assert scoring_queries(queries, "maxsim") is queries


def test_a_ranking_keeps_its_order_and_scores_that_differ_go_on_differing() -> None:
    """In float32, a third of these two is one number."""
    best = torch.tensor(1.9).nextafter(torch.tensor(0.0))
    pair = [float(best), float(best.nextafter(torch.tensor(0.0)))]
    assert pair[0] > pair[1]
    assert len(set((torch.tensor(pair) / 3).tolist())) == 1
    ranking = Ranking(["q"], [["b", "a"]], [pair])
    found = found_ranking(ranking, torch.tensor([3]), MEAN)
    assert (found.query_ids, found.document_ids) == (["q"], [["b", "a"]])
    assert found.scores == [[score / 3 for score in pair]]
    assert found.scores[0][0] > found.scores[0][1]
    assert found_ranking(ranking, torch.tensor([3]), "maxsim") is ranking
