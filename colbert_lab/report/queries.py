"""Wins and losses query by query: texts, and what both systems rank first, side by side."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from colbert_lab.analysis.compared import Compared
from colbert_lab.analysis.difference_views import difference_sentences, plot_differences
from colbert_lab.analysis.differences import Differences, Side, documents_of, query_differences
from colbert_lab.analysis.figures import to_svg
from colbert_lab.base.errors import InputError
from colbert_lab.base.pages import Picture
from colbert_lab.base.types import Corpus, Split
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.records.run_files import split_details
from colbert_lab.records.runs import STUDENT
from colbert_lab.records.texts import TOP, Texts, read_texts
from colbert_lab.report.headline import Headline

EXCERPT = 400
"""Characters of a document that are shown."""
RANKS = 10
"""Of relevant documents that are told."""


@dataclass(frozen=True)
class Listed:
    """A document of a ranking.

    Attributes:
        rank: from 1.
        id: the document.
        text: as far as the run kept it; "" where it did not.
        relevant: whether it is judged relevant.
    """

    rank: int
    id: str
    text: str
    relevant: bool


@dataclass(frozen=True)
class Query:
    """A query that one system wins.

    Attributes:
        id: the query.
        text: "" where the run kept none.
        values: of the subject and of the reference, each averaged over its seeds.
        difference: the one minus the other.
        lists: what each of them ranks first.
        found_at: for each of them, where its relevant documents are, in words.
        explain: the command that says which tokens matched; "" where the student or the texts are not there.
    """

    id: str
    text: str
    values: tuple[float, float]
    difference: float
    lists: tuple[tuple[Listed, ...], tuple[Listed, ...]]
    found_at: tuple[str, str]
    explain: str


@dataclass(frozen=True)
class Queries:
    """Wins and losses of the subject of a page.

    Attributes:
        names: of the subject and of the reference.
        measure: its title.
        sentences: how many wins, ties and losses there are, and how large they are.
        picture: every query's difference.
        wins: the largest, the largest first.
        losses: likewise.
        has_texts: whether the runs kept texts.
    """

    names: tuple[str, str]
    measure: str
    sentences: tuple[str, ...]
    picture: Picture
    wins: tuple[Query, ...]
    losses: tuple[Query, ...]
    has_texts: bool


def side_of(each: Compared) -> Side:
    """A row of a comparison as one of two sides."""
    row = each.row
    title = row.label.removesuffix(f", {row.phase}") if row.system == STUDENT else row.label
    return Side(title, row.configuration, row.phase, row.system)


def queries_of(found: Headline, most: int) -> Queries | str:
    """The largest wins and losses of the subject against the reference, or why there are none.

    Args:
        found: what :func:`colbert_lab.report.headline.headline` returned.
        most: wins, and as many losses.
    """
    if found.subject is None:
        return "Nothing stands beside the one system that was measured."
    measure = found.place.measure
    details = split_details(found.reference.row.configuration.runs[0].path).get(found.place.split, {})
    split = next(iter(details.get("mean_of", ())), found.place.split)  # a mean has no rankings of its own
    try:
        pairs = query_differences(side_of(found.subject), side_of(found.reference), split, measure)
    except InputError as missing:
        return f"No wins and losses: {missing}."
    texts = _texts(pairs)
    lists = [documents_of(each, pairs) for each in (pairs.one, pairs.other)]
    wins, losses = (
        tuple(_query(pairs, position, lists, texts) for position in pairs.largest(most, wins))
        for wins in (True, False)
    )
    told = tuple(difference_sentences(pairs))
    caption = (
        "Every query's difference, the largest win first; the dashed line is the mean with its 95% interval."
    )
    picture = Picture(
        "by_query", caption, f"{caption} {told[3]}", to_svg(plot_differences(pairs), "by-query"), broad=True
    )
    names = (pairs.one.label, pairs.other.label)
    return Queries(names, measure_title(measure), told, picture, wins, losses, bool(texts.queries))


def judged(texts: Texts, split: str) -> Split:
    """A split of the queries and judgments that a run kept, without a corpus."""
    qrels = {query: dict.fromkeys(documents, 1) for query, documents in texts.relevant.items()}
    return Split(split, split, Corpus((), (), ""), texts.queries, qrels, "")


def _texts(pairs: Differences) -> Texts:
    """What the first runs of both sides kept."""
    both = [
        read_texts(each.run.path, pairs.split, each.configuration.splits.get(pairs.split, ""))
        for each in (pairs.one, pairs.other)
    ]
    documents = {**both[1].documents, **both[0].documents}
    return Texts(both[0].queries or both[1].queries, both[0].relevant or both[1].relevant, documents)


def _query(
    pairs: Differences, position: int, lists: Sequence[Mapping[str, Sequence[str]]], texts: Texts
) -> Query:
    query = pairs.query_ids[position]
    relevant = texts.relevant.get(query, ())
    ranked = [list(found.get(query, ())) for found in lists]
    shown = [
        tuple(
            Listed(rank, document, _excerpt(texts.documents.get(document, "")), document in relevant)
            for rank, document in enumerate(documents[:TOP], 1)
        )
        for documents in ranked
    ]
    return Query(
        query,
        texts.queries.get(query, ""),
        (float(pairs.one_values[position]), float(pairs.other_values[position])),
        float(pairs.values[position]),
        (shown[0], shown[1]),
        (_found_at(ranked[0], relevant), _found_at(ranked[1], relevant)),
        _explain(pairs, query, ranked, texts),
    )


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def _found_at(documents: list[str], relevant: tuple[str, ...]) -> str:
    if not relevant:
        return ""
    ranks = [rank for rank, document in enumerate(documents, 1) if document in relevant]
    missing = len(relevant) - len(ranks)
    if not ranks:
        return f"not among the first {len(documents):,}"
    told = ", ".join(f"{rank:,}" for rank in ranks[:RANKS]) + (", ..." if len(ranks) > RANKS else "")
    beyond = f", {missing:,} not among the first {len(documents):,}" if missing else ""
    return f"at rank{'s' * (len(ranks) > 1)} {told}{beyond}"


def _explain(pairs: Differences, query: str, ranked: list[list[str]], texts: Texts) -> str:
    """The command for the relevant document that is ranked highest."""
    side = pairs.one if pairs.one.system == STUDENT else pairs.other
    folder = side.run.path / side.phase / STUDENT
    relevant = texts.relevant.get(query, ())
    best = next((each for documents in ranked for each in documents if each in relevant), "")
    document = texts.documents.get(best, "")
    if side.system != STUDENT or not folder.is_dir() or not document or not texts.queries.get(query):
        return ""
    words = [
        "task=explain",
        f"student.checkpoint={folder}",
        f"query={texts.queries[query]}",
        f"document={document}",
    ]
    return f"python -m colbert_lab {shlex.join(words)}"
