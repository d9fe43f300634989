"""Texts that are there again: repeated in a training source, and of evaluation splits in training text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from colbert_lab.audit.ngrams import Match, TextIndex
from colbert_lab.audit.training_text import Hashes, TrainingText, draw
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import Corpus, Split

GROUPS, MEMBERS = 50, 5  # groups of duplicates that are named, and ids of each
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Duplicates:
    """Counts of repeated texts, compared in their normal form.

    Attributes:
        source: its name.
        rows: how many it has.
        queries: different query ids.
        repeated_queries: how many of them have the text of an earlier one.
        documents: documents, see ``TrainingText.documents``.
        repeated_documents: how many of them have the text of an earlier one.
        repeated_pairs: rows whose query and positive are those of an earlier row.
        repeated_in_row: documents that have the text of an earlier one of their own row.
        own_negatives: rows in which a positive of the query is a negative.
        examples: by the names above, ids of the first groups of equal texts.
    """

    source: str
    rows: int
    queries: int
    repeated_queries: int
    documents: int
    repeated_documents: int
    repeated_pairs: int
    repeated_in_row: int
    own_negatives: int
    examples: dict[str, list[list[str]]]


def find_duplicates(text: TrainingText) -> Duplicates:
    """Count duplicates in one pass over a source; 8 bytes are kept of each text.

    Args:
        text: the source.
    """
    hashes = text.hashes()
    _, first = np.unique(hashes.query_ids, return_index=True)
    first.sort()
    of_member = np.repeat(np.arange(len(hashes.ends)), np.diff(hashes.ends, prepend=0))
    starts = np.concatenate([[0], hashes.ends[:-1]])
    texts = hashes.documents[hashes.members]
    pairs = _paired(hashes.queries[of_member], texts)
    positive = np.zeros(len(pairs), dtype=bool)
    positive[starts] = True
    inside = _paired(of_member.astype(np.uint64), texts)
    own = ~positive & np.isin(pairs, pairs[starts])
    groups = {
        "queries": _groups(hashes.queries[first], lambda n: hashes.query_id(int(first[n]))),
        "documents": _groups(hashes.documents, hashes.document_id),
        "pairs": _groups(pairs[starts], lambda n: _pair_id(hashes, int(starts[n]), n)),
        "in_row": _groups(inside, lambda n: _pair_id(hashes, n, int(of_member[n]))),
        "own_negatives": [
            [_pair_id(hashes, int(n), int(of_member[n]))] for n in np.flatnonzero(own)[:GROUPS]
        ],
    }
    queries = len(first), _repeated(hashes.queries[first])
    documents = len(hashes.documents), _repeated(hashes.documents)
    rows = _repeated(pairs[starts]), _repeated(inside), len(np.unique(of_member[own]))
    return Duplicates(text.name, len(text), *queries, *documents, *rows, groups)


def _paired(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A hash of two hashes, in which their order counts."""
    paired: np.ndarray = (one ^ (one >> np.uint64(29))) * _ODD + other
    return paired


def _repeated(values: np.ndarray) -> int:
    return len(values) - len(np.unique(values))


