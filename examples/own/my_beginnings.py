"""A data source: each line of a file with its own first words as the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.rows.examples import Examples
from colbert_lab.text.rows.triples import Triples


@dataclass(frozen=True)
class Beginnings:
    """Pairs for a contrastive loss.

    Args:
        path: a text file, one document a line.
        words: of a document that are its query.
    """

    path: str
    words: int = 3
    teacher: None = None
    weights: None = None

    def load(self, cache_dir: Path) -> Sequence[Examples]:
        """The pairs."""
        texts = Path(self.path).read_text(encoding="utf-8").splitlines()
        queries = [" ".join(text.split()[: self.words]) for text in texts]
        table = datasets.Dataset.from_dict({"query": queries, "document": texts})
        return [Triples("beginnings", table, 0, fingerprint(queries, texts))]
