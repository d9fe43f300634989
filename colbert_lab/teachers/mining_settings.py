"""The settings of mining, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colbert_lab.errors import InputError
from colbert_lab.teachers.list_scorer import PairScorer
from colbert_lab.teachers.lists import describe
from colbert_lab.teachers.positive_aware import PositiveAware
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.text.fingerprint import fingerprint, folder_state

SAMPLES = ("top", "random")


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
    bounds: PositiveAware = PositiveAware()  # noqa: RUF009 (it is frozen)
    part: int = 256

    def __post_init__(self) -> None:
        for key, number in (("negatives", self.negatives), ("part", self.part)):
            if number < 1:
                raise InputError(f"mine.{key}={number}: must be at least 1")
        if not 1 <= self.ranks[0] <= self.ranks[1]:
            raise InputError(
                f"mine.ranks=[{self.ranks[0]},{self.ranks[1]}]: the first and the last rank, from 1 on, such as [1,100]"
            )
        if self.sample not in SAMPLES:
            raise InputError(f"mine.sample={self.sample}: must be one of {', '.join(SAMPLES)}")
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


def described(scorer: object) -> str:
    """A scorer's settings, and the state of the local folders that it reads (a checkpoint may be written again)."""
    members = list(getattr(scorer, "members", {}).values()) or [scorer]
    folders = [
        value
        for member in members
        for value in getattr(member, "__dict__", {}).values()
        if isinstance(value, str | Path) and str(value) and Path(value).is_dir()
    ]
    state = [line for folder in folders for line in folder_state(Path(folder))]
    return describe(scorer) + (f" files {fingerprint(state)}" if state else "")
