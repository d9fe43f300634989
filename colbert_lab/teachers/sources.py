"""Training data of a phase, as the ``data`` config group names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from colbert_lab.errors import InputError
from colbert_lab.teachers.lists import build_scored_lists
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.text.examples import Examples, ScoredLists
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.installed_docs import training_split
from colbert_lab.text.scored_lists import read_scored_lists
from colbert_lab.types import Split


class Source(Protocol):
    """Where a phase gets its training data."""

    @property
    def teacher(self) -> Scorer | None:
        """The teacher, when it can score other text too (for the teacher's row in the tables)."""
        ...

    @property
    def weights(self) -> Sequence[float] | None:
        """Relative frequency of the sources; None for proportional to size."""
        ...

    def load(self, cache_dir: Path) -> Sequence[Examples]:
        """Read or build the training data, one entry a source."""
        ...


@dataclass(frozen=True)
class InstalledDocsLists:
    """Lists over the installed documentation (``data=installed_docs``).

    Attributes:
        teacher: scores the candidates.
        retrievers: find the candidates.
        documents: cut the training corpus to this many documents (those of the chosen queries first); None
            takes all.
        queries: how many training queries (in order of a hash of their ids); None takes all.
        top: candidates from each retriever.
        random: random candidates.
        seed: of the random candidates.
    """

    teacher: Scorer | None
    retrievers: Mapping[str, Scorer]
    documents: int | None
    queries: int | None
    top: int
    random: int
    seed: int
    weights: None = None

    def judged(self, cache_dir: Path) -> Split:
        """Training queries, their docstrings, and the corpus."""
        return training_split(cache_dir, self.documents, self.queries)

    def load(self, cache_dir: Path) -> list[ScoredLists]:
        """Build the lists, or read them from the cache."""
        if self.teacher is None:
            raise InputError("data.teacher: installed_docs needs a teacher (bm25, bi_encoder or ensemble)")
        split = self.judged(cache_dir)
        lists = build_scored_lists(
            "installed_docs",
            split.corpus,
            split.queries,
            teacher=self.teacher,
            retrievers=self.retrievers,
            top=self.top,
            random=self.random,
            seed=self.seed,
            cache_dir=cache_dir,
        )
        return [lists]


@dataclass(frozen=True)
class ScoredListFiles:
    """Ready lists on disk or on the hub (``data=scored_lists``).

    Attributes:
        path: a BEIR-layout folder when ``scores`` is given; otherwise a folder or hub dataset in the layout
            of lightonai/ms-marco-en-bge-gemma.
        scores: file of lists, relative to ``path``.
        columns: our column name to the source's.
        skip_empty: leave out lists with an empty text.
        draw: how ``n_way`` documents of a list are chosen beside the positive: ``sample`` or ``order``.
        positive: which document is the positive: ``best``, the teacher's, or ``first``, that of the list.
    """

    path: str
    scores: str | None
    columns: Mapping[str, str] = field(default_factory=dict)
    skip_empty: bool = False
    draw: Literal["sample", "order"] = "sample"
    positive: Literal["best", "first"] = "best"
    teacher: None = None
    weights: None = None

    def load(self, cache_dir: Path) -> list[ScoredLists]:
        """Read and check the lists.

        Raises:
            InputError: see :func:`colbert_lab.text.scored_lists.read_scored_lists`, or an unknown ``draw`` or
                ``positive``.
        """
        if self.draw not in ("sample", "order"):
            raise InputError(f"data.draw={self.draw}: must be sample or order")
        if self.positive not in ("best", "first"):
            raise InputError(f"data.positive={self.positive}: must be best or first")
        lists = read_scored_lists(
            self.path, self.scores, cache_dir=cache_dir, columns=self.columns, skip_empty=self.skip_empty
        )
        changed = [value for value in (self.draw, self.positive) if value not in ("sample", "best")]
        mark = fingerprint([lists.fingerprint, *changed]) if changed else lists.fingerprint
        return [replace(lists, draw=self.draw, positive=self.positive, fingerprint=mark)]
