"""Read text files, plain or gzipped, line by line, and the values on their lines.

Every format of lines (JSON Lines, tab-separated values, TREC runs, judgments) is read here, so that all agree on what a
line is: it ends at a line feed. A lone carriage return, a form feed or U+2028 is part of a text. What is wrong with a
data set, of lines or not, is said in one line (:func:`reading`).
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, cast

from colbert_lab.base.errors import InputError, told

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_GZIP = b"\x1f\x8b"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SPACES = " \t\r\n\f\v"


def ending(path: Path) -> str:
    """The ending that tells a file's format: that before ``.gz``, if it has one."""
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def stem(path: Path) -> str:
    """A file's name without the ending of its format and without ``.gz``."""
    return Path(path.stem).stem if path.suffix == ".gz" else path.stem


def plain_or_gzipped(path: Path) -> Path:
    """The file that is there: ``path``, or ``path.gz``; ``path`` when neither is.

    Raises:
        InputError: both are there.
    """
    gzipped = path.with_name(f"{path.name}.gz")
    if not gzipped.is_file():
        return path
    if path.is_file():
        raise InputError(f"{path}: {gzipped.name} is there too; keep one of the two")
    return gzipped


def beside(folder: str | Path, file: str | Path) -> Path:
    """The file that a setting names beside a folder: below the folder, or else as it is given.

    Args:
        folder: the setting's folder.
        file: what was given; the path below the folder is taken too where neither is there, for messages.
    """
    below, given = Path(folder).expanduser() / Path(file).expanduser(), Path(file).expanduser()
    return given if not below.exists() and given.exists() else below


def check_pointer(start: bytes, place: str) -> None:
    """Make sure that a file is not the text that Git LFS leaves in the place of a large file.

    Args:
        start: the first bytes of the file.
        place: names the file in the message.

    Raises:
        InputError: it is that text.
    """
    if start.startswith(LFS_POINTER):
        raise InputError(
            f"{place}: is a pointer of Git LFS, not the data itself; type git lfs pull in its repository"
        )


def read_lines(path: Path, key: str | None = None) -> Iterator[tuple[int, str, str]]:
    """Yield the lines that are not blank, without their ends.

    Args:
        path: the file, UTF-8 with or without a byte order mark, plain or compressed with gzip.
        key: config key to name in messages.

    Yields:
        The line's number from 1, where it is (key, file and line) for messages, and the line.

    Raises:
        InputError: a line is not UTF-8, the compressed data is damaged, or the file is a pointer of Git LFS.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        yield from lines_of(file, f"{key}: {path}" if key else str(path))


def lines_of(file: BinaryIO, place: str) -> Iterator[tuple[int, str, str]]:
    """As :func:`read_lines`, of a file that is open.

    Args:
        file: open for reading bytes, at its start.
        place: names it in messages.
    """
    with opened(file, place) as lines:
        for number, raw in enumerate(lines, start=1):
            where = f"{place} line {number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{where}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
            line = line.removesuffix("\n").removesuffix("\r")
            if line.strip():
                yield number, where, line


@contextmanager
def opened(file: BinaryIO, place: str) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed where they are compressed with gzip.

    Args:
        file: open for reading bytes, at its start.
        place: names it in messages.

    Raises:
        InputError: the compressed data turns out to be damaged, or the file is a pointer of Git LFS.
    """
    start = file.read(len(LFS_POINTER))
    check_pointer(start, place)
    file.seek(0)
    try:
        with gzip.open(file) if start.startswith(_GZIP) else nullcontext(file) as data:
            yield cast(BinaryIO, data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{place}: the gzip data is damaged ({error}); compress or download it again"
        ) from error


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON Lines file; empty lines are passed over.

    Args:
        path: the file, see :func:`read_lines`.

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
    r"""Read JSON.

    Raises:
        InputError: it is not valid, or a text in it holds half of a surrogate pair (as ``\ud83d``), which no text can
            be encoded with; the message begins with ``where``.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}); mend or remove that line") from error
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise InputError(
                f"{where}: {half} is half of a character (a lone surrogate); mend or remove that line"
            ) from error
    return value


def parse_object(text: str, where: str) -> dict[str, Any]:
    """Read one line with a JSON object.

    Raises:
        InputError: it is something else; the message begins with ``where``.
    """
    return check_object(parse_json(text, where), where)


def check_object(row: Any, where: str) -> dict[str, Any]:
    """Make sure that a JSON value is an object.

    Raises:
        InputError: it is something else; the message begins with ``where``.
    """
    if not isinstance(row, dict):
        raise InputError(f"{where}: a JSON object in braces is expected, not {type(row).__name__}")
    return row


def fields(line: str) -> list[str]:
    """The values of a line with white space between them; other white space than that of ASCII is part of a value."""
    return re.split(r"[ \t\r\f\v]+", line.strip(_SPACES))


def as_id(value: Any, column: str, where: str) -> str:
    """Bring an id to its string form.

    Args:
        value: a string or a whole number.
        column: what it is, for the message.
        where: key, file and line for the message.

    Raises:
        InputError: it is something else, empty, or holds a NUL character, at which trec_eval would cut it off.
    """
    if isinstance(value, str) and value and "\0" not in value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{where}: {column} must hold ids (strings or whole numbers), not {told(value)}")


def as_text(value: Any, column: str, where: str) -> str:
    """Check that a value is a text.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, str):
        raise InputError(f"{where}: {column} must be a string, not {told(value)}")
    return value


def as_score(value: Any, where: str) -> float:
    """Read a score: a number, or its decimal notation in ASCII (``float`` alone takes ``1_0`` for 10).

    Raises:
        InputError: it is something else, or not finite.
    """
    score = math.nan
    if isinstance(value, str):
        text = value.strip(_SPACES)
        score = float(text) if _NUMBER.fullmatch(text) else math.nan
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            score = float(value)
        except OverflowError:
            score = math.inf
    if not math.isfinite(score):
        raise InputError(f"{where}: the score {told(value)} is not a finite number; mend or remove the line")
    return score


@contextmanager
def reading(place: str, advice: str) -> Iterator[None]:
    """Say in one line what is wrong with a data set.

    Args:
        place: config key and data set, for the message.
        advice: what to do.

    Raises:
        InputError: instead of what the ``datasets`` library and those below it raise; one that is raised inside is
            kept, with the config key before it.
    """
    import datasets
    import pyarrow as pa
    import yaml

    # What a damaged card or footer ends in.
    damaged = (TypeError, AttributeError, KeyError, AssertionError, RecursionError)
    hub = (pa.ArrowException, yaml.YAMLError, datasets.exceptions.DatasetsError)
    try:
        yield
    except (OSError, ValueError, OverflowError, *hub, *damaged) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is not None and str(cause).startswith(f"{place.partition('.')[0]}."):
            raise cause from cause.__cause__
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error} {error.__cause__ or ''}".split())[:300]
        raise InputError(
            f"{place.split(': ')[0]}: {cause}" if cause else f"{place}: {reason}; {advice}"
        ) from error
