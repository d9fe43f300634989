"""Mined negatives as training data: triples, or lists with the teacher's scores.

A folder of triples is one that ``data=triples`` and ``datasets.load_dataset`` read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.sources.mining import Miner
from colbert_lab.text.collections.collection import build_corpus
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.list_store import write_scored_lists
from colbert_lab.text.rows.checking import DOCUMENT, ID, NEGATIVE, QUERY
from colbert_lab.text.rows.examples import ScoredLists

GROUP = 1000  # rows of a row group
COLUMNS = {
    ID: pa.string(),
    QUERY: pa.string(),
    DOCUMENT: pa.string(),
    "document_id": pa.string(),
    NEGATIVE: pa.list_(pa.string()),
    "negative_ids": pa.list_(pa.string()),
    "negative_from": pa.list_(pa.string()),
}
SCORES = {"positive_score": pa.float32(), "negative_scores": pa.list_(pa.float32())}


def write_triples(rows: Iterable[Mapping[str, Any]], folder: Path, *, scored: bool, title: str) -> None:
    """Write rows to ``folder/train/0.parquet``, with a README that names the file to the ``datasets`` library.

    Args:
        rows: with the columns ``COLUMNS``.
        folder: made here.
        scored: whether rows have the columns ``SCORES`` too.
        title: of the README.
    """
    (folder / "train").mkdir(parents=True)
    schema = pa.schema(COLUMNS | (SCORES if scored else {}))
    with pq.ParquetWriter(folder / "train" / "0.parquet", schema) as writer:
        source = iter(rows)
        while block := list(islice(source, GROUP)):
            writer.write_table(pa.Table.from_pylist(block, schema))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train/*.parquet\n---\n\n"
        f"# {title}\n",
        encoding="utf-8",
    )


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
        """Refuse lists without a teacher.

        Raises:
            InputError: that is asked for.
        """
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
        """A row for each relevant document of each query, see :mod:`colbert_lab.sources.mined`."""
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
