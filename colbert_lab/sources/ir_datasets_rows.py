"""Pairs and triples from data sets of the package ``ir_datasets``, as the ``data`` config group names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import datasets

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.types import Split
from colbert_lab.settings.allowed import whole
from colbert_lab.sources.negatives import rows_of
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.text.collections.ir_datasets_splits import (
    corpus_of,
    documents_id,
    load_ir_datasets,
    pairs_of_documents,
    queries_of,
)
from colbert_lab.text.rows.checking import DOCUMENT, ID, NEGATIVE, QUERY
from colbert_lab.text.rows.examples import Examples
from colbert_lab.text.rows.triples import make_triples


@dataclass(frozen=True)
class IrDatasetRows:
    """Rows of a data set of ``ir_datasets`` (``data=ir_datasets``).

    Attributes:
        path: its id, such as ``beir/scifact/train``.
        use: ``qrels``: every relevant document of a query is a pair; ``docpairs``: the data set's own pairs of a more
            and a less relevant document are triples with one negative.
        negatives: None for pairs; otherwise hard negatives a query, which ``retriever`` finds among the documents.
        retriever: finds the negatives.
        rows: most ``docpairs``, the first ones; None takes all.
    """

    path: str
    use: Literal["qrels", "docpairs"] = "qrels"
    negatives: int | None = whole(1, default=None)
    retriever: Scorer | None = None
    rows: int | None = whole(1, default=None)
    teacher: None = None
    weights: None = None

    def judged(self, cache_dir: Path) -> Split:
        """Queries, their judgments, and the corpus.

        Raises:
            InputError: see :func:`colbert_lab.text.collections.ir_datasets_splits.load_ir_datasets`.
        """
        try:
            return load_ir_datasets([self.path])[self.path]
        except InputError as error:
            raise InputError(f"data.path: {error}") from error

    def load(self, cache_dir: Path) -> list[Examples]:
        """Read the rows, or find their negatives.

        Raises:
            InputError: a setting has no effect, or the data set lacks what is used.
        """
        if self.use == "docpairs":
            if self.negatives is not None:
                raise InputError(
                    "data.negatives: has no effect on docpairs, which have one each; leave it out"
                )
            return [self._docpairs()]
        if self.rows is not None:
            raise InputError("data.rows: has no effect on qrels; leave it out, or set data.use=docpairs")
        return [*rows_of(lambda: [self.judged(cache_dir)], self.negatives, self.retriever)]

    def _docpairs(self) -> Examples:
        try:
            found = list(pairs_of_documents(self.path, self.rows))
            corpus, queries = corpus_of(documents_id(self.path)), queries_of(self.path)
            text_of = dict(zip(corpus.ids, corpus.texts, strict=True))
            absent = {row[0] for row in found} - queries.keys()
            absent |= {document for row in found for document in row[1:]} - text_of.keys()
            if absent:
                raise InputError(
                    f"{self.path}: its docpairs name what it does not hold: {some_ids(sorted(absent))}"
                )
        except InputError as error:
            raise InputError(f"data.path: {error}") from error
        columns = {
            ID: [query for query, _, _ in found],
            QUERY: [queries[query] for query, _, _ in found],
            DOCUMENT: [text_of[positive] for _, positive, _ in found],
            NEGATIVE: [[text_of[negative]] for _, _, negative in found],
        }
        return make_triples(f"{self.path} docpairs", datasets.Dataset.from_dict(columns), 1)
