"""What a teacher is to score: queries, each with the documents of its list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.types import Corpus
from colbert_lab.sources.documentation_text import DocumentationLists, DocumentationTriples
from colbert_lab.sources.ir_datasets_rows import IrDatasetRows
from colbert_lab.sources.list_candidates import Candidates
from colbert_lab.sources.negatives import never_candidates
from colbert_lab.sources.sources import InstalledDocsLists, ScoredListFiles, Source, judged_split
from colbert_lab.sources.triple_sources import InstalledDocsTriples, TripleFiles
from colbert_lab.teachers.scorer import Scorer, queries_at_once
from colbert_lab.text.collections.beir import load_beir_corpus, load_beir_queries
from colbert_lab.text.collections.collection import build_corpus
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays
from colbert_lab.text.rows.checking import DOCUMENT, NEGATIVE, QUERY
from colbert_lab.text.rows.examples import ScoredLists
from colbert_lab.text.rows.id_triples import IdTriples
from colbert_lab.text.rows.triples import Triples


@dataclass(frozen=True, eq=False)
class ToScore:
    """Queries and the documents to score for each: given lists, or candidates that are chosen when they are needed.

    Attributes:
        name: of the collection.
        query_ids: one id a list.
        queries: their texts.
        corpus: the documents.
        fingerprint: hash of the queries, the documents and, where they are given, the lists.
        lists: rows of the corpus for each query; None with ``candidates``.
        candidates: how to choose them.
        always: query id to rows that its list must hold, with ``candidates``.
        never: query id to rows that its list must not hold, with ``candidates``.
    """

    name: str
    query_ids: Sequence[str]
    queries: Sequence[str]
    corpus: Corpus
    fingerprint: str
    lists: Sequence[np.ndarray] | None = None
    candidates: Candidates | None = None
    always: Mapping[str, Sequence[int]] | None = None
    never: Mapping[str, Sequence[int]] | None = None

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.query_ids)

    def rows(self, part: range) -> list[np.ndarray]:
        """The documents of some queries, int64 rows of the corpus; a part's lists do not depend on other parts."""
        if self.lists is not None:
            return [np.asarray(self.lists[n], dtype=np.int64) for n in part]
        assert self.candidates is not None
        found: list[np.ndarray] = []
        step = queries_at_once(len(self.candidates.corpus))
        for start in range(part.start, part.stop, step):
            block = range(start, min(start + step, part.stop))
            asked = {self.query_ids[n]: self.queries[n] for n in block}
            found += self.candidates.choose(asked, self.always, self.never)
        return found


def has_lists(source: Source) -> bool:
    """Whether a source says itself which documents belong to a query.

    The embedded documentation's lists are made on the spot, with scores of another teacher, so they do not count.
    """
    if isinstance(source, TripleFiles | InstalledDocsTriples | DocumentationTriples):
        return bool(source.negatives)
    if isinstance(source, IrDatasetRows):
        return source.use == "docpairs" or bool(source.negatives)
    return not isinstance(source, InstalledDocsLists | DocumentationLists)


def lists_of(source: Source, cache_dir: Path) -> ToScore:
    """The lists of a source: its score lists, or each query's positives and negatives.

    Args:
        source: one source of score lists or of triples.
        cache_dir: the config's.

    Raises:
        InputError: it is several sources, or has neither lists nor negatives; or the source cannot be read.
    """
    loaded = source.load(cache_dir)
    names = ", ".join(found.name for found in loaded)
    if len(loaded) != 1:
        raise InputError(f"data: score one source at a time, not {names}")
    (found,) = loaded
    if isinstance(found, ScoredLists):
        made = ToScore(
            found.name, found.query_ids, found.queries, found.corpus, found.fingerprint, found.documents
        )
    elif isinstance(found, Triples) and found.negatives:
        made = _of_triples(found, getattr(source, "negatives", None) or found.negatives)
    elif isinstance(found, IdTriples) and found.negatives:
        made = _of_ids(found, getattr(source, "negatives", None) or found.negatives)
    elif isinstance(found, IdTriples):
        raise InputError(
            f"score.candidates=source: {names} has pairs of ids and no negatives; set data.negatives where its rows "
            "have some, or score a folder with judgments (data=beir)"
        )
    else:
        raise InputError(
            f"score.candidates=source: {names} has neither lists nor negatives; use score.candidates=retrieve"
        )
    return made


