"""Held-out candidate lists: for each query one relevant document among hard negatives, and nothing else to search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from colbert_lab.errors import InputError, some_ids
from colbert_lab.text.collection import build_corpus, build_split
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.hub_tables import Table, read_columns
from colbert_lab.types import Split


def load_candidates(dataset: str, name: str, table: Table) -> dict[str, Split]:
    """Load candidate lists, one split a source.

    A document is its text: equal texts are one document, in whatever list they are. A query is a row.

    Args:
        dataset: what the splits call their data set.
        name: name of the splits, for example ``test``.
        table: where the rows are; columns ``query`` and ``negatives`` (a list of texts), ``positive`` or ``document``
            (the relevant text), and ``source`` where the rows come from several.

    Returns:
        Source to split, sorted; one split under an empty name when there are no sources. Each has its own corpus.

    Raises:
        InputError: the table cannot be read, a value is of the wrong type, or a row has a document twice.
    """
    found = read_columns(table, "rows")
    queries = found.get("query", [])
    positives = found.get("positive") or found.get("document")
    if not queries:
        raise InputError(f"layout.rows: {table}: holds no rows; at least one candidate list is needed")
    if positives is None:
        raise InputError(f"layout.rows.columns: {table}: names no column of the relevant documents")
    sources = found.get("source") or [""] * len(queries)
    parts: dict[str, list[int]] = {}
    twice = []
    lists: list[list[str]] = []
    for row, (query, positive, negatives) in enumerate(
        zip(queries, positives, found["negatives"], strict=True)
    ):
        where = f"{table} row {row + 1}"
        lists.append([_text(positive, "positive", where), *_texts(negatives, where)])
        _text(query, "query", where)
        if len(set(lists[row])) < len(lists[row]):
            twice.append(str(row + 1))
        parts.setdefault(str(sources[row] or ""), []).append(row)
    if twice:
        raise InputError(
            f"{table}: rows with a document twice, as positive or negative: {some_ids(twice)}; make them different"
        )
    return {
        source: _split(f"{dataset} {source}".strip(), name, queries, lists, rows, str(table))
        for source, rows in sorted(parts.items())
    }


def _split(
    dataset: str, name: str, queries: list[str], lists: list[list[str]], rows: list[int], source: str
) -> Split:
    texts = list(dict.fromkeys(text for row in rows for text in lists[row]))
    ids = dict(zip(texts, (fingerprint(text) for text in texts), strict=True))
    candidates: Mapping[str, Any] = {f"row{row + 1}": [ids[text] for text in lists[row]] for row in rows}
    return build_split(
        dataset,
        name,
        build_corpus(list(ids.values()), texts),
        {f"row{row + 1}": queries[row] for row in rows},
        {query_id: {names[0]: 1} for query_id, names in candidates.items()},
        {"source": source},
        candidates=candidates,
    )


def _text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {column} must be a text that is not empty, not {value!r}")
    return value


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{where}: negatives must be a list of at least one text, not {value!r:.80}")
    return [_text(text, "negatives", where) for text in value]
