"""The queries and documents of a batch as MaxSim takes them: tokens that score, documents in blocks.

Where a device works behind the program, the numbers of scoring tokens are read once, of all masks together
(:class:`Layout`); all else is commanded without waiting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from colbert_lab.model.devices import upload
from colbert_lab.model.maxsim import check_counts

BLOCK_VALUES = {"cpu": 4_194_304, "cuda": 67_108_864}
"""Token similarities of a block: 16 MiB in float32 on a CPU, where more gains nothing; a GPU wants larger matrices."""


def block_values_of(device: torch.device) -> int:
    """What suits a device."""
    return BLOCK_VALUES.get(device.type, BLOCK_VALUES["cuda"])


@dataclass(frozen=True)
class Span:
    """Documents that are scored together.

    Attributes:
        chunk: number of their chunk.
        rows: of the chunk.
        columns: of the scores.
        width: most scoring tokens that one of them has.
        even: whether all have as many.
    """

    chunk: int
    rows: slice
    columns: slice
    width: int
    even: bool


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch are that score.

    Attributes:
        mask_BQ: which tokens of queries score.
        masks: which of documents, by chunk.
        counts_B: how many each query has, on the CPU.
        counts: how many each document has, by chunk, on the CPU.
        ends: where each query's tokens end among all that score; a 0 stands before them.
        places: where those of each document are, by chunk, see :func:`scoring_places`.
    """

    mask_BQ: Tensor
    masks: Sequence[Tensor]
    counts_B: Tensor
    counts: Sequence[Tensor]
    ends: Sequence[int]
    places: Sequence[Tensor]

    @classmethod
    def of(cls, mask_BQ: Tensor, masks: Sequence[Tensor]) -> Layout:
        """The layout of masks; waits for them.

        Raises:
            ValueError: a document has no scoring token.
        """
        sizes = [len(mask) for mask in (mask_BQ, *masks)]
        counts_B, *counts = torch.cat([mask.sum(dim=1) for mask in (mask_BQ, *masks)]).cpu().split(sizes)
        for each in counts:
            check_counts(each)
        ends = [0, *counts_B.cumsum(0).tolist()]
        places = [scoring_places(mask, int(each.max())) for mask, each in zip(masks, counts, strict=True)]
        return cls(mask_BQ, masks, counts_B, counts, ends, places)

    def scoring(self, emb_BQD: Tensor) -> Tensor:
        """Embeddings of the queries' tokens that score, end to end [T, D]."""
        return emb_BQD.flatten(0, 1)[self._scoring_rows()]

    def padded(self, values_TD: Tensor) -> Tensor:
        """What belongs to such tokens, in the place of each; others have 0 [B, Q, D]."""
        padded = values_TD.new_zeros(self.mask_BQ.numel(), values_TD.shape[1])
        return padded.index_copy_(0, self._scoring_rows(), values_TD).view(*self.mask_BQ.shape, -1)

    def _scoring_rows(self) -> Tensor:
        order = torch.argsort(self.mask_BQ.flatten().logical_not().to(torch.uint8), stable=True)
        return order[: self.ends[-1]]

    def unpacked(self, span: Span, values_XD: Tensor) -> Tensor:
        """What belongs to the tokens of :meth:`rows_NW`, in the place of each; others have 0 [N, L, D].

        Fillers have no part in it.
        """
        mask_NL = self.masks[span.chunk][span.rows]
        first_N1 = torch.arange(len(mask_NL), device=mask_NL.device).unsqueeze(1) * span.width
        place_NL = (mask_NL.cumsum(dim=1) - 1).clamp(min=0) + first_N1
        return values_XD[place_NL].masked_fill_(~mask_NL.unsqueeze(2), 0)

    def spans(self, block_values: int) -> list[Span]:
        """All documents, as many at once as ``block_values`` allows with their queries."""
        found, start = [], 0
        tokens = math.isqrt(2 * block_values)  # twice as many as the queries have
        for number, counts in enumerate(self.counts):
            step = max(1, tokens // int(counts.max()))
            for first in range(0, len(counts), step):
                some = counts[first : first + step]
                # Documents come sorted by length, so that a block is seldom as wide as its chunk.
                rows, columns = (slice(at + first, at + first + len(some)) for at in (0, start))
                width = int(some.max())
                found.append(Span(number, rows, columns, width, width == int(some.min())))
            start += len(counts)
        return found

    def rows_NW(self, span: Span) -> Tensor:  # noqa: N802
        """Rows of the documents' scoring tokens in the flattened chunk, see :func:`scoring_places`."""
        places_NW = self.places[span.chunk][span.rows, : span.width]
        numbers_N = torch.arange(span.rows.start, span.rows.stop, device=places_NW.device)
        return places_NW + numbers_N.unsqueeze(1) * self.masks[span.chunk].shape[1]

    def fillers_NW(self, span: Span) -> Tensor:  # noqa: N802
        """True where a row is that of a document's first token once more."""
        counts_N1 = self.masks[span.chunk][span.rows].sum(dim=1, keepdim=True)
        return torch.arange(span.width, device=counts_N1.device) >= counts_N1

    def real(self, span: Span, place_TN: Tensor) -> Tensor:
        """Places of maxima; that of a document's first token for its fillers, which products may round otherwise."""
        if span.even:
            return place_TN
        return place_TN.masked_fill_(place_TN >= self.masks[span.chunk][span.rows].sum(dim=1), 0)

    def parts(self, span: Span, block_values: int, asked_B: Tensor | None = None) -> list[Part]:
        """Queries in parts whose tokens make about a block with the documents of a span.

        Args:
            span: the documents.
            block_values: most token similarities of a block; a part has at least one query.
            asked_B: numbers of the queries, rising, on the CPU; None for all.
        """
        counts = self.counts_B if asked_B is None else self.counts_B[asked_B]
        tokens = max(1, int(counts.sum()) // max(1, len(counts)))
        wide = (span.rows.stop - span.rows.start) * span.width * tokens
        step = max(1, block_values // wide)
        starts = range(0, len(counts), step)
        return [self._part(first, min(first + step, len(counts)), asked_B) for first in starts]

    def _part(self, first: int, stop: int, asked_B: Tensor | None) -> Part:
        if asked_B is not None:
            asked_B = asked_B[first:stop]
            first, stop = int(asked_B[0]), int(asked_B[-1]) + 1
        tokens = self.ends[stop] - self.ends[first]
        if asked_B is None or len(asked_B) == stop - first:
            return Part(slice(first, stop), slice(self.ends[first], self.ends[stop]), tokens)
        device = self.mask_BQ.device
        counts = self.counts_B[asked_B]
        tokens_T = token_rows(torch.tensor(self.ends)[asked_B], counts)
        return Part(upload(asked_B, device), upload(tokens_T, device), len(tokens_T))


@dataclass(frozen=True)
class Part:
    """Some queries.

    Attributes:
        rows: their numbers.
        tokens: those of their scoring tokens among all that score.
        length: how many tokens these are.
    """

    rows: slice | Tensor
    tokens: slice | Tensor
    length: int


def scoring_places(mask_NL: Tensor, width: int) -> Tensor:
    """Where the scoring tokens of each document are, to the left and in order.

    Documents with fewer of them than the others are filled up with their first one: it changes no maximum, and nothing
    has to be masked.

    Args:
        mask_NL: True where a token scores; at least one a document.
        width: the most that a document has.

    Returns:
        Positions [N, W].
    """
    order = torch.argsort(mask_NL.logical_not().to(torch.uint8), dim=1, stable=True)
    inside = torch.arange(width, device=mask_NL.device) < mask_NL.sum(dim=1, keepdim=True)
    return torch.where(inside, order[:, :width], order[:, :1])


def similarities(q_TD: Tensor, d_NWD: Tensor) -> Tensor:
    """Of every query token with every document token [T, N, W]."""
    n, width, dim = d_NWD.shape
    return (q_TD @ d_NWD.reshape(n * width, dim).T).view(len(q_TD), n, width)


def query_sums(best_TN: Tensor, mask_bQ: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum over the tokens of each query [b, N]."""
    b, width = mask_bQ.shape
    if len(best_TN) != b * width:
        if not len(best_TN):
            return best_TN.new_zeros(b, best_TN.shape[1], dtype=dtype)
        place_X = (mask_bQ.flatten().cumsum(0) - 1).clamp(min=0)
        best_TN = best_TN[place_X].masked_fill_(~mask_bQ.flatten().unsqueeze(1), 0)
    return best_TN.view(b, width, -1).sum(dim=1, dtype=dtype)


def token_rows(starts_N: Tensor, lengths_N: Tensor) -> Tensor:
    """Row numbers of the tokens of texts that start at ``starts_N`` and have ``lengths_N`` tokens, end to end."""
    first_T = torch.repeat_interleave(starts_N - (torch.cumsum(lengths_N, 0) - lengths_N), lengths_N)
    return first_T + torch.arange(int(lengths_N.sum()))
