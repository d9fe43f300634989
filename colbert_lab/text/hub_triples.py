"""Pairs and triples in the layouts of the Hugging Face hub, from the hub or from a local copy."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from colbert_lab.errors import InputError
from colbert_lab.text.fingerprint import files_state, fingerprint, folder_state
from colbert_lab.text.lines import read_lines
from colbert_lab.text.streams import read_streams
from colbert_lab.text.triples import BLOCK, DOCUMENT, ID, NEGATIVE, QUERY, Triples, make_triples

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
SOURCE = "dataset"
COLUMNS = (QUERY, DOCUMENT, NEGATIVE, SOURCE, ID)


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
        path: hub id or folder.
        negatives: None for pairs; otherwise most negatives a row.
        columns: our column name (``query``, ``document``, ``negative``, ``dataset``, ``query_id``) to the dataset's.
        split: take this split alone.
        revision: commit, branch or tag of a dataset on the hub; None takes the newest.
        rows: most rows of a split, drawn with a fixed seed; None takes all.
        stream_to: read a stream instead of the whole dataset and keep its first ``rows`` shuffled rows in this folder,
            see :func:`colbert_lab.text.streams.read_streams`.
        skip_empty: leave out rows with an empty text or without negatives.

    Raises:
        InputError: it cannot be loaded, ``columns`` names a column that is not there, or see
            :func:`colbert_lab.text.triples.make_triples`.
    """
    file = Path(path) if Path(path).is_file() else None
    if file is None and not Path(path).is_dir() and not HUB_ID.fullmatch(path):
        raise InputError(
            f"data.path: {path}: no such file or folder, and not a dataset id of the hub (owner/name)"
        )
    if rows is not None and rows < 1:
        raise InputError(f"data.rows={rows}: must be at least 1, or null for all")
    if stream_to is not None and rows is None:
        raise InputError(
            "data.streaming: a stream has no end to wait for; set data.rows, the rows to take of each split"
        )
    if revision is not None and Path(path).exists():
        raise InputError(f"data.revision: has no effect on local data ({path}); leave it out")
    if file is not None and (split is not None or stream_to is not None):
        raise InputError(
            f"data.{'split' if split is not None else 'streaming'}: has no effect on a file ({path}); leave it out"
        )
    try:
        if stream_to is None or rows is None:
            loaded = (
                datasets.load_dataset(path, split=split, revision=revision, cache_dir=own_cache(path))
                if file is None
                else load_file(file)
            )
            tables = {split or "train": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)
            if rows is not None:
                tables = {name: _drawn(table, rows) for name, table in tables.items()}
        else:
            tables = read_streams(path, split=split, revision=revision, rows=rows, folder=stream_to)
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())[:200]
        raise InputError(
            f"data.path: {path}: cannot be loaded ({reason}); give a hub id that can be "
            "reached, or a folder with Parquet or JSONL files"
        ) from error
    base = path.rstrip("/").rsplit("/", 1)[-1] if file is None else file.stem
    wanted = [QUERY, DOCUMENT, *([NEGATIVE] if negatives else [])]
    sources = []
    for name, table in tables.items():
        table = _renamed(table, columns, f"{base}/{name}")
        kept = [column for column in (*wanted, SOURCE, ID) if column in table.column_names]
        table = table.select_columns(kept)
        parts = _rows_by_source(table) if SOURCE in kept and len(tables) == 1 else {}
        named = {value: table.select(parts[value]) for value in sorted(parts)}
        if len(named) < 2:
            named = {name: table}
        sources += [
            make_triples(f"{base}/{value}", part, negatives, "data.path", skip_empty=skip_empty)
            for value, part in named.items()
        ]
    return sources


def own_cache(path: str) -> str | None:
    """Where the ``datasets`` library keeps its copy of local data; None, its usual place, for a hub id.

    The library itself finds its copy of a folder by the folder's name, its README and the names of its files, so
    another folder, or another state of the same one, could be taken for it.

    Args:
        path: a folder, a file or a hub id.
    """
    place = Path(path)
    if not place.exists():
        return None
    state = folder_state(place) if place.is_dir() else files_state([place], place.parent)
    mark = fingerprint([str(place.resolve()), *state])
    return str(Path(datasets.config.HF_DATASETS_CACHE) / "local" / mark)


def load_file(file: Path) -> datasets.Dataset:
    """One file as a memory-mapped dataset.

    Args:
        file: ``.parquet``, ``.jsonl`` or ``.json`` with named columns, or ``.tsv`` with lines ``query <tab> document``
            or ``query <tab> document <tab> negative ...`` of texts, as in MS MARCO's triples.

    Raises:
        InputError: another type of file, or an empty one.
    """
    kinds = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".tsv": "csv"}
    if file.suffix not in kinds:
        raise InputError(f"data.path: {file}: unknown file type; there are {', '.join(kinds)}")
    if file.suffix != ".tsv":
        return datasets.load_dataset(
            kinds[file.suffix], data_files=str(file), split="train", cache_dir=own_cache(str(file))
        )
    columns = next((line.count("\t") for _, _, line in read_lines(file, "data.path")), 0) + 1
    if columns < 2:
        raise InputError(f"data.path: {file}: two tab-separated texts a line are needed at least")
    others = [f"{NEGATIVE} {n}" for n in range(1, columns - 1)]
    names = [QUERY, DOCUMENT, *others]
    table = datasets.load_dataset(
        "csv", data_files=str(file), split="train", cache_dir=own_cache(str(file)),
        delimiter="\t", header=None, names=names, quoting=csv.QUOTE_NONE,
        keep_default_na=False, features=datasets.Features({name: datasets.Value("string") for name in names}),
    )  # fmt: skip
    if not others:
        return table
    return table.map(
        lambda block: {NEGATIVE: [list(row) for row in zip(*(block[name] for name in others), strict=True)]},
        batched=True,
        remove_columns=others,
    )


def _drawn(table: datasets.Dataset, rows: int) -> datasets.Dataset:
    """So many rows, the same ones every time, in their order."""
    if rows >= len(table):
        return table
    return table.select(np.sort(np.random.default_rng(0).choice(len(table), rows, replace=False)))


def _renamed(table: datasets.Dataset, columns: Mapping[str, str], name: str) -> datasets.Dataset:
    """The dataset with our column names; its own columns of these names give way."""
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise InputError(f"data.columns.{ours}: must be one of {', '.join(COLUMNS)}")
        if theirs not in table.column_names:
            raise InputError(
                f"data.columns.{ours}={theirs}: {name} has no such column; it has {', '.join(table.column_names)}"
            )
    taken = [ours for ours, theirs in columns.items() if ours != theirs and ours in table.column_names]
    table = table.remove_columns([column for column in taken if column not in columns.values()])
    return table.rename_columns({theirs: ours for ours, theirs in columns.items() if theirs != ours})


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
