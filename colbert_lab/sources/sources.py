"""Training data of a phase, as the ``data`` config group names it: lists with scores, and what is judged."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from colbert_lab.base.errors import InputError
from colbert_lab.base.locks import one_maker
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import Corpus, Split
from colbert_lab.settings.allowed import NO_DEFAULT, whole
from colbert_lab.sources.list_candidates import Candidates
from colbert_lab.teachers.revision import identified
from colbert_lab.teachers.scorer import Scorer, finite_scores, indexed, queries_at_once, told_of
from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.installed_docs import training_split
from colbert_lab.text.list_store import write_scored_lists
from colbert_lab.text.rows.checking import DOCUMENT, QUERY
from colbert_lab.text.rows.examples import Examples, ScoredLists
from colbert_lab.text.rows.triples import Triples
from colbert_lab.text.scored_lists import read_scored_lists


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
    documents: int | None = whole(1, default=NO_DEFAULT)
    queries: int | None = whole(1, default=NO_DEFAULT)
    top: int = whole(1, default=NO_DEFAULT)
    random: int = whole(0, default=NO_DEFAULT)
    seed: int = whole(0, default=NO_DEFAULT)
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
        scores: file of lists, below ``path`` or as it is given.
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
            InputError: see :func:`colbert_lab.text.scored_lists.read_scored_lists`.
        """
        lists = read_scored_lists(
            self.path, self.scores, cache_dir=cache_dir, columns=self.columns, skip_empty=self.skip_empty
        )
        changed = [value for value in (self.draw, self.positive) if value not in ("sample", "best")]
        mark = fingerprint([lists.fingerprint, *changed]) if changed else lists.fingerprint
        return [replace(lists, draw=self.draw, positive=self.positive, fingerprint=mark)]


log = logging.getLogger(__name__)
BUILD_VERSION = "2"  # raise when the same settings would give other lists


def build_scored_lists(
    name: str,
    corpus: Corpus,
    queries: Mapping[str, str],
    *,
    teacher: Scorer,
    retrievers: Mapping[str, Scorer],
    top: int,
    random: int,
    seed: int,
    cache_dir: Path,
) -> ScoredLists:
    """Choose candidates for every query and score them with a teacher; cached on disk.

    The candidates are the ``top`` best documents of every retriever and ``random`` others, without
    repetition; they do not depend on the teacher, so runs that differ in the teacher read the same lists.

    Args:
        name: name of the collection, for tables and logs.
        corpus: the documents.
        queries: query id to text.
        teacher: scores the candidates (raw scores are stored).
        retrievers: name to scorer.
        top: documents taken from each retriever.
        random: documents drawn at random.
        seed: of the random documents.
        cache_dir: folder for finished lists.

    Raises:
        InputError: a number is below 0, a query could get fewer than 2 candidates (retrievers may agree), or
            more are asked for than the corpus holds.
    """
    candidates = Candidates(corpus, retrievers, top, random, seed)
    candidates.check()
    settings = {
        "teacher": identified(teacher),
        "retrievers": {key: identified(scorer) for key, scorer in sorted(retrievers.items())},
        "top": top,
        "random": random,
        "seed": seed,
    }
    key = fingerprint([BUILD_VERSION, corpus.fingerprint, repr(settings)], queries.keys(), queries.values())
    folder = cache_dir / "lists" / f"{name}-{key}"
    with one_maker(folder):
        if not folder.is_dir():
            documents, scores = _score(candidates, queries, teacher)
            built = ScoredLists(
                name, list(queries), list(queries.values()), corpus, documents, scores, key, settings
            )
            write_scored_lists(built, folder)
            log.info("scored %d lists of %s with %s: %s", len(queries), name, teacher.name, folder)
    lists = read_scored_lists(str(folder), cache_dir=cache_dir)
    return ScoredLists(
        name, lists.query_ids, lists.queries, lists.corpus, lists.documents, lists.scores, key, settings
    )


def describe(scorer: object) -> str:
    """A stable text of a scorer's settings (what decides its scores)."""
    members = getattr(scorer, "members", None)
    if members is not None:
        return "mean z-score of " + ", ".join(f"{key}={describe(member)}" for key, member in members.items())
    return repr(scorer)


def _score(
    candidates: Candidates, queries: Mapping[str, str], teacher: Scorer
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    with told_of("data.teacher"):
        judge = indexed(teacher, candidates.corpus)
    ids = list(queries)
    documents: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    bar = progress_bar(total=len(ids), desc="teacher scores", unit="query")
    step = queries_at_once(len(candidates.corpus))
    for start in range(0, len(ids), step):
        block = {query: queries[query] for query in ids[start : start + step]}
        lists = candidates.choose(block)
        judged_BC = finite_scores(judge, list(block.values()), "data.teacher").numpy()
        documents += lists
        scores += [judged_BC[b, rows].astype(np.float32) for b, rows in enumerate(lists)]
        bar.update(len(block))
    bar.close()
    candidates.tell(candidates.few, len(queries))
    return documents, scores


@runtime_checkable
class Judged(Protocol):
    """A source that has a corpus of its own."""

    def judged(self, cache_dir: Path) -> Split:
        """Training queries, their relevant documents, and the corpus."""
        ...


def judged_split(source: Source, cache_dir: Path) -> Split:
    """What a retriever can search for negatives.

    Args:
        source: a folder with judgments, or pairs, whose documents are then the corpus.
        cache_dir: the config's.

    Raises:
        InputError: the source holds neither, or several sources.
    """
    if isinstance(source, Judged):
        return source.judged(cache_dir)
    return of_pairs(source.load(cache_dir))


def of_pairs(found: Sequence[Examples]) -> Split:
    """A split of pairs: the corpus is every different document, and a row's document is relevant to its query.

    Rows of one query are one query; equal documents are one document.

    Raises:
        InputError: these are no pairs, several sources, or two queries have one id.
    """
    if len(found) != 1 or not isinstance(found[0], Triples):
        names = ", ".join(source.name for source in found)
        raise InputError(f"data: one source of pairs or a folder with judgments is needed, not {names}")
    pairs = found[0]
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for query, row in pairs.rows_of_queries():
        queries[query] = row[QUERY]
        document = documents.setdefault(row[DOCUMENT], f"d{len(documents)}")
        qrels.setdefault(query, {})[document] = 1
    corpus = build_corpus(list(documents.values()), list(documents))
    return build_split(pairs.name, "train", corpus, queries, qrels, {})
