"""Tables on the Hugging Face hub, in a local copy or in one file, and splits from data sets in the hub's layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError, named
from colbert_lab.base.types import HELD_OUT, Corpus, Split
from colbert_lab.text.collections.beir import is_held_out
from colbert_lab.text.collections.collection import Shared, build_corpus, check_unique, judged_split
from colbert_lab.text.collections.text_files import Qrels, add_grade, as_grade
from colbert_lab.text.lines import as_id, as_text, reading
from colbert_lab.text.tables import Rows, find_rows


@dataclass(frozen=True)
class Table:
    """Where a table is. ``{path}``, ``{key}`` and ``{split}`` stand for the values of its split's entry.

    Attributes:
        path: hub id, local copy of a hub dataset, or a file.
        config: name of the config (subset); None where there is one only.
        split: name of the split in the dataset.
        file: the one file of the dataset to read, where files are no configs.
        columns: our names of columns to theirs. A trailing ``?`` allows a column to be missing; None says that there
            is none.
    """

    path: str = "{path}"
    config: str | None = None
    split: str = "train"
    file: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)

    def filled(self, **values: str) -> Table:
        """The table with placeholders replaced; columns are left as they are."""
        return replace(
            self,
            path=str(fill(self.path, values)),
            config=fill(self.config, values),
            split=str(fill(self.split, values)),
            file=fill(self.file, values),
        )

    def __str__(self) -> str:
        """For messages: path, config and split."""
        parts = [self.path, *(part for part in (self.config, self.file, self.split) if part)]
        return f"{parts[0]} ({', '.join(parts[1:])})"


def fill(text: str | None, values: Mapping[str, str]) -> str | None:
    """Replace ``{name}`` by its value wherever it stands; other braces stay.

    Args:
        text: what may hold placeholders.
        values: placeholder to text.
    """
    if text is not None:
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
    return text


def read_columns(table: Table, what: str) -> dict[str, list[Any]]:
    """Read the columns of a table, under our names.

    Args:
        table: where it is.
        what: which table of the layout it is (``corpus``, ``queries``, ``qrels``, ``rows``), for messages.

    Returns:
        A list of values for each column that is there; all lists are empty for an empty table.

    Raises:
        InputError: the dataset, its config, split or file is not there or cannot be read, or a column is missing;
            the message says what is there.
    """
    wanted = {ours: theirs for ours, theirs in table.columns.items() if theirs is not None}
    names = {ours: theirs.removesuffix("?") for ours, theirs in wanted.items()}
    values: dict[str, list[Any]] = {ours: [] for ours in wanted}
    there: dict[str, None] = {}
    with reading(f"layout.{what}: {table}", _advice(table)):
        for _, row in _found(table).rows(table.split, list(names.values())):
            there.update(dict.fromkeys(row))
            for ours, theirs in names.items():
                values[ours].append(row.get(theirs))
    kept = _present(wanted, list(there), f"layout.{what}", table) if there else wanted
    return {ours: values[ours] for ours in kept}


def split_names(table: Table, what: str) -> list[str]:
    """Name the splits of a table's config.

    Args:
        table: where it is.
        what: see :func:`read_columns`.

    Raises:
        InputError: the dataset or its config cannot be reached.
    """
    with reading(f"layout.{what}: {table}", _advice(table)):
        return list(_found(table).files)


def _found(table: Table) -> Rows:
    return find_rows(table.path, table.config, file=table.file)


def _present(wanted: Mapping[str, str], there: list[str], key: str, table: Table) -> list[str]:
    for ours, theirs in wanted.items():
        if theirs not in there and not theirs.endswith("?"):
            raise InputError(
                f"{key}.columns.{ours}={theirs}: {table} has no such column; it has {named(there)}"
            )
    return [ours for ours, theirs in wanted.items() if theirs.removesuffix("?") in there]


def _advice(table: Table) -> str:
    if Path(table.path).expanduser().exists():
        return "correct the layout or the path"
    return "give a hub id that can be reached, or a folder with a copy of it (evaluation.path=DIR)"


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
        rows: columns of candidate lists, see :func:`colbert_lab.text.collections.splits.load_candidates`.
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
        splits: their names; ``heldout`` is made from ``train``, see
            :func:`colbert_lab.text.collections.beir.is_held_out`.
        tolerate_unknown_documents: see :func:`colbert_lab.text.collections.collection.judged_split`.

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
    shared = Shared(dataset, corpus, texts, str(layout.corpus), str(layout.queries), skipped, excluded)
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
        made[name] = judged_split(
            shared, name, qrels, details, str(place), tolerate_unknown_documents=tolerate_unknown_documents
        )
    return made


def _corpus(table: Table, skip_empty: bool) -> tuple[Corpus, list[str], Qrels | None]:
    """The documents, the ids of those left out because they are empty, and judgments that stand beside them."""
    found = read_columns(table, "corpus")
    ids = _ids(found, table, "document")
    titles = found.get("title") or [None] * len(ids)
    texts = [
        f"{as_text(title or '', f'the title of {ids[row]}', str(table))} {_text(text, table, ids[row])}".strip()
        for row, (title, text) in enumerate(zip(titles, found.get("text", []), strict=True))
    ]
    qrels: Qrels | None = None
    if "query" in found:
        qrels = {}
        grades = found.get("grade") or [1] * len(ids)
        for query_id, document_id, grade in zip(found["query"], ids, grades, strict=True):
            if query_id not in (None, ""):
                qrels.setdefault(as_id(query_id, "query", str(table)), {})[document_id] = as_grade(
                    grade, str(table)
                )
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
        add_grade(qrels, query_id, document_id, as_grade(value, str(table)), str(table))
    return qrels


def _text(value: Any, table: Table, name: str) -> str:
    return as_text(value, f"the text of {name}", str(table))
