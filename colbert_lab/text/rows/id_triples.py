"""Triples of ids over a collection, as MS MARCO and Stanford's ColBERT have them, joined to their texts when read."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.outside import read_json
from colbert_lab.base.types import Corpus
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays, text_keys
from colbert_lab.text.lines import as_id, ending, parse_json, read_lines, stem
from colbert_lab.text.list_store import ANEW, META, Meta, open_texts
from colbert_lab.text.mapped import ENDS, ArrayColumn, Chosen, TextColumn, write_texts
from colbert_lab.text.rows.examples import Example
from colbert_lab.text.scored_lists import ListFolder

KEY = "data.triples"
VERSION = "1"  # of the files; raise when they change


class TripleMeta(Meta):
    """What ``meta.json`` says of converted triples: the fewest negatives of a row, and where that row is."""

    fewest: int
    shortest: str


@dataclass(frozen=True)
class IdTriples:
    """Rows of a query, its positive and its negatives; ids are row numbers, and texts stay on disk.

    Attributes:
        name: what messages call it.
        query_ids: one a row.
        queries: their texts.
        corpus: the documents.
        documents: for each row, rows of the corpus, the positive first.
        negatives: a row's first ones so many are drawn from; 0 for pairs.
        fingerprint: hash of the content.
    """

    name: str
    query_ids: Chosen[str]
    queries: Chosen[str]
    corpus: Corpus
    documents: ArrayColumn | Chosen[np.ndarray]
    negatives: int
    fingerprint: str

    @property
    def fewest(self) -> int:
        """The positive and its negatives."""
        return 1 + self.negatives

    @property
    def scored(self) -> bool:
        """There is no teacher."""
        return False

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.query_ids)

    def example(self, row: int, n_way: int, generator: np.random.Generator) -> Example:
        """A row with its positive first and ``n_way - 1`` of its negatives."""
        places = [0]
        if n_way > 1:
            places += (1 + generator.choice(self.negatives, size=n_way - 1, replace=False)).tolist()
        rows = self.documents[row][places].tolist()
        ids, texts = [self.corpus.ids[n] for n in rows], [self.corpus.texts[n] for n in rows]
        return Example(self.query_ids[row], self.queries[row], ids, texts, None)

    @property
    def ids_fingerprint(self) -> str:
        """Ids are a part of the content."""
        return self.fingerprint

    def training_queries(self) -> Iterator[tuple[str, str]]:
        """Id and text of every query, once."""
        for row in np.unique(self.query_ids.rows).tolist():
            yield self.query_ids.base[row], self.queries.base[row]

    @cached_property
    def _pairs(self) -> np.ndarray:
        """Different pairs of a query's row in ``query_ids.base`` and its positive's row in the corpus [P, 2]."""
        documents: Any = self.documents
        rows = np.arange(len(self))
        while isinstance(documents, Chosen):  # each ``without`` has chosen some rows of those before
            documents, rows = documents.base, documents.rows[rows]
        return np.unique(np.stack([self.query_ids.rows, documents.firsts[rows]], axis=1), axis=0)

    def query_keys(self) -> np.ndarray:
        """A pair is a query and its positive, however many rows it has."""
        rows, place = np.unique(self._pairs[:, 0], return_inverse=True)
        return text_keys(self.queries.base[row] for row in rows.tolist())[place]

    def positive_texts(self, pairs: np.ndarray) -> Iterator[str]:
        """The positive of each pair."""
        return (self.corpus.texts[row] for row in self._pairs[pairs, 1].tolist())

    def without(self, query_ids: Collection[str]) -> IdTriples:
        """All rows but those of these queries."""
        gone = [row for row, name in enumerate(self.query_ids.base) if name in query_ids]
        kept = np.flatnonzero(~np.isin(self.query_ids.rows, gone))
        rows = self.query_ids.rows[kept]
        return replace(
            self,
            query_ids=Chosen(self.query_ids.base, rows),
            queries=Chosen(self.queries.base, rows),
            documents=Chosen(self.documents, kept),
            fingerprint=fingerprint([self.fingerprint, "without"], sorted(query_ids)),
        )


def read_id_triples(folder: Path, file: Path, negatives: int | None, cache_dir: Path) -> IdTriples:
    """Read triples of ids; converted once, and read from ``cache_dir`` afterwards.

    Args:
        folder: the collection: BEIR layout, or ``collection.tsv`` and ``queries.tsv``.
        file: lines ``query <tab> positive <tab> negative ...`` (``.tsv``), or ``[query, positive, negative, ...]``
            (``.json``, ``.jsonl``), of ids.
        negatives: None for pairs; otherwise most negatives a row: its first ``min(negatives, fewest)`` are used.
        cache_dir: where converted files are kept.

    Raises:
        InputError: a missing or malformed file, unknown ids, an empty text, a row without negatives, or a positive that
            is its own negative; one line with the place, the number of offenders and the first ids.
    """
    if not file.is_file() or ending(file) not in (".tsv", ".json", ".jsonl"):
        raise InputError(f"{KEY}: {file}: no such file of triples (.tsv, .json or .jsonl, with ids)")
    layout = ListFolder(folder, file, {})
    corpus, texts = open_texts(cache_dir, layout.text_mark, layout.documents_key, layout.documents)
    mark = fingerprint([VERSION, corpus.fingerprint, *layout.row_mark])
    converted = cache_dir / "id_triples" / mark
    if not (converted / META).is_file():
        with atomic_folder(converted, whole_with=META) as temporary:
            _convert(temporary, layout, corpus, texts)
    meta = read_json(converted / META, TripleMeta, ANEW)
    fewest = meta["fewest"]
    if negatives is not None and fewest < 1:
        raise InputError(f"{KEY}: {meta['shortest']}: no negative; use data=pairs, or give every row one")
    used = min(negatives, fewest) if negatives is not None else 0
    rows = np.load(converted / "query_rows.npy", mmap_mode="r", allow_pickle=False)
    ids, asked = (TextColumn(converted / "queries.arrow", name) for name in ("id", "text"))
    return IdTriples(
        f"{folder.resolve().name}/{stem(file)}",
        Chosen(ids, rows),
        Chosen(asked, rows),
        corpus,
        ArrayColumn(converted, "documents"),
        used,
        fingerprint([meta["fingerprint"], str(used)]),
    )


def _rows(file: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Where a row is, its query and its documents."""
    for _, where, line in read_lines(file, KEY):
        if ending(file) == ".tsv":
            values: list[object] = list(line.split("\t"))
        else:
            values = parse_json(line, where)
            if not isinstance(values, list):
                raise InputError(f"{where}: [query, positive, negative, ...] is expected")
        if len(values) < 2:
            raise InputError(f"{where}: a query and its positive are needed at least")
        plain = (value.strip() if isinstance(value, str) else value for value in values)
        query, *documents = (as_id(value, "a row", where) for value in plain)
        yield where, query, documents


