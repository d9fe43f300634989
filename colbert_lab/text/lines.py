"""Read the lines of text files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from colbert_lab.errors import InputError


def read_lines(path: Path, key: str | None = None) -> Iterator[tuple[int, str, str]]:
    """Yield the lines that are not blank, without their ends.

    Args:
        path: the file, UTF-8 with or without a byte order mark.
        key: config key to name in messages.

    Yields:
        The line's number from 1, where it is (key, file and line) for messages, and the line.

    Raises:
        InputError: a line is not UTF-8.
        OSError: the file cannot be read.
    """
    place = f"{key}: {path}" if key else str(path)
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            where = f"{place} line {number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(f"{where}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
            if line.strip():
                yield number, where, line
