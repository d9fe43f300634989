"""Which candidates of several retrievers become the negatives of a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from colbert_lab.errors import InputError

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
        InputError: a name is unknown or has no share, a share is below 0, or they do not add up to 1.
    """
    if RANDOM in retrievers:
        raise InputError(f"mine.retrievers.{RANDOM}: the name stands for random documents; choose another")
    if shares is None:
        if not retrievers:
            raise InputError("mine.retrievers: empty; name one, or set mine.shares={random: 1}")
        return {name: 1 / len(retrievers) for name in retrievers}
    known = ", ".join([*retrievers, RANDOM])
    for name, share in shares.items():
        if name not in retrievers and name != RANDOM:
            raise InputError(f"mine.shares.{name}: no such retriever; there are {known}")
        if not share >= 0:
            raise InputError(f"mine.shares.{name}={share:g}: must not be below 0")
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

    Every name gets the whole part of ``share x n``; what is left goes to the largest remainders, and of equal ones to
    the first.

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

    The i-th of a retriever's q turns is at ``(i + 1/2) / q``; of equal ones the first in the mapping goes first.
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
