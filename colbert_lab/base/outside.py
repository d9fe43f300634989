"""What comes from files that someone else may have written or damaged, and how their text is shown.

JSON and YAML are read with bounds on size and nesting, and checked against types, so that a damaged file is one
sentence with the file and the key. What is asked for by name is refused; a listing leaves it out with one warning.
"""

from __future__ import annotations

import json
import logging
import math
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

import orjson

from colbert_lab.base.errors import InputError, told

log = logging.getLogger(__name__)
T = TypeVar("T")

LARGEST = 64 * 2**20  # bytes of a JSON file: many times what a run writes
DEEPEST = 64  # containers inside each other
LONGEST_LINE = 16 * 2**20
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, changes of direction, halves of surrogate pairs."""

PLAIN = (str, int, float, bool, NoneType)
_warned: set[str] = set()
_kept: list[str] | None = None


def read_json(path: Path, kind: type[T], mend: str = "", largest: int = LARGEST) -> T:
    """Read a JSON file that is asked for by name.

    Args:
        path: the file.
        kind: a TypedDict, a dataclass, or a type such as ``dict[str, Any]``. Keys that it does not name are kept in a
            TypedDict and left out of a dataclass; numbers must be finite.
        mend: what the user can do about a damaged file, for the message.
        largest: most bytes.

    Raises:
        InputError: the file is missing, cannot be read, is no such JSON, is too large or nested too deeply.
    """
    try:
        return parse_json(read_text(path, largest), kind, str(path))
    except InputError as error:
        if not mend:
            raise
        raise InputError(f"{error}; {mend}") from error


def read_json_or(path: Path, kind: type[T]) -> T:
    """The same for a listing: nothing (``kind()``) where it is missing, and with one warning where it is damaged."""
    try:
        return read_json(path, kind)
    except InputError as error:
        if path.exists():
            warn_once(f"{error}; the file is skipped")
        return kind()


def parse_json(text: str, kind: type[T], where: str) -> T:
    """What a JSON text holds, as the kind that is expected; see :func:`read_json`.

    Raises:
        InputError: it is something else; the message begins with ``where``.
    """
    try:
        found = json_value(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}, line {error.lineno}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON: {error}") from error
    if text.count("{") + text.count("[") > DEEPEST and too_deep(found):
        raise InputError(f"{where}: nested more than {DEEPEST} deep")
    if wrong := problem(found, kind):
        raise InputError(f"{where}: {wrong}")
    if is_dataclass(kind):
        known = {each.name for each in fields(kind)}
        return kind(**{key: value for key, value in found.items() if key in known})
    return cast(T, found)


def json_value(text: str | bytes) -> Any:
    """What a JSON text holds, read by orjson (five times as fast); what it does not take is read by ``json``.

    So a NaN and half of a surrogate pair are read and can be named in a message. An integer of more than 64 bits may
    become a float.

    Args:
        text: as bytes: UTF-8, where halves of surrogate pairs may stand as three bytes.

    Raises:
        ValueError: no JSON, as ``json`` says it.
        RecursionError: nested too deeply for ``json``.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text)


def problem(value: Any, hint: Any, key: str = "") -> str | None:
    """What is wrong with a value of a file, by a type; None for nothing.

    Args:
        value: as JSON or YAML has it.
        hint: str, int, float, bool, None, Any, a union, a list or mapping of such, a TypedDict or a dataclass. An int
            is also a float, a bool is no int. Numbers are finite, and integers fit in 64 bits.
        key: where the value is, with dots, for the message.
    """
    if hint is Any:
        return None
    origin, arguments = _shape(hint)
    parts: Iterator[tuple[str, Any, Any]] = iter(())
    if origin in (Union, UnionType):
        if any(each in PLAIN and _plain(value, each) for each in arguments):
            return None
        tried = [problem(value, each, key) for each in arguments]
        deeper = [each for each in tried if each is not None and not each.startswith(f"{key}:")]
        return None if None in tried else (deeper or [_wrong(key, hint, value)])[0]
    if is_typeddict(origin) or is_dataclass(origin):
        if not isinstance(value, dict):
            return _wrong(key, dict, value)
        hints, required = _keys_of(origin)
        if missing := [name for name in required if name not in value]:
            return f"{_inside(key, missing[0])}: is missing"
        parts = ((name, value[name], of) for name, of in hints.items() if name in value)
    elif origin in (dict, Mapping):
        if not isinstance(value, dict):
            return _wrong(key, dict, value)
        if not all(isinstance(name, str) for name in value):
            return f"{key or 'the file'}: its keys must be text"
        parts = ((name, each, arguments[1]) for name, each in value.items()) if arguments else parts
    elif origin in (list, tuple, Sequence):
        if not isinstance(value, list):
            return _wrong(key, list, value)
        parts = ((str(n), each, arguments[0]) for n, each in enumerate(value)) if arguments else parts
    else:
        return None if _plain(value, hint) else _wrong(key, hint, value)
    return next((found for name, each, of in parts if (found := problem(each, of, _inside(key, name)))), None)


