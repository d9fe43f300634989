"""Documentation of packages and text of folders as the data of a phase: pairs, triples and scored lists.

The kinds of pairs (:mod:`colbert_lab.text.packages.pair_kinds`) are sources of their own, so that a micro-batch holds
one kind, and each has a share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.settings.allowed import NO_DEFAULT, number, whole
from colbert_lab.sources.negatives import rows_of
from colbert_lab.sources.sources import build_scored_lists
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.text.documentation import Documentation, training_part
from colbert_lab.text.packages.package_docs import load_package_docs, load_text_folder
from colbert_lab.text.packages.pair_kinds import KINDS
from colbert_lab.text.rows.examples import Examples, ScoredLists


@dataclass(frozen=True)
class DocumentationText:
    """Training text of packages' documentation, or of a folder.

    Attributes:
        packages: entries or a file of them, see :func:`colbert_lab.text.packages.fetching.packages_of`; None takes
            the list that comes along.
        path: a folder of text instead.
        kinds: kind of pair to its share of the micro-batches; shares are scaled to add up to 1, and 0 leaves a kind
            out.
        documents: cut the training corpus to this many documents (those of the chosen queries first), each kind by its
            share; None takes all.
        queries: how many training queries, in the same way; None takes all.
    """

    packages: Sequence[str] | str | None
    path: str | None
    kinds: Mapping[str, float] = number(0, default=NO_DEFAULT)
    documents: int | None = whole(1, default=NO_DEFAULT)
    queries: int | None = whole(1, default=NO_DEFAULT)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each kind that is not left out; they add up to 1.

        Raises:
            InputError: a kind is unknown, or all are left out.
        """
        unknown = [name for name in self.kinds if name not in KINDS]
        if unknown:
            raise InputError(f"data.kinds.{unknown[0]}: no such kind; there are {', '.join(KINDS)}")
        total = sum(self.kinds.values())
        if total == 0:
            raise InputError("data.kinds: every kind is left out; give one a share above 0")
        return {name: self.kinds[name] / total for name in KINDS if self.kinds.get(name)}

    @property
    def weights(self) -> Sequence[float]:
        """In the order of the sources."""
        return list(self.shares.values())

    def texts(self, cache_dir: Path) -> Documentation:
        """The whole documentation, fetched and read where the cache does not have it."""
        assert self.shares  # wrong ones are refused before anything slow
        if self.path is None:
            return load_package_docs(self.packages, cache_dir)
        if self.packages is not None:
            raise InputError("data.packages: has no effect with data.path; set one of them to null")
        return load_text_folder(Path(self.path), cache_dir)

    def judged(self, cache_dir: Path) -> Split:
        """Training queries of all kinds that are not left out, their documents, and the corpus."""
        return training_part(self.texts(cache_dir), self.documents, self.queries, self.shares)

    def parts(self, cache_dir: Path) -> list[Split]:
        """The same, a split for each kind.

        Raises:
            InputError: a kind has no pair.
        """
        docs = self.texts(cache_dir)
        found = []
        for kind, share in self.shares.items():
            if "train" not in {docs.split_of[query] for query, own in docs.kind_of.items() if own == kind}:
                raise InputError(
                    f"data.kinds.{kind}={self.kinds[kind]:g}: the training text has no such pair; set it to 0"
                )
            documents, queries = (
                None if most is None else max(1, round(share * most))
                for most in (self.documents, self.queries)
            )
            found.append(training_part(docs, documents, queries, [kind]))
        return found


@dataclass(frozen=True)
class DocumentationTriples(DocumentationText):
    """Pairs, with hard negatives when ``negatives`` is above 0.

    Attributes:
        negatives: hard negatives a query, of its own kind.
        retriever: finds them.
    """

    negatives: int = whole(0, default=0)
    retriever: Scorer | None = None
    teacher: None = None

    def load(self, cache_dir: Path) -> list[Examples]:
        """Build the rows, a source for each kind."""
        return [*rows_of(lambda: self.parts(cache_dir), self.negatives, self.retriever)]


@dataclass(frozen=True)
class DocumentationLists(DocumentationText):
    """Lists with a teacher's scores.

    Attributes:
        teacher: scores the candidates.
        retrievers: find the candidates.
        top: candidates from each retriever.
        random: random candidates.
        seed: of the random candidates.
    """

    teacher: Scorer | None = None
    retrievers: Mapping[str, Scorer] = field(default_factory=dict)
    top: int = whole(1, default=12)
    random: int = whole(0, default=8)
    seed: int = whole(0, default=0)

    def load(self, cache_dir: Path) -> list[ScoredLists]:
        """Build the lists, or read them from the cache; a source for each kind."""
        if self.teacher is None:
            raise InputError(
                "data.teacher: scores of documentation need a teacher (bm25, bi_encoder or ensemble)"
            )
        return [
            build_scored_lists(
                split.dataset,
                split.corpus,
                split.queries,
                teacher=self.teacher,
                retrievers=self.retrievers,
                top=self.top,
                random=self.random,
                seed=self.seed,
                cache_dir=cache_dir,
            )
            for split in self.parts(cache_dir)
        ]
