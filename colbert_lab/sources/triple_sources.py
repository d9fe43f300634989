"""Pairs and triples of a contrastive phase, as the ``data`` config group names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.settings.allowed import NO_DEFAULT, number, whole
from colbert_lab.sources.negatives import rows_of
from colbert_lab.sources.sources import Source, of_pairs
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.text.collections.beir import is_beir, load_beir
from colbert_lab.text.installed_docs import training_split
from colbert_lab.text.lines import beside
from colbert_lab.text.rows.examples import Examples
from colbert_lab.text.rows.hub_triples import load_triples
from colbert_lab.text.rows.id_triples import read_id_triples
from colbert_lab.text.rows.parted_triples import PartedTriples, load_parted

ROUNDING = 1e-3  # what shares that are written with few digits may miss 1 by


@dataclass(frozen=True)
class InstalledDocsTriples:
    """Summaries and their docstrings, with hard negatives when ``negatives`` is above 0.

    Attributes:
        documents: cut the training corpus to this many documents; None takes all.
        queries: how many training queries; None takes all.
        negatives: hard negatives a query.
        retriever: finds them.
    """

    documents: int | None = whole(1, default=NO_DEFAULT)
    queries: int | None = whole(1, default=NO_DEFAULT)
    negatives: int = whole(0, default=0)
    retriever: Scorer | None = None
    teacher: None = None
    weights: None = None

    def judged(self, cache_dir: Path) -> Split:
        """Training queries, their docstrings, and the corpus."""
        return training_split(cache_dir, self.documents, self.queries)

    def load(self, cache_dir: Path) -> list[Examples]:
        """Build the rows."""
        return [*rows_of(lambda: [self.judged(cache_dir)], self.negatives, self.retriever)]


@dataclass(frozen=True)
class TripleFiles:
    """Pairs {query, document} or triples {query, document, negatives}.

    Attributes:
        path: a BEIR-layout folder (every relevant document of ``split`` is a positive; ``retriever`` finds the
            negatives), a folder or hub id of a dataset, or a file (``.parquet``, ``.jsonl``, or ``.tsv`` with texts).
        triples: file of ids over the collection ``path``, below it or as it is given; see
            :func:`colbert_lab.text.rows.id_triples.read_id_triples`.
        negatives: None for pairs; otherwise most negatives a query. A dataset has them in a column and gives
            ``min(negatives, fewest of its rows)``.
        retriever: for a BEIR-layout folder with ``negatives``.
        split: split of the judgments, or of the dataset (None takes all splits, each as a source).
        columns: our column name to the dataset's.
        source_weights: relative frequency of the sources, in order of the dataset's splits.
        revision: see :func:`colbert_lab.text.rows.hub_triples.load_triples`, like the settings that follow.
        rows: see there.
        streaming: read a stream and keep ``rows`` of each split, instead of downloading everything.
        skip_empty: see there.
    """

    path: str
    negatives: int | None = whole(1, default=None)
    retriever: Scorer | None = None
    split: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    source_weights: Sequence[float] | None = number(above=0, high=1, default=None)
    revision: str | None = None
    rows: int | None = whole(1, default=None)
    streaming: bool = False
    skip_empty: bool = False
    triples: str | None = None
    teacher: None = None

    @property
    def weights(self) -> Sequence[float] | None:
        """As configured."""
        return self.source_weights

    def load(self, cache_dir: Path) -> list[Examples]:
        """Read the rows, or find their negatives."""
        found: Sequence[Examples]
        if self.triples is not None:
            found = [self._of_ids(self.triples, cache_dir)]
        elif self.is_beir:
            found = rows_of(lambda: [self.judged(cache_dir)], self.negatives, self.retriever)
        else:
            found = load_triples(
                self.path,
                negatives=self.negatives,
                columns=self.columns,
                split=self.split,
                revision=self.revision,
                rows=self.rows,
                stream_to=cache_dir / "streams" if self.streaming else None,
                skip_empty=self.skip_empty,
            )
        _check_weights(self.source_weights, found)
        return list(found)

    def _of_ids(self, file: str, cache_dir: Path) -> Examples:
        self._refuse(("split", "columns", "revision", "rows", "streaming", "skip_empty"), "triples of ids")
        return read_id_triples(Path(self.path), beside(self.path, file), self.negatives, cache_dir)

    def _refuse(self, keys: Sequence[str], what: str) -> None:
        """Stop where a setting has no effect."""
        for key in keys:
            if getattr(self, key):
                raise InputError(f"data.{key}: has no effect on {what}; leave it out")

    def judged(self, cache_dir: Path) -> Split:
        """The folder's judgments, or those that pairs make."""
        if self.triples is not None or not self.is_beir:
            return of_pairs(self.load(cache_dir))
        self._refuse(("columns", "revision", "rows", "streaming", "skip_empty"), "a BEIR-layout folder")
        try:
            return load_beir(self.path, self.split or "train")
        except InputError as error:
            raise InputError(f"data.path: {error}") from error

    @property
    def is_beir(self) -> bool:
        """Whether ``path`` is a BEIR-layout folder."""
        return is_beir(self.path)