def _groups(values: np.ndarray, name: Callable[[int], str]) -> list[list[str]]:
    """Ids of the first groups of equal values, in order of their first members."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    sizes = np.diff(edges)
    starts = edges[:-1][sizes > 1]
    sizes = sizes[sizes > 1]
    chosen = np.argsort(order[starts], kind="stable")[:GROUPS]
    return [
        [name(int(n)) for n in order[starts[c] : starts[c] + min(int(sizes[c]), MEMBERS)]] for c in chosen
    ]


def _pair_id(hashes: Hashes, member: int, row: int) -> str:
    return f"query {hashes.query_id(row)}, document {hashes.document_id(int(hashes.members[member]))}"


SHARED = 0.9  # of the training documents: from here on both sides are taken to read one corpus


@dataclass(frozen=True)
class Found:
    """Texts of one kind of a split.

    Attributes:
        looked_at: how many were looked for.
        matches: by id, those that were found.
    """

    looked_at: int
    matches: dict[str, Match]

    @property
    def exact(self) -> int:
        """How many equal a training text."""
        return sum(match.exact for match in self.matches.values())

    @property
    def near(self) -> int:
        """How many have their runs of words in training text, without being equal to one."""
        return len(self.matches) - self.exact


@dataclass(frozen=True)
class Contamination:
    """What of a split was found in the training text.

    Attributes:
        split: its key in the config.
        dataset: name of the collection.
        documents_in_corpus: how many there are; fewer may have been looked for.
        shared_corpus: whether training and evaluation read one corpus.
        training_documents_in_corpus: share of the training documents that equal a document looked for.
        queries: of the split.
        documents: of its corpus.
        relevant: the relevant ones among the documents.
    """

    split: str
    dataset: str
    documents_in_corpus: int
    shared_corpus: bool
    training_documents_in_corpus: float
    queries: Found
    documents: Found
    relevant: Found


def find_contamination(
    splits: Mapping[str, Split],
    sources: Sequence[TrainingText],
    *,
    corpora: Sequence[str] = (),
    ngram: int,
    near: float,
    documents: int | None,
    seed: int,
) -> list[Contamination]:
    """Look for the texts of all splits in one pass over the training text.

    Args:
        splits: what is evaluated, by key.
        sources: what is trained on.
        corpora: fingerprints of the corpora that the sources point into.
        ngram: words of a run, see :class:`colbert_lab.audit.ngrams.TextIndex`.
        near: share of a text's runs from which it counts as found.
        documents: most documents of a corpus to look for: relevant ones first, then drawn at random; None for all.
        seed: of the draw.
    """
    chosen = {mark: _chosen(corpus, splits, documents, seed) for mark, corpus in _corpora(splits).items()}
    items: list[tuple[str, str]] = [(key, query) for key, split in splits.items() for query in split.queries]
    n_queries = len(items)
    places = {}
    for mark, rows in chosen.items():
        places[mark] = range(len(items), len(items) + len(rows))
        items += [(mark, _corpora(splits)[mark].ids[row]) for row in rows.tolist()]
    texts = chain(
        (text for split in splits.values() for text in split.queries.values()),
        (_corpora(splits)[mark].texts[row] for mark, rows in chosen.items() for row in rows.tolist()),
    )
    index = TextIndex(texts, ngram)
    equal, trained = _scan(index, sources)
    found = index.matches(near)
    of_item: dict[str, dict[str, Match]] = {}
    for number, match in found.items():
        owner, name = items[number]
        of_item.setdefault(f"{'query' if number < n_queries else 'document'} {owner}", {})[name] = match
    reports = []
    for key, split in splits.items():
        mark = split.corpus.fingerprint
        place = places[mark]
        here = (equal[:, 1] >= place.start) & (equal[:, 1] < place.stop)
        inside = len(np.unique(equal[here, 0])) / max(trained, 1)
        matched = of_item.get(f"document {mark}", {})
        relevant = _relevant(split)
        reports.append(
            Contamination(
                key,
                split.dataset,
                len(split.corpus),
                mark in corpora or inside >= SHARED,
                inside,
                Found(len(split.queries), of_item.get(f"query {key}", {})),
                Found(len(chosen[mark]), matched),
                Found(len(relevant), {name: match for name, match in matched.items() if name in relevant}),
            )
        )
    return reports


def _scan(index: TextIndex, sources: Sequence[TrainingText]) -> tuple[np.ndarray, int]:
    """Pairs of a training document's position and the number of a text it equals; and how many documents there are."""
    equal = [np.zeros((0, 2), dtype=np.int64)]
    trained = 0
    for source in sources:
        name, total = source.name, source.n_documents()
        bar = partial(progress_bar, unit="text")
        index.scan(name, "query", bar(source.queries(), total=len(source), desc=f"queries of {name}"))
        documents = bar(source.documents(), total=total, desc=f"documents of {name}")
        pairs = index.scan(name, "document", documents)
        pairs[:, 0] += trained
        equal.append(pairs)
        trained += total
    return np.concatenate(equal), trained


def _corpora(splits: Mapping[str, Split]) -> dict[str, Corpus]:
    """Each corpus once, by its fingerprint."""
    return {split.corpus.fingerprint: split.corpus for split in splits.values()}


def _relevant(split: Split) -> set[str]:
    return {document for judged in split.qrels.values() for document, grade in judged.items() if grade > 0}


def _chosen(corpus: Corpus, splits: Mapping[str, Split], most: int | None, seed: int) -> np.ndarray:
    """Rows of the corpus to look for, ascending: all, or every relevant one and a draw of the others."""
    if most is None or most >= len(corpus):
        return np.arange(len(corpus))
    wanted: set[str] = set()
    for split in splits.values():
        if split.corpus.fingerprint == corpus.fingerprint:
            wanted |= _relevant(split)
    relevant = np.fromiter((name in wanted for name in corpus.ids), dtype=bool, count=len(corpus))
    others = np.flatnonzero(~relevant)
    drawn = draw(len(others), max(most - int(relevant.sum()), 0), seed, 5)
    return np.sort(np.concatenate([np.flatnonzero(relevant), others if drawn is None else others[drawn]]))