@lru_cache(maxsize=4096)
def _shape(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint) or hint, get_args(hint)


def _plain(value: Any, hint: Any) -> bool:
    if isinstance(value, bool):
        return hint is bool
    if hint not in (int, float):
        return isinstance(value, NoneType if hint is None else hint)
    if isinstance(value, int):
        return abs(value) < 2**63
    return hint is float and isinstance(value, float) and math.isfinite(value)


@lru_cache
def _keys_of(kind: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Types of the keys, and which must be there."""
    hints = get_type_hints(kind)
    if is_typeddict(kind):
        return hints, tuple(sorted(kind.__required_keys__))
    needed = [
        each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING
    ]
    return hints, tuple(needed)


def _inside(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _wrong(key: str, hint: Any, value: Any) -> str:
    names = [
        {dict: "an object with keys", list: "a list", str: "text", int: "a whole number", float: "a finite number",
         bool: "true or false", NoneType: "null"}.get(get_origin(each) or each, "something else")
        for each in (get_args(hint) if get_origin(hint) in (Union, UnionType) else [hint])
    ]  # fmt: skip
    return f"{key or 'its content'}: must be {' or '.join(names)}, not {told(value)}"


def too_deep(value: Any) -> bool:
    """Whether more than ``DEEPEST`` lists and objects are inside each other."""
    level = [value]
    for _ in range(DEEPEST + 1):
        inside = [each for each in level if isinstance(each, dict | list)]
        level = [part for each in inside for part in (each.values() if isinstance(each, dict) else each)]
        if not inside:
            return False
    return True


def read_text(path: Path, largest: int) -> str:
    """The text of a file.

    Raises:
        InputError: it is missing, no file (a pipe would be waited for), too large, or not UTF-8.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{path}: is no file")
        if about.st_size > largest:
            raise InputError(f"{path}: has {about.st_size:,} bytes, and at most {largest:,} are read")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error


def lines_of(path: Path, longest: int = LONGEST_LINE) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, one at a time in memory, with their numbers from 1.

    Args:
        path: the file.
        longest: of a longer line, only its first ``longest`` bytes are given, which are no whole line.

    Raises:
        OSError: it cannot be read.
        InputError: it is no file: a pipe would be waited for.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no file")
    with path.open("rb") as file:
        number = 0
        while line := file.readline(longest):
            number += 1
            if not line.endswith(b"\n") and len(line) == longest:
                while (rest := file.readline(longest)) and not rest.endswith(b"\n"):
                    pass
            if line.strip():
                yield number, line.rstrip(b"\n")


def warn_once(message: str) -> None:
    """Log a warning, unless this process did already: a listing may come by the same damaged file several times."""
    if _kept is not None:
        _kept.append(message)
    elif message not in _warned:
        _warned.add(message)
        log.warning("%s", message)


@contextmanager
def warnings_kept() -> Iterator[list[str]]:
    """What :func:`warn_once` is told meanwhile, in place of the log: whoever reads in another process logs it there."""
    global _kept
    before, _kept = _kept, []
    try:
        yield _kept
    finally:
        _kept = before


def one_line(text: str) -> str:
    """A text on one line, of characters that are seen: for a table's cell, a name, a message."""
    if text.isprintable():
        return text
    return printable(re.sub(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*|\t", " ", text))


def printable(text: str, kept: str = "") -> str:
    r"""A text that a terminal, an editor or a page shows and does not obey.

    Args:
        text: any text.
        kept: control characters to leave in, such as line breaks.

    Returns:
        The text with what :data:`UNSEEN` matches spelled out: ``\x1b``, ``\u202e``.
    """
    return UNSEEN.sub(lambda found: found[0] if found[0] in kept else ascii(found[0])[1:-1], text)
