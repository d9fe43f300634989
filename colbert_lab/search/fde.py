"""MUVERA's fixed dimensional encodings: one vector a text, whose inner product approximates MaxSim.

Dhulipala, Hadian, Jayaram, Lee & Mirrokni 2024, "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings",
arXiv 2405.19504, section 2. A repetition cuts the space of tokens by ``bits`` random hyperplanes through the origin
(SimHash) into 2^bits partitions. A query holds, for every partition, the sum of its tokens there; a document holds the
mean of its tokens there, so that each query token meets document tokens that are likely to be near it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import PackedEmbeddings

BLOCK_VALUES = 4_194_304  # float64 values that a block of texts may hold: 32 MiB
MOST_BITS = 16


@dataclass(frozen=True)
class Projections:
    """The random numbers of an encoding, float64 on the CPU.

    Attributes:
        planes: normals of the SimHash hyperplanes, standard normal, [repetitions, dim, bits].
        inner: AMS sketches of tokens, +-1/sqrt(inner_dim), [repetitions, dim, inner_dim]; None without one.
        final_signs: +-1 as int8, [repetitions * 2^bits * inner_dim, final_dim]; None without a final projection.
    """

    planes: Tensor
    inner: Tensor | None
    final_signs: Tensor | None


@dataclass(frozen=True)
class FixedDimensionalEncoding:
    """Encodings of queries and documents with <query, document> close to MaxSim, summed over query tokens.

    Scaling: a query sums, a document averages and carries 1/repetitions, so the inner product is the mean over
    repetitions of  sum over query tokens q of <q, mean of the document tokens in q's partition>. Both sketches are
    scaled so that inner products keep their expectation (1/sqrt(inner_dim) and 1/sqrt(final_dim) on either side).
    For ``fill_empty`` and no sketch, every repetition is at most MaxSim, and it comes near MaxSim as ``bits`` grows
    (theorem 2.1 of the paper bounds the distance for unit-length tokens).

    The random numbers are drawn on the CPU from ``seed``, and sums and signs are taken in float64, so an encoding
    depends neither on the device nor on the texts beside it (up to the rounding of the last float32 digit).

    Attributes:
        dim: values of a token.
        repetitions: independent partitions of the space, concatenated.
        bits: hyperplanes a repetition; 2^bits partitions.
        inner_dim: values of a token after the AMS sketch (random +-1 matrix) of each repetition; None keeps tokens
            as they are.
        final_dim: values of the encoding after an AMS sketch of the whole; None keeps it as it is. Its matrix takes
            one byte a value: repetitions * 2^bits * inner_dim * final_dim.
        fill_empty: give an empty partition of a document the token whose SimHash differs from the partition's in the
            fewest bits (of several such tokens, the first of the text); otherwise it is zero.
        seed: of every random number.

    Raises:
        InputError: a value outside its range, named as ``evaluation.muvera.<key>``.
    """

    dim: int
    repetitions: int = 20
    bits: int = 5
    inner_dim: int | None = 16
    final_dim: int | None = None
    fill_empty: bool = True
    seed: int = 42

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"tokens have at least one value, not {self.dim}")
        _check("repetitions", self.repetitions, 1, None)
        _check("bits", self.bits, 0, MOST_BITS)
        if self.inner_dim is not None:
            _check("inner_dim", self.inner_dim, 1, self.dim, " or null (tokens as they are)")
        if self.final_dim is not None:
            _check("final_dim", self.final_dim, 1, self._wide, " or null (no final projection)")
        _check("seed", self.seed, 0, 2**63 - 1)

    @property
    def size(self) -> int:
        """Values of an encoding."""
        return self._wide if self.final_dim is None else self.final_dim

    @property
    def _token_dim(self) -> int:
        return self.dim if self.inner_dim is None else self.inner_dim

    @property
    def _wide(self) -> int:
        """Values before the final projection."""
        return self.repetitions * (1 << self.bits) * self._token_dim

    def projections(self) -> Projections:
        """Draw the random numbers; the same on every device, and the same planes with or without sketches."""
        generator = torch.Generator().manual_seed(self.seed)
        planes = torch.randn(self.repetitions, self.dim, self.bits, generator=generator, dtype=torch.float64)
        inner = final_signs = None
        if self.inner_dim is not None:
            signs = _signs(self.repetitions, self.dim, self.inner_dim, generator=generator)
            inner = signs.double() / math.sqrt(self.inner_dim)
        if self.final_dim is not None:
            final_signs = _signs(self._wide, self.final_dim, generator=generator)
        return Projections(planes, inner, final_signs)

    def queries(self, texts: PackedEmbeddings) -> Tensor:
        """Encode queries: tokens are summed.

        Args:
            texts: N queries, each with at least one token.

        Returns:
            float32 [N, size] on the device of the embeddings.

        Raises:
            InputError: the tokens do not have ``dim`` values.
            ValueError: a text has no token.
        """
        return self._encode(texts, documents=False)

    def documents(self, texts: PackedEmbeddings) -> Tensor:
        """Encode documents: tokens are averaged, and the whole is divided by ``repetitions``.

        Args:
            texts: N documents, each with at least one token.

        Returns:
            float32 [N, size] on the device of the embeddings.

        Raises:
            InputError: the tokens do not have ``dim`` values.
            ValueError: a text has no token.
        """
        return self._encode(texts, documents=True)

    def _encode(self, texts: PackedEmbeddings, *, documents: bool) -> Tensor:
        if texts.emb_TD.shape[1] != self.dim:
            raise InputError(
                f"evaluation.muvera: the encoding is for tokens of {self.dim} values, and the student's have "
                f"{texts.emb_TD.shape[1]}: use the student's own dim"
            )
        lengths_N = texts.lengths_N.cpu()
        empty = (lengths_N < 1).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"texts without a token have no encoding: rows {empty[:5]}")
        device, drawn = texts.emb_TD.device, self.projections()
        planes = drawn.planes.to(device)
        inner = None if drawn.inner is None else drawn.inner.to(device)
        final_signs = None if drawn.final_signs is None else drawn.final_signs.to(device)
        encodings = torch.empty(len(texts), self.size, device=device)
        cells = self.repetitions * (1 << self.bits)
        cost_N = (
            lengths_N * (self.dim + self.repetitions * (self.bits + self._token_dim)) + self._wide + 4 * cells
        )
        blocks_N = (cost_N.cumsum(0) - 1) // BLOCK_VALUES
        n_texts = torch.unique_consecutive(blocks_N, return_counts=True)[1].tolist()
        text = token = 0
        with torch.no_grad():
            for n in n_texts:
                lengths = lengths_N[text : text + n]
                n_tokens = int(lengths.sum())
                wide = self._block(
                    texts.emb_TD[token : token + n_tokens].double(), lengths, planes, inner, documents
                )
                encodings[text : text + n] = wide if final_signs is None else _sketch(wide, final_signs)
                text, token = text + n, token + n_tokens
        return encodings

    def _block(
        self, emb_TD: Tensor, lengths_N: Tensor, planes: Tensor, inner: Tensor | None, documents: bool
    ) -> Tensor:
        """Encodings of a few texts before the final projection, float64 [N, repetitions * 2^bits * token dim]."""
        device, R, P = emb_TD.device, self.repetitions, 1 << self.bits
        N, T = len(lengths_N), len(emb_TD)
        side = (emb_TD @ planes.transpose(0, 1).flatten(1)).view(T, R, self.bits) > 0
        partition_TR = (side * (2 ** torch.arange(self.bits, device=device))).sum(dim=-1)
        if inner is None:
            value = emb_TD[:, None].expand(-1, R, -1)
        else:
            value = (emb_TD @ inner.transpose(0, 1).flatten(1)).view(T, R, -1)
        owner_T = torch.repeat_interleave(torch.arange(N), lengths_N).to(device)
        # A cell is a partition of a repetition of a text.
        cell = ((owner_T[:, None] * R + torch.arange(R, device=device)) * P + partition_TR).flatten()
        sums = emb_TD.new_zeros(N * R * P, self._token_dim).index_add_(0, cell, value.reshape(T * R, -1))
        if documents:
            counts = torch.bincount(cell, minlength=N * R * P)
            sums /= counts.clamp(min=1)[:, None]
            if self.fill_empty:
                missing = (counts == 0).nonzero().flatten()
                nearest = _nearest_token(cell.view(T, R), N * R, self.bits)[missing]
                sums[missing] = value[nearest, missing // P % R]
            sums /= R
        return sums.view(N, -1)


def _check(key: str, value: int, least: int, most: int | None, otherwise: str = "") -> None:
    if value < least or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"between {least} and {most}"
        raise InputError(f"evaluation.muvera.{key} is {value}: set it to a whole number {limits}{otherwise}")


def _signs(*shape: int, generator: torch.Generator) -> Tensor:
    """Independent +1 and -1, int8."""
    return torch.randint(0, 2, shape, generator=generator, dtype=torch.int8) * 2 - 1


def _nearest_token(cell_TR: Tensor, rows: int, bits: int) -> Tensor:
    """The token nearest to every partition in Hamming distance, the lowest of several.

    The Hamming distance is a sum over bits, so the minimum over all partitions is taken one bit at a time: ``bits``
    passes over the partitions, whatever the number of tokens.

    Args:
        cell_TR: cell of each token, partition + 2^bits * (a row: text and repetition).
        rows: number of rows.
        bits: hyperplanes.

    Returns:
        int64 [rows * 2^bits], the token of each cell.
    """
    T, R = cell_TR.shape
    device, partitions = cell_TR.device, 1 << bits
    tokens = torch.arange(T, device=device)[:, None].expand(-1, R).flatten()
    # One number a cell whose order is (distance, token): distance * T + token; empty cells start beyond any distance.
    key = torch.full((rows * partitions,), (bits + 1) * T, device=device)
    key = key.scatter_reduce_(0, cell_TR.flatten(), tokens, "amin").view(rows, partitions)
    here = torch.arange(partitions, device=device)
    for bit in range(bits):
        key = torch.minimum(key, key[:, here ^ (1 << bit)] + T)
    return key.flatten() % T


def _sketch(wide: Tensor, signs: Tensor) -> Tensor:
    """AMS sketch of whole encodings, [N, wide] to [N, final_dim], with few float64 signs at a time."""
    step = max(1, BLOCK_VALUES // signs.shape[1])
    total = wide.new_zeros(len(wide), signs.shape[1])
    for start in range(0, len(signs), step):
        total += wide[:, start : start + step] @ signs[start : start + step].double()
    total /= math.sqrt(signs.shape[1])
    return total
