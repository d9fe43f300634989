"""Pairs and triples in the layouts of the Hugging Face hub, from the hub, from a local copy, or from one file."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from colbert_lab.base.errors import InputError, named
from colbert_lab.text.contents import data_id
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.lines import as_id, ending, read_lines, reading, stem
from colbert_lab.text.row_files import Row, Stream, read_streams
from colbert_lab.text.rows.checking import BLOCK, DOCUMENT, ID, LABEL, NEGATIVE, QUERY
from colbert_lab.text.rows.triples import Triples, make_triples
from colbert_lab.text.tables import Rows, find_rows

SOURCE = "dataset"
COLUMNS = (QUERY, DOCUMENT, NEGATIVE, SOURCE, ID)
PEERS = {QUERY: "anchor", DOCUMENT: "positive"}  # the names of sentence-transformers and PyLate
_NUMBERED = re.compile(r"negative_(\d+)", re.ASCII)
_GRADES = ("label", "labels", "score", "scores")
log = logging.getLogger(__name__)


def load_triples(
    path: str,
    *,
    negatives: int | None,
    columns: Mapping[str, str],
    split: str | None = None,
    revision: str | None = None,
    rows: int | None = None,
    stream_to: Path | None = None,
    skip_empty: bool = False,
) -> list[Triples]:
    """Load a dataset of pairs or triples, one entry a source.

    Every split is a source, as in nomic-ai/nomic-embed-unsupervised-data (columns query, document, dataset, shard) and
    nomic-ai/nomic-embed-supervised (query, document, negative, dataset); a single split with a column ``dataset`` of
    several values is divided by it. Rows stay memory-mapped on disk.

    Args:
        path: hub id, folder, or file: ``.parquet``, ``.jsonl``, ``.json`` or ``.csv`` with named columns, or ``.tsv``
            with lines ``query <tab> document`` or ``query <tab> document <tab> negative ...`` of texts, as MS MARCO's
            triples. The columns of sentence-transformers and PyLate are understood too: ``anchor``, ``positive``, and
            a text or a list of them in ``negative``, or ``negative_1``, ``negative_2``, ...
        negatives: None for pairs; otherwise most negatives a row.
        columns: our column name (``query``, ``document``, ``negative``, ``dataset``, ``query_id``) to the dataset's.
        split: take this split alone.
        revision: commit, branch or tag of a dataset on the hub; None takes the newest.
        rows: most rows of a split, drawn with a fixed seed; None takes all.
        stream_to: read a stream instead of the whole dataset and keep its first ``rows`` shuffled rows in this folder,
            see :func:`colbert_lab.text.row_files.read_streams`.
        skip_empty: leave out rows with an empty text, without negatives, or with a label (or score) of 0 or below.

    Raises:
        InputError: it cannot be loaded, ``columns`` names a column that is not there, two columns have names for one of
            ours, or see :func:`colbert_lab.text.rows.triples.make_triples`.
    """
    local = Path(path).exists()
    if stream_to is not None and rows is None:
        raise InputError(
            "data.streaming: a stream has no end to wait for; set data.rows, the rows to take of each split"
        )
    if revision is not None and local:
        raise InputError(f"data.revision: has no effect on local data ({path}); leave it out")
    if Path(path).is_file() and (split is not None or stream_to is not None):
        raise InputError(
            f"data.{'split' if split is not None else 'streaming'}: has no effect on a file ({path}); leave it out"
        )
    base = Path(path.rstrip("/")).name if not Path(path).is_file() else stem(Path(path))

    def found() -> tuple[Rows, dict[str, _Maker]]:
        data = find_rows(path, revision=revision)
        if Path(path).is_file() and ending(Path(path)) == ".tsv":
            data = replace(data, form=replace(data.form, names=_names_of_tsv(Path(path))))
        makers = {}
        for name in [split] if split is not None else data.files:
            there = data.columns(name)
            makers[name] = _Maker(_chosen(there, columns, bool(negatives), f"{base}/{name}"), tuple(there))
        return data, makers

    def streams() -> dict[str, Stream]:
        data, makers = found()
        return {
            name: Stream(
                data.stream(name, maker.features, maker), maker.features, None if data.form.is_text else maker
            )
            for name, maker in makers.items()
        }

    def place() -> Path:
        settings = [str(split), str(rows), str(sorted(columns.items())), str(bool(negatives)), "labels"]
        return Path(str(stream_to)) / fingerprint([data_id(path, revision) or path, *settings])

    with reading(
        f"data.path: {path}: cannot be loaded",
        "give a hub id that can be reached, or a folder with Parquet or JSONL files",
    ):
        if stream_to is not None and rows is not None:
            tables = read_streams(path, streams, place, rows=rows)
        else:
            data, makers = found()
            tables = {
                name: data.dataset(name, maker.features, maker, repr(maker)) for name, maker in makers.items()
            }
            if not data.form.is_text:
                tables = {name: makers[name].renamed(table) for name, table in tables.items()}
    if rows is not None and stream_to is None:
        tables = {name: _drawn(table, rows) for name, table in tables.items()}
    content = None if stream_to is not None else data_id(path, revision)
    sources = []
    for name, table in tables.items():
        parts = _rows_by_source(table) if SOURCE in table.column_names and len(tables) == 1 else {}
        named = {value: table.select(parts[value]) for value in sorted(parts)}
        named = named if len(named) > 1 else {name: table}
        for value, part in named.items():
            mark = content and fingerprint([content, name, value, str(rows), str(sorted(columns.items()))])
            called = f"{base}/{value}"
            sources.append(
                make_triples(called, part, negatives, "data.path", skip_empty=skip_empty, content=mark)
            )
    return sources


def _names_of_tsv(file: Path) -> list[str] | None:
    """The columns of a file of texts: ``query, document, negative ...``, or None where its first line has names."""
    values = next((line.split("\t") for _, _, line in read_lines(file)), [])
    known = {*COLUMNS, *PEERS.values()}
    if all(value in known or _NUMBERED.fullmatch(value) for value in values):
        return None
    if len(values) < 2:
        raise InputError(f"{file}: two tab-separated texts a line are needed at least")
    return [QUERY, DOCUMENT, *(f"{NEGATIVE}_{n}" for n in range(1, len(values) - 1))]


def _chosen(
    there: Sequence[str], columns: Mapping[str, str], negatives: bool, name: str
) -> dict[str, list[str]]:
    """Our columns to the dataset's; negatives may be a column of lists or of texts, or several of texts.

    Args:
        there: the dataset's columns.
        columns: our column name to the dataset's, where that is set.
        negatives: whether they are wanted.
        name: of the dataset, for messages.

    Raises:
        InputError: ``columns`` names a column that is not there, one of ours is missing, or two columns are called by
            a name for one of ours.
    """
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise InputError(f"data.columns.{ours}: must be one of {', '.join(COLUMNS)}")
        if theirs not in there:
            raise InputError(
                f"data.columns.{ours}={theirs}: {name} has no such column; it has {named(there)}"
            )
    if not there:
        raise InputError(f"data.path: {name} has no row with columns; leave the source out")
    free = [column for column in there if column not in columns.values()]
    chosen = {}
    for ours in COLUMNS:
        if ours in columns:
            chosen[ours] = [columns[ours]]
        elif ours != NEGATIVE or negatives:
            found = [column for column in (ours, PEERS.get(ours)) if column in free]
            numbered = [column for column in free if ours == NEGATIVE and _NUMBERED.fullmatch(column)]
            if len(found) > 1 or (found and numbered):
                both = " and ".join([*found, *numbered][:2])
                raise InputError(
                    f"data.columns.{ours}: {name} has the columns {both}, which may both be meant; say which, e.g. "
                    f"data.columns={{{ours}: {found[0]}}}"
                )
            if found or numbered:
                chosen[ours] = found or sorted(numbered, key=lambda column: int(column.rsplit("_")[-1]))
    for ours in (QUERY, DOCUMENT, *([NEGATIVE] if negatives else [])):
        if ours not in chosen:
            raise InputError(
                f"data.path: {name} has no column {ours}; it has {named(there)} (set data.columns)"
            )
    unused = [column for column in free if column in _GRADES]
    if unused:
        log.warning("%s: all rows whose %s is above 0 count as relevant pairs alike", name, unused[0])
        chosen[LABEL] = unused[:1]
    return chosen


@dataclass(frozen=True)
class _Maker:
    """Gives rows our columns.

    Attributes:
        chosen: our columns to the dataset's.
        known: all columns of the dataset.
    """

    chosen: Mapping[str, Sequence[str]]
    known: Sequence[str]

    @property
    def features(self) -> datasets.Features:
        """Our columns that are there, and their types."""
        text = datasets.Value("string")
        others = {NEGATIVE: [text], LABEL: datasets.Value("float64")}
        return datasets.Features({ours: others.get(ours, text) for ours in self.chosen})

    def __call__(self, where: str, row: Row) -> Row:
        """A row of JSON or of a table of text with our columns."""
        late = [
            name
            for name in row.keys() - set(self.known)
            if name in (*COLUMNS, *_GRADES) or _NUMBERED.fullmatch(name)
        ]
        if late:
            raise InputError(
                f"{where}: the column {late[0]} is in none of the first rows; give it to all (null where there is none)"
            )
        made: Row = {}
        for ours, theirs in self.chosen.items():
            values = [row.get(name) for name in theirs]
            if ours == NEGATIVE:
                made[ours] = self._negatives(values, where)
            elif ours == ID:
                made[ours] = as_id(values[0], theirs[0], where)
            elif ours == SOURCE:
                made[ours] = str(values[0])
            elif ours == LABEL:
                made[ours] = _number(values[0])
            elif values[0] is None or isinstance(values[0], str):
                made[ours] = values[0]
            else:
                raise InputError(f"{where}: {theirs[0]} must be text, not {values[0]!r:.80}")
        return made

    def _negatives(self, values: list[Any], where: str) -> list[str | None]:
        several = values[0] if len(values) == 1 and isinstance(values[0], list) else None
        texts = several if several is not None else [value for value in values if value is not None]
        for text in texts:
            if text is not None and not isinstance(text, str):
                raise InputError(f"{where}: negative must be a list of texts, not {text!r:.80}")
        return texts

    def renamed(self, table: datasets.Dataset) -> datasets.Dataset:
        """A dataset of Parquet files with our columns alone."""
        negatives = self.chosen.get(NEGATIVE, ())
        one_text = len(negatives) == 1 and table.features[negatives[0]] == datasets.Value("string")
        if len(negatives) > 1 or one_text:
            wanted = self.features[NEGATIVE]
            table = table.map(
                lambda block: {
                    f" {NEGATIVE}": [
                        [text for text in row if text is not None]
                        for row in zip(*(block[name] for name in negatives), strict=True)
                    ]
                },
                batched=True,
                input_columns=None,
                features=datasets.Features({**table.features, f" {NEGATIVE}": wanted}),
            )
            negatives = [f" {NEGATIVE}"]
        single = {
            ours: negatives[0] if ours == NEGATIVE else theirs[0] for ours, theirs in self.chosen.items()
        }
        table = table.select_columns(list(single.values()))
        return table.rename_columns({theirs: ours for ours, theirs in single.items() if theirs != ours})


def _number(value: Any) -> float | None:
    """A label as a number, where it is one."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _drawn(table: datasets.Dataset, rows: int) -> datasets.Dataset:
    """So many rows, the same ones every time, in their order."""
    if rows >= len(table):
        return table
    return table.select(np.sort(np.random.default_rng(0).choice(len(table), rows, replace=False)))


def _rows_by_source(table: datasets.Dataset) -> dict[str, np.ndarray]:
    found: dict[str, list[np.ndarray]] = {}
    start = 0
    for block in table.select_columns([SOURCE]).with_format("arrow").iter(batch_size=BLOCK):
        values = block[SOURCE].combine_chunks().dictionary_encode()
        codes = values.indices.to_numpy(zero_copy_only=False)
        for code, value in enumerate(values.dictionary.to_pylist()):
            found.setdefault(str(value), []).append(start + np.flatnonzero(codes == code))
        start += len(block)
    return {value: np.concatenate(rows) for value, rows in found.items()}
