"""Time to embed and to search a corpus, from a measured part of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from colbert_lab.base.types import PackedEmbeddings, Role, Variant
from colbert_lab.model.batches import length_sorted_batches
from colbert_lab.model.encode import encode
from colbert_lab.model.student import Student
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.plan.counting import Rates, Work, evenly, fit_rates
from colbert_lab.search.exact import tie_ranks
from colbert_lab.search.mode import SearchSettings
from colbert_lab.search.modes import Indexes
from colbert_lab.search.store import TokenStore, in_memory


@dataclass(frozen=True)
class TextCount:
    """Tokens of many texts.

    Attributes:
        texts: how many there are.
        rows: those that were tokenized.
        lengths: their tokens.
        batches: how they are encoded: positions in ``rows``, from long to short.
    """

    texts: int
    rows: list[int]
    lengths: list[int]
    batches: list[list[int]]

    @property
    def share(self) -> float:
        """How many texts each tokenized one stands for."""
        return self.texts / len(self.rows)

    @property
    def tokens(self) -> float:
        """Tokens of all texts, without padding."""
        return sum(self.lengths) * self.share

    def works(self) -> list[Work]:
        """The encoding batches of the tokenized texts."""
        longest = [max(self.lengths[n] for n in batch) for batch in self.batches]
        return [
            Work(len(batch) * width, len(batch) * width * width)
            for batch, width in zip(self.batches, longest, strict=True)
        ]


def count_texts(
    tokenizer: StudentTokenizer, texts: Sequence[str], role: Role, token_budget: int, most: int
) -> TextCount:
    """Tokenize texts as the encoder will read them; where there are more than ``most``, so many, evenly spread.

    Args:
        tokenizer: the student's.
        texts: at least one.
        role: of the texts.
        token_budget: most padded tokens of an encoding batch.
        most: texts to tokenize.
    """
    rows = np.unique(np.linspace(0, len(texts) - 1, min(most, len(texts))).round().astype(int)).tolist()
    lengths = [len(ids) for ids in tokenizer.ids([texts[row] for row in rows], role)]
    floor = tokenizer.floor(role)
    lengths = [max(length, floor) for length in lengths]
    return TextCount(len(texts), rows, lengths, list(length_sorted_batches(lengths, token_budget)))


@dataclass(frozen=True)
class Encoded:
    """A part of a corpus that was embedded.

    Attributes:
        rates: seconds of an encoding batch.
        rows: the texts.
        embeddings: theirs.
        scoring: share of the tokens that score.
    """

    rates: Rates
    rows: list[int]
    embeddings: PackedEmbeddings
    scoring: float

    def seconds(self, count: TextCount) -> float:
        """Seconds to embed texts."""
        return sum(map(self.rates.of, count.works())) * count.share


def measure_encoding(
    student: Student,
    texts: Sequence[str],
    count: TextCount,
    batches: int,
    token_budget: int,
    precision: str,
    tick: Callable[[], None],
) -> Encoded:
    """Embed some batches of a corpus, from short to long texts.

    Args:
        student: the model.
        texts: the documents.
        count: their tokens.
        batches: how many to measure; one more is computed first.
        token_budget: most padded tokens of a batch.
        precision: Lightning's name.
        tick: called after each.
    """
    order = list(range(len(count.batches)))[::-1]
    chosen = evenly(order, batches)
    works, seconds, rows, parts = [], [], [], []
    for number in [chosen[len(chosen) // 2], *chosen]:
        mine = [count.rows[n] for n in count.batches[number]]
        begun = time.perf_counter()
        found = encode(
            student, [texts[row] for row in mine], "document", token_budget=token_budget, precision=precision
        )
        seconds.append(time.perf_counter() - begun)
        works.append(count.works()[number])
        rows.append(mine)
        parts.append(found)
        tick()
    lengths_N = torch.cat([part.lengths_N for part in parts[1:]])
    tokens = sum(sum(count.lengths[n] for n in count.batches[number]) for number in chosen)
    return Encoded(
        fit_rates(works[1:], seconds[1:]),
        [row for part in rows[1:] for row in part],
        PackedEmbeddings(torch.cat([part.emb_TD for part in parts[1:]]), lengths_N),
        float(lengths_N.sum()) / tokens,
    )


@dataclass(frozen=True)
class SearchRate:
    """What one way to search takes.

    Attributes:
        index: seconds a scoring document token to make the index.
        scan: seconds a query token and scoring document token of the corpus.
        query: seconds a query token, whatever the corpus.
        bytes: of the index, a scoring document token.
    """

    index: float
    scan: float
    query: float
    bytes: float

    def seconds(self, document_tokens: float, query_tokens: float) -> float:
        """Seconds to index and search a corpus."""
        scanning = self.scan * document_tokens * query_tokens
        return self.index * document_tokens + scanning + self.query * query_tokens


def measure_search(
    encoded: Encoded,
    queries: PackedEmbeddings,
    search: SearchSettings,
    depth: int,
    lists: int | None,
    dim: int,
    device: torch.device,
    tick: Callable[[], None],
) -> Mapping[Variant, SearchRate]:
    """Search the embedded part in every way that is configured.

    Args:
        encoded: the documents.
        queries: some queries.
        search: how.
        depth: documents that a ranking keeps.
        lists: documents that candidate lists hold; None where the whole corpus is searched.
        dim: of an embedding.
        device: where to compute.
        tick: called after each way.
    """
    store: TokenStore = in_memory(encoded.embeddings)
    tokens, query_tokens = store.n_tokens, int(queries.lengths_N.sum())
    ties_C = tie_ranks([str(row) for row in range(len(store))])
    generator = torch.Generator().manual_seed(0)
    rates: dict[Variant, SearchRate] = {}
    with tempfile.TemporaryDirectory() as folder:
        indexes = Indexes(store, search, ties_C, dim=dim, folder=Path(folder), device=device, progress=None)

        def some(wanted: int) -> list[torch.Tensor]:
            """Random documents for every query, repeated where there are too few."""
            return [torch.randint(len(store), (wanted,), generator=generator) for _ in range(len(queries))]

        def searched(variant: Variant) -> tuple[float, float, int]:
            of_lists = None if lists is None else some(lists)
            first = partial(some, search.rerank_depth)
            found = indexes.search(variant, queries, depth, first, of_lists, None)
            return found.seconds_index, found.seconds_search, found.index_bytes

        for variant in search.variants:
            fixed = 0.0
            building, _, size = searched(variant)  # torch makes itself ready
            _, searching, _ = searched(variant)
            if variant.mode in ("rerank", "plaid") or lists is not None:
                fixed = searching
            elif variant.mode == "muvera_rerank":
                nearest = searched(replace(variant, mode="muvera", storage=None))[1]
                fixed = max(0.0, searching - nearest)
            scan = (searching - fixed) / tokens / query_tokens
            rates[variant] = SearchRate(building / tokens, scan, fixed / query_tokens, size / tokens)
            tick()
    return rates