def retrieved(
    source: Source,
    cache_dir: Path,
    *,
    retrievers: Mapping[str, Scorer],
    top: int,
    random: int,
    positives: bool,
    seed: int,
) -> ToScore:
    """Candidates that retrievers find for the queries of a source with judgments.

    Args:
        source: see :func:`colbert_lab.sources.sources.judged_split`.
        cache_dir: the config's.
        retrievers: name to scorer.
        top: documents from each.
        random: documents at random.
        positives: have the relevant documents in every list.
        seed: of the random documents.

    Raises:
        InputError: the source has no judgments, a number does not fit, or a text is empty.
    """
    split = judged_split(source, cache_dir)
    candidates = Candidates(split.corpus, retrievers, top, random, seed, "score")
    candidates.check()
    always = None
    row_of = {document: row for row, document in enumerate(split.corpus.ids)}
    if positives:
        always = {
            query: [row_of[document] for document, grade in judged.items() if grade > 0]
            for query, judged in split.qrels.items()
        }
    made = ToScore(
        f"{split.dataset}/{split.name}",
        list(split.queries),
        list(split.queries.values()),
        split.corpus,
        split.fingerprint,
        candidates=candidates,
        always=always,
        never={query: [row_of[d] for d in names] for query, names in never_candidates(split).items()},
    )
    check_texts(made, range(len(split.corpus)))
    return made


def texts_of(source: Source, cache_dir: Path) -> tuple[str, Corpus, dict[str, str]]:
    """Name, documents and all queries of a source, judged or not.

    Raises:
        InputError: the source cannot be read, or has a setting without effect here.
    """
    if isinstance(source, TripleFiles) and source.is_beir:
        if source.split is not None:
            raise InputError("data.split: has no effect with score.files, which say themselves which queries")
        try:
            corpus, queries = load_beir_corpus(source.path), load_beir_queries(source.path)
        except InputError as error:
            raise InputError(f"data.path: {error}") from error
        return Path(source.path).resolve().name, corpus, queries
    if isinstance(source, ScoredListFiles):
        lists = source.load(cache_dir)[0]
        return lists.name, lists.corpus, dict(zip(lists.query_ids, lists.queries, strict=True))
    split = judged_split(source, cache_dir)
    return split.dataset, split.corpus, dict(split.queries)


def check_texts(made: ToScore, rows: Sequence[int]) -> None:
    """Check that no text is empty.

    Args:
        made: what is to be scored.
        rows: the documents that may be scored.

    Raises:
        InputError: naming the queries or documents without text.
    """
    queries = [query for query, text in zip(made.query_ids, made.queries, strict=True) if not text.strip()]
    documents = [made.corpus.ids[row] for row in rows if not made.corpus.texts[row].strip()]
    for what, empty in (("queries", queries), ("documents", documents)):
        if empty:
            raise InputError(
                f"data: {what} of {made.name} without text: {some_ids(empty)}; a teacher would score them all the "
                "same, so add their texts or remove them"
            )


def _of_triples(triples: Triples, negatives: int) -> ToScore:
    """Rows of one query are one list, its positives first; equal documents are one document."""
    queries: dict[str, str] = {}
    row_of: dict[str, int] = {}
    positives: dict[str, dict[int, None]] = {}
    others: dict[str, dict[int, None]] = {}
    for query, row in triples.rows_of_queries():
        queries[query] = row[QUERY]
        positives.setdefault(query, {})[row_of.setdefault(row[DOCUMENT], len(row_of))] = None
        for text in row[NEGATIVE][:negatives]:
            others.setdefault(query, {})[row_of.setdefault(text, len(row_of))] = None
    lists = _joined(triples.name, positives, others)
    corpus = build_corpus([f"d{n}" for n in range(len(row_of))], list(row_of))
    mark = fingerprint([triples.fingerprint, fingerprint_arrays(lists)])
    return ToScore(triples.name, list(queries), list(queries.values()), corpus, mark, lists)


def _of_ids(triples: IdTriples, negatives: int) -> ToScore:
    """As :func:`_of_triples`, of rows that name documents of a collection."""
    queries: dict[str, str] = {}
    positives: dict[str, dict[int, None]] = {}
    others: dict[str, dict[int, None]] = {}
    for query, text, rows in zip(triples.query_ids, triples.queries, triples.documents, strict=True):
        queries[query] = text
        positive, *rest = rows[: 1 + negatives].tolist()
        positives.setdefault(query, {})[positive] = None
        others.setdefault(query, {}).update(dict.fromkeys(rest))
    lists = _joined(triples.name, positives, others)
    mark = fingerprint([triples.fingerprint, fingerprint_arrays(lists)])
    return ToScore(triples.name, list(queries), list(queries.values()), triples.corpus, mark, lists)


def _joined(
    name: str, positives: Mapping[str, dict[int, None]], others: Mapping[str, dict[int, None]]
) -> list[np.ndarray]:
    """Each query's documents, its positives first."""
    lists = {
        query: np.array(list(found | others.get(query, {})), dtype=np.int64)
        for query, found in positives.items()
    }
    short = [query for query, rows in lists.items() if len(rows) < 2]
    if short:
        raise InputError(
            f"data: {name}: queries whose negatives are copies of their positive: {some_ids(short)}; "
            "remove them: distillation compares documents"
        )
    return list(lists.values())
