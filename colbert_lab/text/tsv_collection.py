"""Collections of tab-separated files, as MS MARCO and Stanford's ColBERT have them.

``collection.tsv`` has lines ``id, text`` or ``id, text, title``; ``queries.tsv`` (or one file ``queries.*.tsv``) lines
``id, text``. Stanford's ColBERT numbers passages by line, which is the same as long as ids are 0, 1, 2, ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from colbert_lab.errors import InputError, some_ids
from colbert_lab.text.lines import read_lines

COLLECTION = "collection.tsv"


def is_tsv_collection(folder: Path) -> bool:
    """Whether a folder is in this layout."""
    return (folder / COLLECTION).is_file()


def read_tsv(file: Path, fewest: int, most: int) -> Iterator[tuple[str, list[str]]]:
    """The lines of a file; empty ones are passed over.

    Args:
        file: UTF-8 text.
        fewest: tab-separated values that a line has at least.
        most: and at most.

    Yields:
        File and line for messages, and the values.

    Raises:
        InputError: a line is not UTF-8 or has another number of values.
    """
    for _, where, line in read_lines(file):
        values = line.split("\t")
        if not fewest <= len(values) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise InputError(f"{where}: {wanted} tab-separated values are expected, not {len(values)}")
        yield where, values


def tsv_documents(folder: Path) -> Iterator[tuple[str, str]]:
    """Id and text of every document; a title goes before its text.

    Raises:
        InputError: a malformed line.
    """
    for where, (name, text, *title) in read_tsv(folder / COLLECTION, 2, 3):
        if not name:
            raise InputError(f"{where}: the id is empty")
        yield name, " ".join(part.strip() for part in (*title, text)).strip()


def tsv_queries(folder: Path) -> dict[str, str]:
    """Query id to text.

    Raises:
        InputError: no file or several, a malformed line, or an id that occurs twice.
    """
    files = [file for file in (folder / "queries.tsv",) if file.is_file()] or sorted(
        folder.glob("queries.*.tsv")
    )
    if len(files) != 1:
        there = ", ".join(file.name for file in files) or "none"
        raise InputError(f"{folder}: one file queries.tsv is needed beside {COLLECTION}; there are {there}")
    found: dict[str, str] = {}
    repeated = []
    for _, (name, text) in read_tsv(files[0], 2, 2):
        if name in found:
            repeated.append(name)
        found[name] = text.strip()
    if repeated:
        raise InputError(f"{files[0]}: query ids occur twice: {some_ids(repeated)}; make them unique")
    return found
