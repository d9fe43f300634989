"""Columns of a table on the Hugging Face hub, in a local copy of it, or in one file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from colbert_lab.errors import InputError

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
ROWS_AT_ONCE = 4096
FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".tsv": "csv", ".csv": "csv"}


@dataclass(frozen=True)
class Table:
    """Where a table is. ``{path}``, ``{key}`` and ``{split}`` stand for the values of its split's entry.

    Attributes:
        path: hub id, local copy of a hub dataset, or a file.
        config: name of the config (subset); None where there is one only.
        split: name of the split in the dataset.
        file: the one file of the dataset to read, where files are no configs.
        columns: our names of columns to theirs. A trailing ``?`` allows a column to be missing; None says that there
            is none.
    """

    path: str = "{path}"
    config: str | None = None
    split: str = "train"
    file: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)

    def filled(self, **values: str) -> Table:
        """The table with placeholders replaced; columns are left as they are."""
        return replace(
            self,
            path=str(fill(self.path, values)),
            config=fill(self.config, values),
            split=str(fill(self.split, values)),
            file=fill(self.file, values),
        )

    def __str__(self) -> str:
        """For messages: path, config and split."""
        parts = [self.path, *(part for part in (self.config, self.file, self.split) if part)]
        return f"{parts[0]} ({', '.join(parts[1:])})"


def fill(text: str | None, values: Mapping[str, str]) -> str | None:
    """Replace ``{name}`` by its value wherever it stands; other braces stay.

    Args:
        text: what may hold placeholders.
        values: placeholder to text.
    """
    if text is not None:
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
    return text


def read_columns(table: Table, what: str) -> dict[str, list[Any]]:
    """Read the columns of a table, under our names.

    Args:
        table: where it is.
        what: which table of the layout it is (``corpus``, ``queries``, ``qrels``, ``rows``), for messages.

    Returns:
        A list of values for each column that is there; all lists are empty for an empty table.

    Raises:
        InputError: the dataset, its config, split or file is not there or cannot be read, or a column is missing;
            the message says what is there.
    """
    import datasets  # takes a second, and most runs do not need it

    wanted = {ours: theirs for ours, theirs in table.columns.items() if theirs is not None}
    values: dict[str, list[Any]] = {}
    try:
        for batch in _batches(table, [name.removesuffix("?") for name in wanted.values()]):
            if not values:
                values = {ours: [] for ours in _present(wanted, list(batch), f"layout.{what}", table)}
            for ours, held in values.items():
                held += batch[str(wanted[ours]).removesuffix("?")]
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"layout.{what}: {table}: {_reason(error)}; {_advice(table)}") from error
    return values or {ours: [] for ours in wanted}


def split_names(table: Table, what: str) -> list[str]:
    """Name the splits of a table's config.

    Args:
        table: where it is.
        what: see :func:`read_columns`.

    Raises:
        InputError: the dataset or its config cannot be reached.
    """
    import datasets

    try:
        return list(datasets.get_dataset_split_names(_place(table), table.config))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"layout.{what}: {table}: {_reason(error)}; {_advice(table)}") from error


def _batches(table: Table, columns: list[str]) -> Iterator[dict[str, list[Any]]]:
    import datasets

    place = _place(table)
    where: dict[str, Any] = {"path": place, "name": table.config, "data_files": table.file}
    file = Path(place, table.file or "")
    if file.is_file():
        if file.suffix not in FORMATS:
            raise ValueError(f"a file ending in {', '.join(FORMATS)} is expected")
        if not file.stat().st_size:
            return
        where = {"path": FORMATS[file.suffix], "data_files": str(file)}
    builder = datasets.load_dataset_builder(**where)
    if builder.name == "csv":
        # As text: the judgments of BeIR are tab-separated, and 002 or 1e5 are ids there, not numbers.
        where |= {"converters": dict.fromkeys(columns, str), "keep_default_na": False}
        where |= {"quoting": csv.QUOTE_NONE} if builder.config.sep == "\t" else {}
    # A local copy is streamed, so that no second copy of it lands in the cache of the datasets library.
    loaded = datasets.load_dataset(**where, split=table.split, streaming=Path(place).exists())
    if loaded.column_names:
        there = [name for name in dict.fromkeys(columns) if name in loaded.column_names]
        loaded = loaded.select_columns(there) if len(there) == len(set(columns)) else loaded
    yield from loaded.iter(ROWS_AT_ONCE)


def _place(table: Table) -> str:
    local = Path(table.path).expanduser()
    if not local.exists() and not HUB_ID.fullmatch(table.path):
        raise OSError("no such file or folder, and not a dataset id of the hub (owner/name)")
    return str(local) if local.exists() else table.path


def _present(wanted: Mapping[str, str], there: list[str], key: str, table: Table) -> list[str]:
    for ours, theirs in wanted.items():
        if theirs not in there and not theirs.endswith("?"):
            raise InputError(
                f"{key}.columns.{ours}={theirs}: {table} has no such column; it has {', '.join(there)}"
            )
    return [ours for ours, theirs in wanted.items() if theirs.removesuffix("?") in there]


def _reason(error: Exception) -> str:
    return " ".join(f"{error} {error.__cause__ or ''}".split())[:300]


def _advice(table: Table) -> str:
    if Path(table.path).expanduser().exists():
        return "correct the layout or the path"
    return "give a hub id that can be reached, or a folder with a copy of it (evaluation.path=DIR)"
