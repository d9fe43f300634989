"""Queries with their relevant documents and a corpus to search, from any training source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from colbert_lab.errors import InputError
from colbert_lab.teachers.sources import Source
from colbert_lab.text.collection import build_corpus, build_split
from colbert_lab.text.examples import Examples
from colbert_lab.text.triples import DOCUMENT, ID, QUERY, Triples
from colbert_lab.types import Split


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
        InputError: these are no pairs, or several sources.
    """
    if len(found) != 1 or not isinstance(found[0], Triples):
        names = ", ".join(source.name for source in found)
        raise InputError(f"data: one source of pairs or a folder with judgments is needed, not {names}")
    pairs = found[0]
    queries: dict[str, str] = {}
    number_of: dict[str, str] = {}
    documents: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for row in pairs.rows():
        named = row.get(ID)
        query = str(named) if named is not None else number_of.setdefault(row[QUERY], f"q{len(number_of)}")
        queries[query] = row[QUERY]
        document = documents.setdefault(row[DOCUMENT], f"d{len(documents)}")
        qrels.setdefault(query, {})[document] = 1
    corpus = build_corpus(list(documents.values()), list(documents))
    return build_split(pairs.name, "train", corpus, queries, qrels, {})
