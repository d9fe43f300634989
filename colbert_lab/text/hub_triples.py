"""Pairs and triples in the layouts of the Hugging Face hub, from the hub or from a local copy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import datasets
import pyarrow as pa

from colbert_lab.errors import InputError
from colbert_lab.text.triples import DOCUMENT, NEGATIVE, QUERY, Triples, make_triples

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
SOURCE = "dataset"


def load_triples(
    path: str,
    *,
    negatives: int | None,
    columns: Mapping[str, str],
    split: str | None = None,
    config: str | None = None,
) -> list[Triples]:
    """Load a dataset of pairs or triples, one entry a source.

    Every split is a source, as in nomic-ai/nomic-embed-unsupervised-data (columns query, document, dataset, shard); a
    single split with a column ``dataset`` of several values, as in nomic-ai/nomic-embed-supervised (query, document,
    negative, dataset), is divided by it. Rows stay memory-mapped on disk.

    Args:
        path: hub id or folder.
        negatives: None for pairs; otherwise most negatives a row.
        columns: our column name to the dataset's (``query``, ``document``, ``negative``, ``dataset``).
        split: take this split alone.
        config: config of the dataset.

    Raises:
        InputError: it cannot be loaded, or see :func:`colbert_lab.text.triples.make_triples`.
    """
    if not Path(path).is_dir() and not HUB_ID.fullmatch(path):
        raise InputError(f"data.path: {path}: no such folder, and not a dataset id of the hub (owner/name)")
    try:
        loaded = datasets.load_dataset(path, config, split=split)
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"data.path: {path}: cannot be loaded ({' '.join(str(error).split())[:200]}); give a hub id that can be "
            "reached, or a folder with Parquet or JSONL files"
        ) from error
    tables = {split or "train": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)
    base = path.rstrip("/").rsplit("/", 1)[-1]
    sources = []
    for name, table in tables.items():
        renamed = {
            theirs: ours
            for ours, theirs in columns.items()
            if theirs != ours and theirs in table.column_names
        }
        table = table.rename_columns(renamed)
        wanted = [QUERY, DOCUMENT, *([NEGATIVE] if negatives else [])]
        kept = [column for column in (*wanted, SOURCE, "query_id") if column in table.column_names]
        table = table.select_columns(kept)
        values = table.unique(SOURCE) if SOURCE in kept and len(tables) == 1 else []
        if len(values) > 1:
            for value in sorted(values):
                rows = [row for row, found in enumerate(table[SOURCE]) if found == value]
                sources.append(make_triples(f"{base}/{value}", table.select(rows), negatives, "data.path"))
        else:
            sources.append(make_triples(f"{base}/{name}", table, negatives, "data.path"))
    return sources
