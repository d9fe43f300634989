"""Splits from data sets in the layouts of the Hugging Face hub, from the hub or from a local copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from colbert_lab.errors import InputError
from colbert_lab.text.beir import HELD_OUT, is_held_out
from colbert_lab.text.collection import build_corpus
from colbert_lab.text.hub_tables import Table, read_columns, split_names
from colbert_lab.text.judged import Places, check_unique, judged_split
from colbert_lab.text.list_rows import as_id
from colbert_lab.text.qrels import Qrels
from colbert_lab.types import Corpus, Split

TRAIN = "train"
JUDGMENTS = (
    "exactly one place for judgments is expected: a qrels table, the queries' column relevant, or the corpus' columns "
    "query and grade"
)


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps corpus, queries and judgments.

    Judgments are a table, or a column of the queries (BRIGHT), or columns of the corpus (AZ-MIRAGE).

    Attributes:
        corpus: columns ``id`` (None numbers the rows from 0), ``text``, ``title``; ``query`` and ``grade`` where a
            document names the query that it is judged for.
        queries: columns ``id``, ``text``; ``relevant`` and ``excluded`` hold lists of document ids.
        qrels: columns ``query``, ``document``, ``grade`` (without it, every row is relevant).
        rows: columns of candidate lists, see :func:`colbert_lab.text.candidates.load_candidates`.
        skip_empty: leave out documents without text, as sentence-transformers' NanoBEIREvaluator does.
    """

    corpus: Table | None = None
    queries: Table | None = None
    qrels: Table | None = None
    rows: Table | None = None
    skip_empty: bool = False

    def filled(self, **values: str) -> Layout:
        """The layout with placeholders of its tables replaced."""
        names = ("corpus", "queries", "qrels", "rows")
        tables = {
            name: table.filled(**values) for name in names if (table := getattr(self, name)) is not None
        }
        return replace(self, **tables)


def hub_split_names(layout: Layout) -> list[str]:
    """Name the splits of a data set's judgments; none when the layout fixes one.

    Raises:
        InputError: the data set cannot be reached.
    """
    table = layout.qrels
    return split_names(table, "qrels") if table is not None and table.split == "{split}" else []


def load_hub_splits(
    dataset: str, layout: Layout, splits: Sequence[str], *, tolerate_unknown_documents: bool = False
) -> dict[str, Split]:
    """Load several splits of a data set over one corpus object, reading its tables once.

    Args:
        dataset: what the splits call their data set.
        layout: where its tables are; ``{split}`` stands for the name of a split.
        splits: their names; ``heldout`` is made from ``train``, see :func:`colbert_lab.text.beir.is_held_out`.
        tolerate_unknown_documents: see :func:`colbert_lab.text.judged.judged_split`.

    Returns:
        Split name to split.

    Raises:
        InputError: a table cannot be read, the layout says nothing or too much of the judgments, ids repeat or do not
            belong together, or the corpus is empty.
    """
    if layout.corpus is None or layout.queries is None:
        raise InputError("layout: names no corpus or no queries; both are needed")
    corpus, skipped, corpus_qrels = _corpus(layout.corpus, layout.skip_empty)
    queries = read_columns(layout.queries, "queries")
    texts = _query_texts(queries, layout.queries)
    query_qrels = _qrels_of_queries(queries, layout.queries) if "relevant" in queries else None
    if sum(found is not None for found in (layout.qrels, query_qrels, corpus_qrels)) != 1:
        raise InputError(f"layout: {JUDGMENTS}")
    excluded = _lists(queries, "excluded", layout.queries)
    made: dict[str, Split] = {}
    for name in splits:
        table = layout.qrels.filled(split=TRAIN if name == HELD_OUT else name) if layout.qrels else None
        qrels = query_qrels or corpus_qrels or {}
        if table is not None:
            qrels = _qrels(read_columns(table, "qrels"), table)
        if name == HELD_OUT:
            qrels = {query_id: grades for query_id, grades in qrels.items() if is_held_out(query_id)}
        place = table or (layout.queries if query_qrels is not None else layout.corpus)
        if not qrels:
            raise InputError(f"{place}: no judgments for the split {name}")
        details = {"source": str(place), "corpus": str(layout.corpus), "empty_documents": len(skipped)}
        places = Places(str(layout.corpus), str(layout.queries), str(place))
        made[name] = judged_split(
            dataset,
            name,
            corpus,
            texts,
            qrels,
            details,
            places,
            tolerate_unknown_documents=tolerate_unknown_documents,
            also_known=skipped,
            excluded=excluded,
        )
    return made


