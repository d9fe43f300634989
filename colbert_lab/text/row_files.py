"""Read the rows of JSON files and of tables of text."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from colbert_lab.base.errors import InputError, named
from colbert_lab.text.lines import check_object, lines_of, opened, parse_json, parse_object

Row = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """How the rows of JSON files and of tables of text are read.

    Attributes:
        kind: ``json`` or ``csv``; the ``datasets`` library reads the others.
        tabs: whether a table's values are separated by tabs.
        names: a table's columns, where its first line does not say them.
        remote: whether the files are addresses on the hub.
        linked: whether they are links to the files that messages name.
    """

    kind: str
    tabs: bool = False
    names: Sequence[str] | None = None
    remote: bool = False
    linked: bool = False

    @property
    def is_text(self) -> bool:
        """Whether the rows are read here."""
        return self.kind in ("json", "csv")


def rows_of_file(file: str, form: Form) -> Iterator[tuple[str, Row]]:
    """The rows of one file of JSON or of a table of text.

    Args:
        file: local, or an address on the hub, which is read while it comes.
        form: how to read it.

    Raises:
        InputError: a row cannot be read.
    """
    if form.remote:
        import fsspec

        with fsspec.open(file, "rb") as there:
            yield from _parsed(there, file, form)
        return
    local = Path(file)
    with local.open("rb") as there:
        yield from _parsed(there, str(local.readlink()) if form.linked else file, form)


def _parsed(file: Any, place: str, form: Form) -> Iterator[tuple[str, Row]]:
    if form.kind == "csv":
        yield from _table(file, place, form)
        return
    lines = lines_of(file, place)
    first = next(lines, None)
    if first is None:
        return
    if first[2].lstrip().startswith("["):  # one list of objects, on any number of lines
        whole = parse_json("\n".join([first[2], *(line for _, _, line in lines)]), place)
        for number, row in enumerate(whole, start=1):
            yield f"{place} entry {number}", check_object(row, f"{place} entry {number}")
        return
    for _, where, line in chain([first], lines):
        yield where, parse_object(line, where)


def _table(file: Any, place: str, form: Form) -> Iterator[tuple[str, Row]]:
    names = form.names
    for where, values in _split_lines(file, place) if form.tabs else _csv(file, place):
        if names is None:
            names = values
            if len(set(names)) < len(names):
                raise InputError(f"{where}: two columns have one name; it has {named(names)}")
            continue
        if len(values) != len(names):
            raise InputError(
                f"{where}: {len(values)} values; there are {len(names)} columns ({named(names)})"
            )
        yield where, dict(zip(names, values, strict=True))


def _split_lines(file: Any, place: str) -> Iterator[tuple[str, list[str]]]:
    for _, where, line in lines_of(file, place):
        yield where, line.split("\t")


def _csv(file: Any, place: str) -> Iterator[tuple[str, list[str]]]:
    csv.field_size_limit(sys.maxsize)  # 128 KiB without it
    with opened(file, place) as data:
        lines = (raw.decode("utf-8" if number else "utf-8-sig") for number, raw in enumerate(data))
        reader = csv.reader(lines, strict=True)
        try:
            for values in reader:
                if values:
                    yield f"{place} line {reader.line_num}", values
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(
                f"{place} line {reader.line_num + 1}: not valid CSV in UTF-8 ({error})"
            ) from error


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
    import yaml

    damaged = (
        TypeError,
        AttributeError,
        KeyError,
        AssertionError,
        RecursionError,
    )  # what a damaged card or footer ends in
    known = (
        OSError,
        ValueError,
        OverflowError,
        pa.ArrowException,
        yaml.YAMLError,
        datasets.exceptions.DatasetsError,
    )
    try:
        yield
    except (*known, *damaged) as error:
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
