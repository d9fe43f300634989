import math
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.search import fde
from colbert_lab.search.fde import FixedDimensionalEncoding

Array = NDArray[np.float64]
TINY = 1e-9  # probability that a stated bound is missed by chance, had the seed been another


def texts(lengths: list[int], dim: int, seed: int) -> PackedEmbeddings:
    emb = torch.randn(sum(lengths), dim, generator=torch.Generator().manual_seed(seed))
    return PackedEmbeddings(torch.nn.functional.normalize(emb, dim=-1), torch.tensor(lengths))


def one(tokens: Array) -> PackedEmbeddings:
    return PackedEmbeddings(torch.from_numpy(tokens).float(), torch.tensor([len(tokens)]))


def by_hand(encoding: FixedDimensionalEncoding, text: Array, documents: bool) -> Array:
    """Section 2 of the paper for one text, token by token in float64."""
    drawn = encoding.projections()
    blocks: list[Array] = []
    for r in range(encoding.repetitions):
        planes = drawn.planes[r].numpy()
        codes = [tuple(bool(token @ planes[:, j] > 0) for j in range(encoding.bits)) for token in text]
        values = list(text) if drawn.inner is None else [drawn.inner[r].numpy().T @ token for token in text]
        for number in range(2**encoding.bits):
            partition = tuple(bool(number >> j & 1) for j in range(encoding.bits))
            inside = [value for value, code in zip(values, codes, strict=True) if code == partition]
            block = sum(inside, np.zeros(len(values[0])))
            if documents and inside:
                block = block / len(inside)
            elif documents and encoding.fill_empty:
                distances = [sum(a != b for a, b in zip(code, partition, strict=True)) for code in codes]
                block = values[distances.index(min(distances))]
            blocks.append(block / encoding.repetitions if documents else block)
    whole = np.concatenate(blocks)
    if drawn.final_signs is None:
        return whole
    return drawn.final_signs.numpy().astype(float).T @ whole / math.sqrt(drawn.final_signs.shape[1])


@pytest.mark.parametrize("block_values", [fde.BLOCK_VALUES, 3_000, 1])
@pytest.mark.parametrize("inner_dim", [None, 3])
@pytest.mark.parametrize("final_dim", [None, 11])
@pytest.mark.parametrize("fill_empty", [True, False])
def test_equals_the_paper_in_float64(
    inner_dim: int | None,
    final_dim: int | None,
    fill_empty: bool,
    block_values: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fde, "BLOCK_VALUES", block_values)
    encoding = FixedDimensionalEncoding(6, 3, 4, inner_dim, final_dim, fill_empty, seed=7)
    packed = texts([5, 1, 30, 2, 9], 6, seed=1)
    for documents in (False, True):
        ours = encoding.documents(packed) if documents else encoding.queries(packed)
        pieces = packed.emb_TD.double().split(packed.lengths_N.tolist())
        expected = np.stack([by_hand(encoding, piece.numpy(), documents) for piece in pieces])
        assert ours.dtype == torch.float32
        assert ours.shape == (5, encoding.size)
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6, rtol=1e-6)


def test_zero_bits_are_one_partition() -> None:
    packed = texts([4, 2], 5, seed=1)
    encoding = FixedDimensionalEncoding(5, repetitions=2, bits=0, inner_dim=None)
    means = torch.stack([piece.mean(dim=0) for piece in packed.emb_TD.split([4, 2])])
    torch.testing.assert_close(encoding.documents(packed), torch.cat([means, means], dim=1) / 2)


def test_sizes() -> None:
    assert FixedDimensionalEncoding(128).size == 10_240
    assert FixedDimensionalEncoding(128, inner_dim=None).size == 20 * 32 * 128
    assert FixedDimensionalEncoding(128, final_dim=640).size == 640


def test_a_text_is_encoded_alone_and_the_seed_decides() -> None:
    encoding = FixedDimensionalEncoding(8, repetitions=4, bits=3, inner_dim=4, final_dim=50)
    packed = texts([7, 1, 12], 8, seed=3)
    alone = [
        PackedEmbeddings(piece, torch.tensor([len(piece)]))
        for piece in packed.emb_TD.split(packed.lengths_N.tolist())
    ]
    for encode in (encoding.documents, encoding.queries):
        together = encode(packed)
        torch.testing.assert_close(
            torch.cat([encode(text) for text in alone]), together, rtol=1e-6, atol=1e-7
        )
        assert torch.equal(encode(packed), together)
    other = FixedDimensionalEncoding(8, repetitions=4, bits=3, inner_dim=4, final_dim=50, seed=43)
    assert not torch.allclose(other.documents(packed), encoding.documents(packed))


