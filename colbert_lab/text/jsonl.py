"""Read files that hold one JSON object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colbert_lab.errors import InputError


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
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path} line {number}: not UTF-8 ({error.reason}); save the file as UTF-8"
                ) from error
            if text:
                yield number, _parse(text, f"{path} line {number}")


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}); mend or remove that line") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: a JSON object in braces is expected, not {type(row).__name__}")
    return row
