"""Which candidates of several retrievers become the negatives of a query: the settings of mining, and filters.

The filters are those of NV-Retriever (Moreira et al. 2024, section 3.2), positive-aware. A document that nobody judged
may be relevant all the same. A teacher's score tells: one that comes near the score of the query's positive, or is
above it, is likely a false negative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from colbert_lab.base.errors import InputError
from colbert_lab.teachers.scorer import PairScorer, Scorer
from colbert_lab.training.objectives.contrastive import share_of

FILTERS = ("max_score", "ratio", "margin")


@dataclass(frozen=True)
class PositiveAware:
    """Upper bounds of a negative's teacher score; each that is not None applies.

    The positive's score is the lowest among the query's relevant documents, so that a negative is below all of them.

    Attributes:
        max_score: an absolute bound ("TopK-Abs").
        ratio: the bound is this share of the positive's score ("TopK-PercPos"; 0.95 was best there), see
            :func:`colbert_lab.training.objectives.contrastive.share_of` for scores that are not above 0.
        margin: the bound is the positive's score minus ``margin`` ("TopK-MarginPos"; 0.05 in the paper, for
            cosines).
    """

    max_score: float | None = None
    ratio: float | None = None
    margin: float | None = None

    @property
    def used(self) -> list[str]:
        """Names of the bounds that are set."""
        return [name for name in FILTERS if getattr(self, name) is not None]

    def reason(self, score: float, positive: float) -> str | None:
        """The first bound that a negative's score is above; None when it may be used.

        Args:
            score: teacher score of the negative.
            positive: the lowest teacher score of the query's relevant documents.
        """
        if self.max_score is not None and score > self.max_score:
            return "max_score"
        if self.ratio is not None and score > share_of(positive, self.ratio):
            return "ratio"
        if self.margin is not None and score > positive - self.margin:
            return "margin"
        return None


@dataclass(frozen=True)
class Mining:
    """How negatives are mined.

    A retriever's candidates are the documents of ranks ``first`` to ``last`` in its list, counted from 1 after the
    query's relevant documents have been taken out; copies of them still count.

    Attributes:
        retrievers: name to scorer, those with a share.
        shares: name to share, of the retrievers and perhaps of ``random``; they add up to 1.
        negatives: how many a query gets at most.
        ranks: first and last rank that are candidates.
        sample: ``top`` takes a retriever's candidates from the best one down, ``random`` in a random order.
        seed: of everything random.
        teacher: scores negatives and relevant documents; None for no scores.
        bounds: what the teacher's scores of negatives may be.
        part: queries of a part.
    """

    retrievers: Mapping[str, Scorer]
    shares: Mapping[str, float]
    negatives: int = 8
    ranks: tuple[int, int] = (1, 100)
    sample: str = "top"
    seed: int = 0
    teacher: Scorer | PairScorer | None = None
    bounds: PositiveAware = PositiveAware()
    part: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.ranks[0] <= self.ranks[1]:
            raise InputError(
                f"mine.ranks=[{self.ranks[0]},{self.ranks[1]}]: the first and the last rank, from 1 on, such as [1,100]"
            )
        for name, scorer in self.retrievers.items():
            if not hasattr(scorer, "index"):
                raise InputError(
                    f"mine.retrievers.{name}: {scorer.name} reads pairs and cannot search; use it as "
                    "mine.filter.teacher"
                )
        if self.teacher is None and self.bounds.used:
            raise InputError(
                f"mine.filter.{self.bounds.used[0]}: has no effect without a teacher; set "
                "teacher@mine.filter.teacher=..., or leave it out"
            )

    @property
    def pool(self) -> int:
        """How many random documents are candidates."""
        return max(self.ranks[1] - self.ranks[0] + 1, 10 * self.negatives)


RANDOM = "random"


@dataclass(frozen=True)
class Choice:
    """The negatives of one query.

    Attributes:
        rows: row numbers of the corpus, in the order in which they were chosen.
        sources: for each, the retriever it is from.
        counts: for each retriever, how many of its candidates were ``kept``, and how many were left for each reason;
            those that were not looked at, as there were enough, are ``not_needed``.
    """

    rows: list[int]
    sources: list[str]
    counts: dict[str, Counter[str]]


def check_shares(shares: Mapping[str, float] | None, retrievers: Sequence[str]) -> dict[str, float]:
    """Shares by name, in the order of the retrievers, ``random`` last; a share of 0 leaves its retriever out.

    Args:
        shares: as configured; None means equal shares of the retrievers.
        retrievers: their names.

    Raises:
        InputError: a name is unknown or has no share, or they do not add up to 1.
    """
    if RANDOM in retrievers:
        raise InputError(f"mine.retrievers.{RANDOM}: the name stands for random documents; choose another")
    if shares is None:
        if not retrievers:
            raise InputError("mine.retrievers: empty; name one, or set mine.shares={random: 1}")
        return {name: 1 / len(retrievers) for name in retrievers}
    known = ", ".join([*retrievers, RANDOM])
    for name in shares:
        if name not in retrievers and name != RANDOM:
            raise InputError(f"mine.shares.{name}: no such retriever; there are {known}")
    without = [name for name in retrievers if name not in shares]
    if without:
        raise InputError(
            f"mine.shares: {without[0]} has none; give it one, or mine.shares.{without[0]}=0 to leave it out"
        )
    total = sum(shares.values())
    if not abs(total - 1) < 1e-6:
        raise InputError(f"mine.shares: add up to {total:g}; they must add up to 1")
    return {name: shares[name] for name in (*retrievers, RANDOM) if shares.get(name)}


def quotas(shares: Mapping[str, float], n: int) -> dict[str, int]:
    """Whole numbers in proportion to shares that add up to n: the largest remainder method (Hamilton's).

    Every name gets the whole part of ``share x n``; what is left goes to the largest remainders, to the first
    where some are equal.

    Args:
        shares: name to share; they add up to 1.
        n: the sum.
    """
    exact = {name: round(share * n, 9) for name, share in shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(
        exact, key=lambda name: whole[name] - exact[name]
    )  # stable: the first of equal ones
    for name in by_remainder[: n - sum(whole.values())]:
        whole[name] += 1
    return whole


def turns(quota: Mapping[str, int]) -> list[str]:
    """Whose turn it is to choose, so that every beginning of the list is about in proportion.

    The i-th of a retriever's q turns is at ``(i + 1/2) / q``; where two are equal, the first in the mapping is first.
    """
    places = [((i + 0.5) / n, order, name) for order, (name, n) in enumerate(quota.items()) for i in range(n)]
    return [name for _, _, name in sorted(places)]


def choose(
    candidates: Mapping[str, Sequence[int]],
    order: Sequence[str],
    refused: Callable[[int], str | None],
    key: Callable[[int], str],
) -> Choice:
    """Choose in turns; a retriever whose turn it is gives its next candidate that can be used.

    When retrievers have run short, the open turns go round to those that have candidates left, in their order.

    Args:
        candidates: for each retriever, rows of the corpus, the first ones first.
        order: names in the order of their turns, see :func:`turns`; as many as negatives are wanted.
        refused: why a row cannot be used, None when it can.
        key: equal keys mean copies of one document; at most one is chosen.
    """
    counts = {name: Counter[str]() for name in candidates}
    remaining = {name: iter(rows) for name, rows in candidates.items()}
    chosen: dict[int, str] = {}
    keys: set[str] = set()

    def take(name: str) -> bool:
        for row in remaining[name]:
            reason = "chosen_already" if row in chosen else refused(row)
            if reason is None and key(row) in keys:
                reason = "copy"
            counts[name][reason or "kept"] += 1
            if reason is None:
                chosen[row] = name
                keys.add(key(row))
                return True
        return False

    for name in order:
        take(name)
    able = list(candidates)
    while able and len(chosen) < len(order):
        for name in list(able):
            if len(chosen) < len(order) and not take(name):
                able.remove(name)
    for name, left in remaining.items():
        counts[name]["not_needed"] += sum(1 for _ in left)
    return Choice(list(chosen), list(chosen.values()), counts)