def test_filling_takes_the_first_of_equally_near_tokens() -> None:
    # Three tokens with one SimHash (positive multiples of one direction): all partitions but one are empty.
    direction = np.array([0.6, 0.8])
    document = np.stack([2 * direction, direction, 3 * direction])
    cells = (
        FixedDimensionalEncoding(2, repetitions=1, bits=3, inner_dim=None).documents(one(document)).view(8, 2)
    )
    filled = torch.tensor(2 * direction).float()
    assert sum(bool(torch.allclose(cell, filled)) for cell in cells) == 8  # their mean is 2, the first is 2
    document = document[[2, 1, 0]]
    cells = (
        FixedDimensionalEncoding(2, repetitions=1, bits=3, inner_dim=None).documents(one(document)).view(8, 2)
    )
    filled = torch.tensor(3 * direction).float()
    assert sum(bool(torch.allclose(cell, filled)) for cell in cells) == 7  # the eighth is the mean


def unit(*rows: list[float]) -> Array:
    array = np.array(rows)
    scaled: Array = array / np.linalg.norm(array, axis=1, keepdims=True)
    return scaled


def angle(a: Array, b: Array) -> float:
    return float(np.arccos(np.clip(a @ b, -1, 1)))


def bit_law(q: Array, a: Array, b: Array) -> dict[tuple[int, int], float]:
    """Probability that one hyperplane parts q from a, and q from b.

    A random hyperplane parts two unit vectors with probability angle/pi (Goemans & Williamson 1995); the three pairs
    give the joint law of two tokens.
    """
    qa, qb, ab = angle(q, a) / math.pi, angle(q, b) / math.pi, angle(a, b) / math.pi
    return {
        (0, 0): 1 - (qa + qb + ab) / 2,
        (1, 0): (ab + qa - qb) / 2,
        (0, 1): (ab + qb - qa) / 2,
        (1, 1): (qa + qb - ab) / 2,
    }


def expected_of_two(q: Array, a: Array, b: Array, bits: int, fill: bool) -> float:
    """Exact expectation of <encoding of q, encoding of {a, b}>, over every outcome of the hyperplanes."""
    law, total = bit_law(q, a, b), 0.0
    for outcome in product(law, repeat=bits):
        probability = math.prod(law[bit] for bit in outcome)
        far_a, far_b = sum(bit[0] for bit in outcome), sum(bit[1] for bit in outcome)
        if far_a == far_b == 0:
            value = float(q @ (a + b)) / 2
        elif far_a and far_b and not fill:
            value = 0.0
        else:
            value = float(q @ (a if far_a <= far_b else b))
        total += probability * value
    return total


def products(encoding: FixedDimensionalEncoding, query: Array, document: Array) -> Array:
    """The inner product of each repetition, times the number of repetitions."""
    q, d = encoding.queries(one(query)), encoding.documents(one(document))
    by_repetition = (q.double() * d.double()).view(encoding.repetitions, -1).sum(dim=1)
    return (by_repetition * encoding.repetitions).numpy()


@pytest.mark.parametrize("fill", [True, False])
def test_expectation_of_a_two_token_document_is_the_exact_one(fill: bool) -> None:
    q, a, b = unit([1.0, 0.2, 0.0], [0.8, -0.5, 0.3], [0.1, 1.0, -0.4])
    encoding = FixedDimensionalEncoding(3, repetitions=20_000, bits=4, inner_dim=None, fill_empty=fill)
    values = products(encoding, q[None], np.stack([a, b]))
    expected = expected_of_two(q, a, b, 4, fill)
    # Hoeffding: repetitions are independent and lie in [-1, 1].
    bound = math.sqrt(2 * math.log(2 / TINY) / len(values))
    assert bound < 0.05
    assert abs(values.mean() - expected) < bound
    # A better match is preferred to the mean of the document, and more so with more bits.
    mean = float(q @ (a + b) / 2)
    by_bits = [expected_of_two(q, a, b, bits, True) for bits in (0, 2, 4, 6)]
    assert by_bits[0] == pytest.approx(mean)
    assert by_bits == sorted(by_bits)


def lower_bound(query: Array, document: Array, bits: int) -> float:
    """What theorem 2.1's argument guarantees for these very vectors, hyperplane by hyperplane instead of O().

    A repetition gives a query token q less than (its best similarity - eps) only if some token worse than that differs
    from q's SimHash in no more bits than the best token does: partitions average the tokens with q's own SimHash, and
    empty ones are filled with the nearest. The difference of the two distances is a sum of ``bits`` independent terms
    in {-1, 0, 1} whose law is known (``bit_law``). A union bound over the worse tokens gives the probability of
    failure, and then the value is at least the worst similarity. The best eps is taken.
    """
    total = 0.0
    for q in query:
        similarity = document @ q
        best = document[similarity.argmax()]
        options = []
        for floor in similarity:
            failure = 0.0
            for p in document[similarity < floor]:
                law = bit_law(q, best, p)
                step = np.array([law[1, 0], law[0, 0] + law[1, 1], law[0, 1]])  # p nearer, same, farther
                difference = np.ones(1)
                for _ in range(bits):
                    difference = np.convolve(difference, step)
                failure += difference[: bits + 1].sum()
            failure = min(1.0, failure)
            options.append((1 - failure) * floor + failure * similarity.min())
        total += max(options)
    return total