def _corpus(table: Table, skip_empty: bool) -> tuple[Corpus, list[str], Qrels | None]:
    """The documents, the ids of those left out because they are empty, and judgments that stand beside them."""
    found = read_columns(table, "corpus")
    ids = _ids(found, table, "document")
    titles = found.get("title") or [None] * len(ids)
    texts = [
        f"{title or ''} {_text(text, table, ids[row])}".strip()
        for row, (title, text) in enumerate(zip(titles, found.get("text", []), strict=True))
    ]
    qrels: Qrels | None = None
    if "query" in found:
        qrels = {}
        grades = found.get("grade") or [1] * len(ids)
        for query_id, document_id, grade in zip(found["query"], ids, grades, strict=True):
            if query_id not in (None, ""):
                qrels.setdefault(as_id(query_id, "query", str(table)), {})[document_id] = _grade(grade, table)
    kept = [row for row, text in enumerate(texts) if text or not skip_empty]
    skipped = [ids[row] for row, text in enumerate(texts) if skip_empty and not text]
    if not kept:
        raise InputError(f"layout.corpus: {table}: the corpus is empty; it needs at least one document")
    return build_corpus([ids[row] for row in kept], [texts[row] for row in kept]), skipped, qrels


def _query_texts(found: Mapping[str, list[Any]], table: Table) -> dict[str, str]:
    ids = _ids(found, table, "query")
    pairs = zip(ids, found.get("text", []), strict=True)
    return {query_id: _text(text, table, query_id).strip() for query_id, text in pairs}


def _ids(found: Mapping[str, list[Any]], table: Table, what: str) -> list[str]:
    """The ids of a table's rows; the numbers of the rows where the layout says that there are no ids."""
    if "id" not in table.columns or table.columns["id"] is None:
        return [str(row) for row in range(len(found.get("text", [])))]
    ids = [as_id(value, str(table.columns["id"]), str(table)) for value in found["id"]]
    check_unique(ids, what, str(table))
    return ids


def _lists(found: Mapping[str, list[Any]], column: str, table: Table) -> dict[str, list[str]]:
    ids = _ids(found, table, "query")
    rows = zip(ids, found.get(column, [[]] * len(ids)), strict=True)
    return {
        query_id: [
            as_id(value, str(table.columns[column]), f"{table} query {query_id}") for value in values or []
        ]
        for query_id, values in rows
    }


def _qrels_of_queries(found: Mapping[str, list[Any]], table: Table) -> Qrels:
    lists = _lists(found, "relevant", table)
    return {query_id: dict.fromkeys(names, 1) for query_id, names in lists.items() if names}


def _qrels(found: Mapping[str, list[Any]], table: Table) -> Qrels:
    qrels: Qrels = {}
    grades = found.get("grade") or [1] * len(found["query"])
    for query, document, value in zip(found["query"], found["document"], grades, strict=True):
        query_id, document_id = (
            as_id(query, str(table.columns["query"]), str(table)),
            as_id(document, str(table.columns["document"]), str(table)),
        )
        grade = _grade(value, table)
        if qrels.setdefault(query_id, {}).setdefault(document_id, grade) != grade:
            raise InputError(
                f"{table}: query {query_id} and document {document_id} are judged {grade} and "
                f"{qrels[query_id][document_id]}; keep one of the two rows"
            )
    return qrels


def _grade(value: Any, table: Table) -> int:
    """A grade; mteb keeps some as 1.0, and tab-separated files as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.5
    if not number.is_integer():
        raise InputError(f"{table}: a grade must be a whole number, not {value!r}")
    return int(number)


def _text(value: Any, table: Table, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{table}: the text of {name} must be a string, not {value!r}")
    return value