@dataclass(frozen=True)
class PartedTripleFiles:
    """Triples whose texts come in parts (``data=parted_triples``).

    Attributes:
        path: see :class:`colbert_lab.text.rows.parted_triples.PartedTriples`, like the settings that follow.
        config: see there.
        files: see there.
        columns: see there.
        query_format: see there.
        documents: see there.
        positives: see there.
        negatives: see there.
        shortest: see there.
    """

    path: str
    config: str | None = None
    files: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    query_format: str = "{prompt}\nQuery: {query}"
    documents: str | None = None
    positives: int = whole(1, default=1)
    negatives: int = whole(1, default=1)
    shortest: int = whole(1, default=1)
    teacher: None = None
    weights: None = None

    def load(self, cache_dir: Path) -> list[Examples]:
        """Read and flatten the rows."""
        settings = {key.name: getattr(self, key.name) for key in fields(PartedTriples)}
        return [load_parted(PartedTriples(**settings))]


@dataclass(frozen=True)
class Mixture:
    """Several data settings as the sources of one phase.

    Attributes:
        sources: name to data settings.
        source_weights: name to relative frequency; None for proportional to size.
    """

    sources: Mapping[str, Source]
    source_weights: Mapping[str, float] | None = number(above=0, high=1, default=None)
    teacher: None = None

    @property
    def weights(self) -> Sequence[float] | None:
        """In the order of the sources."""
        if self.source_weights is None:
            return None
        missing = sorted(set(self.sources) ^ set(self.source_weights))
        if missing:
            raise InputError(f"data.source_weights: {missing[0]} is not both a source and a weight")
        return [self.source_weights[name] for name in self.sources]

    def load(self, cache_dir: Path) -> list[Examples]:
        """Load every source; each must be a single one when there are weights."""
        if self.weights is not None:
            _check_sum(self.weights)
        idle = [name for name, source in self.sources.items() if source.weights is not None]
        if idle:
            raise InputError(
                f"data.sources.{idle[0]}.source_weights: has no effect in a mixture; set data.source_weights"
            )
        loaded = {name: source.load(cache_dir) for name, source in self.sources.items()}
        several = [name for name, found in loaded.items() if len(found) > 1]
        if several and self.source_weights is not None:
            raise InputError(
                f"data.source_weights: {several[0]} has several sources of its own; list them one by one"
            )
        return [source for found in loaded.values() for source in found]


def _check_weights(weights: Sequence[float] | None, found: Sequence[Examples]) -> None:
    if weights is None:
        return
    if len(weights) != len(found):
        names = ", ".join(source.name for source in found)
        raise InputError(f"data.source_weights: {len(weights)} weights for {len(found)} sources ({names})")
    _check_sum(weights)


def _check_sum(weights: Sequence[float]) -> None:
    if abs(sum(weights) - 1) > ROUNDING:
        raise InputError(
            f"data.source_weights: they add up to {sum(weights):g}; shares that add up to 1 are needed"
        )
