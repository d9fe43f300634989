"""Read files that hold one JSON object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colbert_lab.errors import InputError
from colbert_lab.text.lines import read_lines


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON Lines file; empty lines are passed over.

    Args:
        path: the file, UTF-8 with or without a byte order mark.

    Yields:
        The line number, counted from 1, and the object.

    Raises:
        InputError: the file is missing, or a line is not UTF-8, not JSON, or JSON but not an object; the
            message names the file and the line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; one JSON object a line is expected there")
    for number, where, line in read_lines(path):
        yield number, parse_object(line, where)


def parse_json(text: str, where: str) -> Any:
    """Read one line of JSON.

    Raises:
        InputError: it is not valid; the message begins with ``where``.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}); mend or remove that line") from error


def parse_object(text: str, where: str) -> dict[str, Any]:
    """Read one line with a JSON object.

    Raises:
        InputError: it is something else; the message begins with ``where``.
    """
    row = parse_json(text, where)
    if not isinstance(row, dict):
        raise InputError(f"{where}: a JSON object in braces is expected, not {type(row).__name__}")
    return row
