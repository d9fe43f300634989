"""Mistakes that the user can mend, checks that fail, and how messages show what was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

from colbert_lab.base.types import Role

LONGEST = 60  # characters of a value in a message
LONGEST_INT = 1000  # bits


class InputError(ValueError):
    """Bad input: a setting, a file or a combination of them that cannot be worked with.

    The message is one line that names the config key, or the file and line, or the ids, and says what to
    do. The command line prints it without a traceback and exits with status 2.
    """


class Diverged(InputError):
    """Numbers that are not finite, where training came to them by its settings, or in a damaged file."""


class NoScoringTokenError(InputError):
    """A text has no token that takes part in MaxSim.

    Attributes:
        role: of the texts, query or document.
        rows: positions of such texts in the batch.
    """

    def __init__(self, role: Role, rows: list[int], ids: Sequence[str] | None = None) -> None:
        self.role = role
        self.rows = rows
        texts = ", ".join((ids[r] if ids is not None else f"row {r}") for r in rows[:5])
        super().__init__(
            f"{len(rows)} {role} text(s) leave no scoring token ({texts}): remove the empty ones, "
            "or shorten student.skiplist"
        )


class CheckFailed(Exception):
    """What was asked to be checked does not hold.

    The message is one line that names what failed and which setting to change. The command line prints it without a
    traceback and exits with status 1.
    """


def no_folder(path: Path) -> str:
    """What is wrong with a path that should be a folder and is none."""
    return "is a file; name a folder" if path.is_file() else "no such folder"


def some_ids(ids: list[str], limit: int = 5) -> str:
    """Say which ids are meant without flooding the screen.

    Args:
        ids: the ids to name.
        limit: how many of them to spell out.

    Returns:
        The count and the first ids, for example ``12 (first: a, b, c)``.
    """
    shown = named(ids[:limit])
    return f"{len(ids)} (first: {shown})" if len(ids) > limit else f"{len(ids)} ({shown})"


def named(names: Iterable[str], longest: int = 60, most: int = 40) -> str:
    """Names with commas between, those of a damaged file cut to what can be read.

    Args:
        names: of columns, files, documents.
        longest: characters of a name.
        most: names.
    """
    every = [name if len(name) <= longest else f"{name[: longest - 3]}..." for name in names]
    return ", ".join(every if len(every) <= most else [*every[:most], "..."])


def told(value: Any) -> str:
    """A value of a file in a few characters, for messages."""
    text = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else ""
    if isinstance(value, int) and value.bit_length() > LONGEST_INT:  # Python does not write the longest ones
        text = "a whole number of too many digits"
    text = text or repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def named_texts(
    documents: Mapping[str, str] | Sequence[str], first: int = 0, what: str = "documents"
) -> dict[str, str]:
    """Documents by id.

    Args:
        documents: texts by id, or a list of texts, whose ids are their positions.
        first: position of the first of a list.
        what: what they are called in messages.

    Raises:
        InputError: there are none, or something is no text.
    """
    if isinstance(documents, str):
        raise InputError(f"{what} must be a list of texts, or texts by id, not one text")
    if isinstance(documents, Mapping):
        named = dict(zip(given_texts(list(documents), f"ids of {what}"), documents.values(), strict=True))
        given_texts(list(named.values()), what)
    else:
        texts = given_texts(documents, what)
        named = {str(number): text for number, text in enumerate(texts, start=first)}
    if not named:
        raise InputError(f"there are no {what}")
    return named


def given_texts(texts: Iterable[str], what: str) -> list[str]:
    """What a caller gave as texts, when it is a list of such.

    Raises:
        InputError: it is one text, which is a sequence of letters, or something in it is no text that can be written.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise InputError(f"{what} must be a list of texts, not {told(texts)}")
    given = list(texts)
    for number, text in enumerate(given):
        if not isinstance(text, str):
            raise InputError(f"{what}: number {number} is {told(text)}, not a text")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"{what}: number {number} is no Unicode text (half of a surrogate pair at character {error.start})"
            ) from error
    return given


def whole_number(k: int, name: str = "k") -> int:
    """An argument as a whole number from 1.

    Args:
        k: the argument.
        name: what it is called.

    Raises:
        InputError: it is none.
    """
    if isinstance(k, bool) or not isinstance(k, SupportsIndex) or k < 1:
        raise InputError(f"{name}={told(k)}: must be a whole number from 1")
    return int(k)
