"""Pairs and triples in the layouts of the Hugging Face hub, from the hub or from a local copy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import datasets
import pyarrow as pa

from colbert_lab.errors import InputError
from colbert_lab.text.triples import DOCUMENT, ID, NEGATIVE, QUERY, Triples, column_of, make_triples

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
SOURCE = "dataset"
COLUMNS = (QUERY, DOCUMENT, NEGATIVE, SOURCE, ID)


def load_triples(
    path: str,
    *,
    negatives: int | None,
    columns: Mapping[str, str],
    split: str | None = None,
    config: str | None = None,
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
        config: config of the dataset.

    Raises:
        InputError: it cannot be loaded, ``columns`` names a column that is not there, or see
            :func:`colbert_lab.text.triples.make_triples`.
    """
    if not Path(path).is_dir() and not HUB_ID.fullmatch(path):
        raise InputError(f"data.path: {path}: no such folder, and not a dataset id of the hub (owner/name)")
    try:
        loaded = datasets.load_dataset(path, config, split=split)
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())[:200]
        raise InputError(
            f"data.path: {path}: cannot be loaded ({reason}); give a hub id that can be "
            "reached, or a folder with Parquet or JSONL files"
        ) from error
    tables = {split or "train": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)
    base = path.rstrip("/").rsplit("/", 1)[-1]
    wanted = [QUERY, DOCUMENT, *([NEGATIVE] if negatives else [])]
    sources = []
    for name, table in tables.items():
        table = _renamed(table, columns, f"{base}/{name}")
        kept = [column for column in (*wanted, SOURCE, ID) if column in table.column_names]
        table = table.select_columns(kept)
        rows = _rows_by_source(table) if SOURCE in kept and len(tables) == 1 else {}
        if len(rows) > 1:
            for value in sorted(rows):
                part = table.select(rows[value])
                sources.append(make_triples(f"{base}/{value}", part, negatives, "data.path"))
        else:
            sources.append(make_triples(f"{base}/{name}", table, negatives, "data.path"))
    return sources


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


def _rows_by_source(table: datasets.Dataset) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(column_of(table, SOURCE)):
        rows.setdefault(str(value), []).append(row)
    return rows