def test_expectation_lies_between_the_bounds_of_theorem_2_1() -> None:
    generator = np.random.default_rng(0)
    document = unit(*generator.standard_normal((6, 8)).tolist())
    # Each query token has a near document token, as retrieved documents do; one has none.
    query = unit(
        *(document[:3] + 0.05 * generator.standard_normal((3, 8))).tolist(),
        generator.standard_normal(8).tolist(),
    )
    chamfer = float((query @ document.T).max(axis=1).sum())
    spread = float(np.ptp(query @ document.T, axis=1).sum())
    means = []
    for bits in (2, 6, 10):
        repetitions = 64 if bits == 10 else 1_000
        values = products(FixedDimensionalEncoding(8, repetitions, bits, inner_dim=None), query, document)
        # Upper side, in every repetition: a mean of similarities, or one of them, is at most the largest.
        assert values.max() <= chamfer + 1e-5
        # Lower side, in the mean: the bound holds for the expectation, Hoeffding for the mean of the repetitions.
        chance = spread * math.sqrt(math.log(1 / TINY) / (2 * repetitions))
        assert values.mean() >= lower_bound(query, document, bits) - chance
        means.append(values.mean())
    assert means == sorted(means)
    assert lower_bound(query, document, 10) > 0.7 * chamfer  # the bound says something
    assert means[-1] > 0.9 * chamfer


def test_one_document_token_gives_maxsim_exactly() -> None:
    query, document = unit([1.0, 0.5, 0.0], [0.2, -1.0, 0.3]), unit([0.4, 0.1, 0.9])
    values = products(FixedDimensionalEncoding(3, 10, 5, inner_dim=None), query, document)
    np.testing.assert_allclose(values, float((query @ document.T).sum()), atol=1e-6)


@pytest.mark.parametrize(("inner_dim", "final_dim"), [(4, None), (None, 64), (4, 64)])
def test_sketches_are_unbiased_over_seeds(inner_dim: int | None, final_dim: int | None) -> None:
    generator = np.random.default_rng(1)
    query, document = (
        unit(*generator.standard_normal((3, 8)).tolist()),
        unit(*generator.standard_normal((5, 8)).tolist()),
    )
    errors = []
    for seed in range(400):
        # The planes of a seed are the same, so the difference is what the sketch adds.
        plain = FixedDimensionalEncoding(8, 5, 3, None, seed=seed)
        sketched = FixedDimensionalEncoding(8, 5, 3, inner_dim, final_dim, seed=seed)
        exact, ours = (
            float((encoding.queries(one(query)) @ encoding.documents(one(document)).T).item())
            for encoding in (plain, sketched)
        )
        errors.append(ours - exact)
    error = np.array(errors)
    standard_error = error.std(ddof=1) / math.sqrt(len(error))
    assert standard_error < 0.1  # small beside a MaxSim of about 2
    assert abs(error.mean()) < 5 * standard_error  # 5 standard errors: about 6 in ten million


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("repetitions", 0),
        ("bits", -1),
        ("bits", 17),
        ("inner_dim", 0),
        ("inner_dim", 9),
        ("final_dim", 0),
        ("seed", -1),
    ],
)
def test_a_bad_parameter_is_named(key: str, value: int) -> None:
    with pytest.raises(InputError, match=rf"evaluation\.muvera\.{key} is {value}: set it to"):
        FixedDimensionalEncoding(**{"dim": 8, "inner_dim": 4, key: value})  # type: ignore[arg-type]


def test_a_final_projection_that_enlarges_is_refused() -> None:
    with pytest.raises(InputError, match=r"final_dim is 65: set it to a whole number between 1 and 64"):
        FixedDimensionalEncoding(8, repetitions=2, bits=3, inner_dim=4, final_dim=65)


def test_tokens_of_another_size_and_texts_without_tokens_are_refused() -> None:
    encoding = FixedDimensionalEncoding(8, inner_dim=4)
    with pytest.raises(InputError, match="tokens of 8 values, and the student's have 6"):
        encoding.queries(texts([2], 6, seed=0))
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        encoding.documents(PackedEmbeddings(torch.randn(3, 8), torch.tensor([2, 0, 1])))
