"""Which files of a folder are tables: of which config, and which of them are left unread."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from colbert_lab.base.errors import InputError, named
from colbert_lab.text.file_hashes import folder_files
from colbert_lab.text.lines import ending, stem

FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".tsv": "csv", ".csv": "csv"}
CARD = "README.md"
log = logging.getLogger(__name__)


def config_files(folder: Path) -> dict[str, Path]:
    """The configs of a folder without a card: its tables, or folders of tables, by their names.

    PyLate's three data sets ``train``, ``queries`` and ``documents`` are often kept as such files.

    Args:
        folder: any folder; nothing is found where there is none, or where a card says what its configs are.

    Raises:
        InputError: two of them have one name.
    """
    found: dict[str, Path] = {}
    for each in sorted(folder.iterdir()) if folder.is_dir() and not (folder / CARD).is_file() else ():
        names = [each.name] if each.is_file() else folder_files(each)
        if any(ending(Path(name)) in FORMATS for name in names):
            other = found.setdefault(stem(each) if each.is_file() else each.name, each)
            if other is not each:
                raise InputError(
                    f"{folder}: both {other.name} and {each.name} are there; keep one of the two"
                )
    return found


def tell_unread(folder: Path, links: Path, found: Mapping[str, list[str]]) -> None:
    """Say which tables of a folder without a card the library leaves out.

    It takes the files of one format, and of these those that are named after a split where there are such.
    """
    read = {Path(file) for files in found.values() for file in files}
    unread = [
        name for name in folder_files(folder) if ending(Path(name)) in FORMATS and links / name not in read
    ]
    if read and unread:
        log.warning(
            "%s: files in it are not read, being of another format or not named after a split as others are: %s; put "
            "them into a folder of their own, or name all alike",
            folder, named(unread),
        )  # fmt: skip
