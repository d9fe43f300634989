"""What can be wrong with score lists, collected so that one message tells how much of it there is."""

from collections.abc import Container

import numpy as np

from colbert_lab.errors import InputError, some_ids
from colbert_lab.text.list_rows import ListRow

# What is wrong, which ids the message lists, and what to do; the first that occurs is raised.
_KINDS = {
    "length": ("lists with more or fewer scores than documents, of queries", "give one score a document"),
    "short": (
        "lists with fewer than 2 documents, of queries",
        "remove them: distillation compares documents",
    ),
    "number": (
        "lists with NaN or infinite scores (in 32 bits), of queries",
        "score them again or remove them",
    ),
    "repeated": ("lists that hold a document twice, of queries", "keep one score a document"),
    "again": ("queries with more than one list:", "keep one list a query"),
    "query": ("queries that are not in the collection:", "add their texts or remove their lists"),
    "document": (
        "documents that are not in the collection:",
        "add their texts or remove them from the lists",
    ),
    "empty": (
        "lists with an empty query or document:",
        "mend the texts, remove the lists, or leave them out with data.skip_empty=true",
    ),
}


class Problems:
    """Collects what is wrong with the lists of one source."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, dict[str, None]]] = {}

    def of_row(
        self,
        row: ListRow,
        scores: np.ndarray,
        documents: Container[str],
        queries: Container[str],
        seen: Container[str],
    ) -> bool:
        """Check one list.

        Args:
            row: the list.
            scores: its scores as 32-bit numbers.
            documents: the known document ids.
            queries: the known query ids.
            seen: queries that had a list before.

        Returns:
            True when something is wrong with it.
        """
        kinds = {
            "length": len(row.document_ids) != len(scores),
            "short": len(row.document_ids) < 2,
            "number": not bool(np.isfinite(scores).all()),
            "repeated": len(set(row.document_ids)) < len(row.document_ids),
            "again": row.query_id in seen,
            "query": row.query_id not in queries,
        }
        unknown = [document for document in row.document_ids if document not in documents]
        for kind, wrong in kinds.items():
            if wrong:
                self._add(kind, row.where, [row.query_id])
        if unknown:
            self._add("document", row.where, unknown)
        return any(kinds.values()) or bool(unknown)

    def of_empty(self, row: ListRow, documents: list[str], query: bool) -> None:
        """Note a list with empty texts.

        Args:
            row: the list.
            documents: its documents without a text.
            query: whether its query has none.
        """
        names = [f"query {row.query_id}"] if query else []
        self._add("empty", row.where, [*names, *(f"document {name}" for name in documents)])

    def raise_first(self) -> None:
        """Raise InputError for the gravest kind of problem: its first place, its count, the first ids."""
        for kind, (what, advice) in _KINDS.items():
            if kind in self._found:
                where, ids = self._found[kind]
                raise InputError(f"{where}: {what} {some_ids(list(ids))}; {advice}")

    def _add(self, kind: str, where: str, ids: list[str]) -> None:
        self._found.setdefault(kind, (where, {}))[1].update(dict.fromkeys(ids))
