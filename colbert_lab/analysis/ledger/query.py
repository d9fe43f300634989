"""Which runs are listed, and in which order."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from colbert_lab.analysis.ledger.columns import Column, Columns, Value, number
from colbert_lab.analysis.ledger.entries import STATUSES, Entry
from colbert_lab.base.errors import InputError

CONDITION = re.compile(
    r"\s*(?P<key>[^=<>!\s]+)\s*(?P<sign>!=|<=|>=|==|=|<|>)\s*(?P<wanted>.*?)\s*", re.DOTALL
)
AGE = re.compile(r"(?P<n>\d+(\.\d+)?)\s*(?P<unit>[smhdw])")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
HEX = re.compile(r"[0-9a-f]{1,40}")


@dataclass(frozen=True)
class Query:
    """What to list.

    Attributes:
        names: patterns of run names (``kd*``), one of which fits; none for all.
        statuses: some of :data:`colbert_lab.analysis.ledger.entries.STATUSES`; none for all.
        where: conditions that all hold, such as ``lr=1e-4``, ``experiment!=x``, ``test/ndcg@10>0.6``.
        since: only runs started since a day or time (``2026-11-20``, ``2026-11-20T15:00``), or an age (``7d``).
        commit: first digits of the commit.
        sort: columns, the first one first; from the largest value down with a ``-`` before it.
        limit: how many at most; None for all.
    """

    names: Sequence[str] = ()
    statuses: Sequence[str] = ()
    where: Sequence[str] = ()
    since: str | None = None
    commit: str | None = None
    sort: Sequence[str] = ("-started",)
    limit: int | None = None


def select(columns: Columns, query: Query) -> list[Entry]:
    """The runs that a query is about, in its order.

    Args:
        columns: of all runs.
        query: which are wanted.

    Raises:
        InputError: a malformed condition, an unknown column, status or name, naming the setting.
    """
    tests = [
        *_names(columns.entries, query.names),
        *_statuses(query.statuses),
        *(_condition(text, columns) for whole in query.where for text in re.split(r"\s+and\s+", whole)),
        *_since(query.since),
        *_commit(query.commit),
    ]
    found = [entry for entry in columns.entries if all(test(entry) for test in tests)]
    for key in reversed(query.sort):
        column = columns.find(key.removeprefix("-"), "ledger.sort")
        found = _sorted(found, column, key.startswith("-"))
    return found[: query.limit]


Test = Callable[[Entry], bool]


def _names(entries: Sequence[Entry], patterns: Sequence[str]) -> list[Test]:
    known = sorted({entry.name for entry in entries})
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise InputError(f"ledger.name={pattern}: no run has such a name; there are {', '.join(known)}")
    return [lambda entry: any(fnmatchcase(entry.name, pattern) for pattern in patterns)] if patterns else []


def _statuses(wanted: Sequence[str]) -> list[Test]:
    for status in wanted:
        if status not in STATUSES:
            raise InputError(f"ledger.status={status}: must be one of {', '.join(STATUSES)}")
    return [lambda entry: entry.status in wanted] if wanted else []


def _since(text: str | None) -> list[Test]:
    if text is None:
        return []
    start = moment(text, "ledger.since")
    return [lambda entry: entry.started is not None and entry.started >= start]


def _commit(text: str | None) -> list[Test]:
    if text is None:
        return []
    if not HEX.fullmatch(text):
        raise InputError(f"ledger.commit={text}: must be the first digits of a commit (0-9, a-f)")
    return [lambda entry: (entry.commit or "").startswith(text)]


def moment(text: str, setting: str) -> float:
    """A day, a time or an age as seconds since 1970; without a time zone, this machine's.

    Args:
        text: ``2026-11-20``, ``2026-11-20T15:00`` or ``7d``.
        setting: what says so, for messages.

    Raises:
        InputError: anything else.
    """
    if age := AGE.fullmatch(text):
        return time.time() - float(age["n"]) * UNITS[age["unit"]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise InputError(
            f"{setting}: {text} is neither a day or time (2026-11-20, 2026-11-20T15:00) nor an age (12h, 7d)"
        ) from None


def _condition(text: str, columns: Columns) -> Test:
    found = CONDITION.fullmatch(text)
    if found is None or not found["wanted"]:
        raise InputError(
            f"ledger.where: {text!r} is no condition; write KEY=VALUE, or with != < <= > >=, such as lr=1e-4 or "
            "'test/ndcg@10>0.6'"
        )
    sign, wanted = found["sign"].replace("==", "="), found["wanted"]
    column = columns.find(found["key"], "ledger.where")
    if sign in ("=", "!="):
        return lambda entry: _same(column, entry, wanted) == (sign == "=")
    limit = moment(wanted, "ledger.where") if column.time else number(wanted)
    if limit is None:
        raise InputError(f"ledger.where: {text!r} compares with {wanted}, which is no number")
    return lambda entry: _beyond(number(column.value(entry)), sign, limit)


def _same(column: Column, entry: Entry, wanted: str) -> bool:
    """Whether a value is the wanted one, as text (where ``*`` is any text) or as a number."""
    value = column.value(entry)
    if value is None:
        return wanted == "null"
    one, other = number(value), number(wanted)
    if one is not None and other is not None and one == other and not _is_hash(column):
        return True
    pattern = ".*".join(re.escape(part) for part in wanted.split("*"))
    texts = {column.shown(entry)} if column.time else {str(value), column.shown(entry)}
    return any(re.fullmatch(pattern, text, re.DOTALL) for text in texts)


def _is_hash(column: Column) -> bool:
    """Whether digits are a name and no number."""
    return column.key in ("run", "config", "commit", "name")


def _beyond(value: float | None, sign: str, limit: float) -> bool:
    if value is None:
        return False
    return {"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}[sign]


def _sorted(entries: Sequence[Entry], column: Column, largest_first: bool) -> list[Entry]:
    """By value, numbers as numbers; runs without one come last."""
    values: dict[Entry, Value] = {entry: column.value(entry) for entry in entries}
    known = [entry for entry in entries if values[entry] is not None]
    numbers = {entry: number(values[entry]) for entry in known}
    if all(value is not None for value in numbers.values()) and not _is_hash(column):
        known.sort(key=lambda entry: numbers[entry] or 0.0, reverse=largest_first)
    else:
        known.sort(key=lambda entry: str(values[entry]), reverse=largest_first)
    return [*known, *(entry for entry in entries if values[entry] is None)]