def _convert(folder: Path, layout: ListFolder, corpus: Corpus, texts: Path) -> None:
    row_of = {name: row for row, name in enumerate(corpus.ids)}
    empty = set(np.load(texts / "empty.npy", allow_pickle=False).tolist())
    queries = layout.queries()
    asked: dict[str, int] = {}
    query_rows, documents, lengths = array("q"), array("q"), array("q")
    wrong: dict[str, tuple[str, dict[str, None]]] = {}
    fewest, shortest = -1, ""

    def note(kind: str, where: str, ids: list[str]) -> None:
        if ids:
            wrong.setdefault(kind, (where, {}))[1].update(dict.fromkeys(ids))

    for where, query, names in _rows(layout.file):
        note("queries that are not in the collection", where, [query] if query not in queries else [])
        note(
            "documents that are not in the collection", where, [name for name in names if name not in row_of]
        )
        note("positives among their own negatives", where, names[:1] if names[0] in names[1:] else [])
        numbers = [row_of[name] for name in names if name in row_of]
        blank = [name for name in names if row_of.get(name) in empty]
        note("documents with an empty text", where, blank)
        note("queries with an empty text", where, [query] if not queries.get(query, "-").strip() else [])
        query_rows.append(asked.setdefault(query, len(asked)))
        documents.extend(numbers)
        lengths.append(len(numbers))
        if fewest < 0 or len(names) - 1 < fewest:
            fewest, shortest = len(names) - 1, where.removeprefix(f"{KEY}: ")
    for kind, (where, ids) in wrong.items():
        raise InputError(f"{where}: {kind}: {some_ids(list(ids))}; mend or remove those lines")
    if not lengths:
        raise InputError(f"{KEY}: {layout.file}: holds no row; at least one is needed to train")
    write_texts(folder / "queries.arrow", ("id", "text"), ((name, queries[name]) for name in asked))
    stored = {"query_rows": query_rows, "documents": documents}
    arrays = {name: np.frombuffer(values, dtype=np.int64) for name, values in stored.items()}
    arrays[ENDS.removesuffix(".npy")] = np.cumsum(np.frombuffer(lengths, dtype=np.int64))
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values, allow_pickle=False)
    names = list(asked)
    mark = fingerprint(
        [corpus.fingerprint, fingerprint_arrays(arrays.values())], names, (queries[n] for n in names)
    )
    meta = {"fingerprint": mark, "fewest": fewest, "shortest": shortest}
    (folder / META).write_text(json.dumps(meta), encoding="utf-8")
