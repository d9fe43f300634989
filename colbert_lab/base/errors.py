"""Mistakes that the user can mend, and checks that fail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from colbert_lab.base.types import Role


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
