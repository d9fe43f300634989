"""Read the rows of teacher score lists from the formats in which they come."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from colbert_lab.errors import InputError

ROW_COLUMNS = ("query_id", "document_ids", "scores")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_BATCH = 1000  # rows read at once


class ListRow(NamedTuple):
    """One score list as it was read, its numbers not yet checked.

    Attributes:
        where: config key, file and line (or row) for messages.
        query_id: id of the query.
        document_ids: ids of the candidates.
        scores: as many teacher scores, if the row is right.
    """

    where: str
    query_id: str
    document_ids: list[str]
    scores: list[float]


def parse_row(row: Mapping[str, Any], where: str) -> ListRow:
    """Read one row with query_id, document_ids and scores.

    Args:
        row: the columns; the two lists may be JSON texts, as in some copies on the hub, and ids may be whole
            numbers.
        where: config key, file and line for messages.

    Returns:
        The row with ids as strings.

    Raises:
        InputError: a column is missing, is no list, or holds something else than ids or numbers.
    """
    documents = [as_id(value, "document_ids", where) for value in _as_list(row, "document_ids", where)]
    scores = _as_list(row, "scores", where)
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise InputError(f"{where}: scores must be numbers, not {score!r}")
    return ListRow(where, as_id(row.get("query_id"), "query_id", where), documents, scores)


def renamed(
    row: Mapping[str, Any], wanted: Sequence[str], columns: Mapping[str, str], where: str
) -> dict[str, Any]:
    """The wanted columns of a row under our names.

    Args:
        row: the row.
        wanted: our names.
        columns: our name to the row's, where they differ.
        where: for messages.

    Raises:
        InputError: the row lacks one.
    """
    for ours in wanted:
        theirs = columns.get(ours, ours)
        if theirs not in row:
            raise InputError(f"{where}: no column {theirs}; it has {', '.join(row)}")
    return {ours: row[columns.get(ours, ours)] for ours in wanted}


def load_config(path: str, config: str) -> Any:
    """One config of a dataset on the hub or of a folder with the same layout, split ``train``.

    A folder is streamed, so that no second copy of it lands in the cache of the ``datasets`` library.

    Args:
        path: folder or hub id.
        config: name of the config, for example ``train``.

    Raises:
        InputError: the dataset or the config cannot be loaded.
    """
    import datasets  # takes a second, and most runs do not need it

    local = Path(path).is_dir()
    if not local and not _HUB_ID.fullmatch(path):
        raise InputError(f"data.path: {path}: no such folder, and not a dataset id of the hub (owner/name)")
    with _loading(path, config):
        return datasets.load_dataset(path, config, split="train", streaming=local)


def rows_of_config(loaded: Any, path: str, config: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of what :func:`load_config` returned.

    Args:
        loaded: see there.
        path: see there, for messages.
        config: likewise.

    Yields:
        Where the row is (config key, dataset, config and row), and its columns.

    Raises:
        InputError: the files cannot be read.
    """
    number = 0
    with _loading(path, config):
        for batch in loaded.iter(_BATCH):
            for values in zip(*batch.values(), strict=True):
                number += 1
                yield f"data.path: {path} ({config} row {number})", dict(zip(batch, values, strict=True))


@contextmanager
def _loading(path: str, config: str) -> Iterator[None]:
    """Say which dataset and config an error belongs to."""
    import datasets

    try:
        yield
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        local = Path(path).is_dir()
        place = "this folder" if local else "this hub dataset (no folder here has that name)"
        raise InputError(
            f"data.path: {path}: cannot load the config {config} of {place} ({_line(error)}); the configs "
            "train, queries and documents are expected, or data.scores for a folder with corpus.jsonl"
        ) from error


def as_id(value: Any, column: str, where: str) -> str:
    """Bring an id to its string form; raises InputError for anything but a string or a whole number."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{where}: {column} must hold ids (strings or whole numbers), not {value!r}")


def _as_list(row: Mapping[str, Any], column: str, where: str) -> list[Any]:
    value = row.get(column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise InputError(f"{where}: {column} is a text that is not valid JSON ({error})") from error
    if not isinstance(value, list):
        raise InputError(f"{where}: {column} must be a list, not {value!r:.80}")
    return value


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
