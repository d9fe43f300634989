"""Mined negatives as training data: triples, or lists with the teacher's scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from colbert_lab.errors import InputError, some_ids
from colbert_lab.teachers.mining import Miner
from colbert_lab.text.collection import build_corpus
from colbert_lab.text.examples import ScoredLists
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.scored_lists import write_scored_lists
from colbert_lab.text.triple_files import write_triples

SHORT = ("keep", "drop", "error")
OUTPUTS = ("triples", "lists")


@dataclass(frozen=True)
class Finishing:
    """What is made of the mined negatives.

    Attributes:
        output: ``triples``: a row for each relevant document of a query; ``lists``: a list of relevant documents and
            negatives for each query, with the teacher's scores.
        short: what becomes of queries that have fewer negatives than asked for: ``keep`` those that have one at
            least, ``drop`` them, or stop with an ``error``.
    """

    output: str = "triples"
    short: str = "keep"

    def check(self, scored: bool) -> None:
        """Refuse unknown values, and lists without a teacher.

        Raises:
            InputError: one of these.
        """
        for key, value, known in (("output", self.output, OUTPUTS), ("short", self.short, SHORT)):
            if value not in known:
                raise InputError(f"mine.{key}={value}: must be one of {', '.join(known)}")
        if self.output == "lists" and not scored:
            raise InputError(
                "mine.output=lists: lists hold a teacher's scores; name it with teacher@mine.filter.teacher=..."
            )


class Mined:
    """The negatives of all parts, joined to their texts.

    Args:
        miner: what found them.
        table: the parts, end to end, as :meth:`Miner.mine` makes them.
        short: see :class:`Finishing`.

    Attributes:
        counts: queries by what became of them, and the fewest negatives of a query that is left.

    Raises:
        InputError: queries are short and ``short`` is ``error``, or no query is left.
    """

    def __init__(self, miner: Miner, table: pa.Table, short: str) -> None:
        wanted = miner.mining.negatives
        self.miner = miner
        lengths = np.array([len(rows) for rows in table["rows"].to_pylist()], dtype=np.int64)
        few = np.flatnonzero(lengths < wanted)
        if len(few) and short == "error":
            names = some_ids([table["query_id"][int(row)].as_py() for row in few])
            raise InputError(
                f"mine.short=error: queries with fewer than mine.negatives={wanted} negatives: {names}; widen "
                "mine.ranks, loosen mine.filter, lower mine.negatives, or set mine.short=keep or drop"
            )
        least = wanted if short == "drop" else 1
        self.table = table.filter(pa.array(lengths >= least))
        kept = lengths[lengths >= least]
        if not len(kept):
            raise InputError(
                f"mine: no query is left: {len(few)} of {len(lengths)} have fewer than mine.negatives={wanted} "
                f"negatives (mine.short={short}), {int((lengths == 0).sum())} have none; widen mine.ranks or loosen "
                "mine.filter"
            )
        self.counts = {
            "queries": len(kept),
            "queries_without_relevant_document": len(miner.split.queries) - len(miner.queries),
            "queries_short": len(few),
            "queries_short_left_out": len(lengths) - len(kept),
            "fewest_negatives": int(kept.min()),
            "negatives": int(kept.sum()),
            "negatives_per_query": {str(n): count for n, count in sorted(Counter(kept.tolist()).items())},
        }

    def triples(self) -> Iterator[dict[str, Any]]:
        """A row for each relevant document of each query, see :mod:`colbert_lab.text.triple_files`."""
        split, names = self.miner.split, list(self.miner.mining.shares)
        ids, texts = split.corpus.ids, split.corpus.texts
        row_of = self.miner.row_of
        for batch in self.table.to_batches():
            for mined in batch.to_pylist():
                query = mined["query_id"]
                shared = {
                    "query_id": query,
                    "query": split.queries[query],
                    "negative": [texts[row] for row in mined["rows"]],
                    "negative_ids": [ids[row] for row in mined["rows"]],
                    "negative_from": [names[n] for n in mined["sources"]],
                    "negative_scores": mined["scores"],
                }
                for n, document in enumerate(self.miner.relevant[query]):
                    score = mined["positive_scores"][n] if mined["positive_scores"] is not None else None
                    yield shared | {
                        "document_id": document,
                        "document": texts[row_of[document]],
                        "positive_score": score,
                    }

    def lists(self) -> ScoredLists:
        """For each query its relevant documents and its negatives, in this order; the corpus is cut to them."""
        split, corpus = self.miner.split, self.miner.split.corpus
        query_ids = self.table["query_id"].to_pylist()
        rows = [
            np.array(
                [*(self.miner.row_of[d] for d in self.miner.relevant[query]), *negatives], dtype=np.int64
            )
            for query, negatives in zip(query_ids, self.table["rows"].to_pylist(), strict=True)
        ]
        used = np.unique(np.concatenate(rows))
        cut = build_corpus([corpus.ids[n] for n in used.tolist()], [corpus.texts[n] for n in used.tolist()])
        scores = [
            np.array([*good, *bad], dtype=np.float32)
            for good, bad in zip(
                self.table["positive_scores"].to_pylist(), self.table["scores"].to_pylist(), strict=True
            )
        ]
        return ScoredLists(
            f"{split.dataset}/{split.name}, mined",
            query_ids,
            [split.queries[query] for query in query_ids],
            cut,
            [np.searchsorted(used, own) for own in rows],
            scores,
            self.fingerprint,
        )

    @property
    def rows(self) -> dict[str, int]:
        """Number of rows of each output."""
        pairs = sum(len(self.miner.relevant[query]) for query in self.table["query_id"].to_pylist())
        return {"triples": pairs, "lists": len(self.table)}

    @property
    def fingerprint(self) -> str:
        """Hash of which documents are negatives of which queries."""
        ids = self.miner.split.corpus.ids
        negatives = self.table["rows"].to_pylist()
        return fingerprint(
            self.table["query_id"].to_pylist(), ("\n".join(ids[row] for row in rows) for rows in negatives)
        )

    def write(self, folder: Path, output: str) -> None:
        """Write the training data into a new folder.

        Args:
            folder: made here.
            output: see :class:`Finishing`.
        """
        split = self.miner.split
        if output == "lists":
            write_scored_lists(self.lists(), folder)
            return
        scored = self.miner.mining.teacher is not None
        write_triples(self.triples(), folder, scored=scored, title=f"{split.dataset}/{split.name}, mined")
