"""Published numbers as data: the tables of model cards, value for value, from ``published/*.yaml``.

A file holds tables by name. Two of system, split and measure run along ``rows`` and ``columns``; the third is the
same everywhere and is given by its name. ``names`` are the columns, ``values`` the rows as printed, ``null`` where
the source has no number.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.yaml_files import read_yaml

FOLDER = Path(__file__).with_name("published")
AXES = ("system", "split", "measure")
SCALES = (1, 100)
DIGITS = 16  # what a division by 100 adds behind them is no number of the source
PROTOCOL = ("query_length", "document_length", "query_prompt", "document_prompt", "mode")
KEYS = (
    "title", "source", "rows", "columns", "scale", "protocol", "remarks", "average", "aliases", "names", "values", *AXES
)  # fmt: skip


@dataclass(frozen=True)
class PublishedValue:
    """One published number.

    Attributes:
        system: which system, as the source names it.
        split: which collection, as the source names it.
        measure: in our names, such as ``ndcg@10``.
        value: between 0 and 1, as our records have it.
        printed: as the source prints it, per cent where it does.
    """

    system: str
    split: str
    measure: str
    value: float
    printed: float


@dataclass(frozen=True)
class PublishedTable:
    """One table of a source.

    Attributes:
        name: how ``compare.published`` asks for it.
        title: what was measured.
        source: where it was published.
        protocol: how, as far as the source says it: lengths in tokens, prompts, search mode.
        remarks: what else one must know to compare with it.
        values: its numbers, row by row.
        average: the split that is the mean of all others; None without one.
        aliases: other names of its splits, ``name`` or ``name/split`` (a split of test data unless named).
    """

    name: str
    title: str
    source: str
    protocol: Mapping[str, Any]
    remarks: tuple[str, ...]
    values: tuple[PublishedValue, ...]
    average: str | None = None
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """Its splits in their order."""
        return tuple(dict.fromkeys(value.split for value in self.values))


@functools.cache
def published_tables(folder: Path = FOLDER) -> dict[str, PublishedTable]:
    """All tables by name.

    Args:
        folder: where the YAML files are.

    Raises:
        InputError: a file that is no YAML, or a table with an unknown key, an impossible value, rows of another
            length than ``names``, or the name of another table.
    """
    tables: dict[str, PublishedTable] = {}
    for path in sorted(folder.glob("*.yaml")):
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise InputError(f"{path}: tables by name are needed, not {content!r}")
        for name, raw in content.items():
            if name in tables:
                raise InputError(f"{path}: the name {name} is taken by another table")
            tables[name] = _table(f"{path}, {name}", name, raw)
    return tables


def published_table(name: str) -> PublishedTable:
    """A table by its name.

    Raises:
        InputError: no such table; the message lists those there are.
    """
    tables = published_tables()
    if name not in tables:
        raise InputError(f"compare.published: no table {name}; there are {', '.join(tables)}")
    return tables[name]


def _table(where: str, name: str, raw: Mapping[str, Any]) -> PublishedTable:
    """Check one table and bring it into one form."""

    def need(right: bool, problem: str) -> None:
        if not right:
            raise InputError(f"{where}: {problem}")

    need(isinstance(raw, dict), f"keys and values are needed, not {raw!r}")
    need(not (unknown := raw.keys() - set(KEYS)), f"unknown keys {sorted(unknown)}")
    missing = {"title", "source", "rows", "columns", "scale", "names", "values"} - raw.keys()
    need(not missing, f"missing keys {sorted(missing)}")
    rest = [axis for axis in AXES if axis not in (raw["rows"], raw["columns"])]
    need(len(rest) == 1, f"rows and columns must be two of {', '.join(AXES)}")
    need(isinstance(raw.get(rest[0]), str), f"{rest[0]} must name the one {rest[0]} of the table")
    need(
        not (both := raw.keys() & {raw["rows"], raw["columns"]}), f"{sorted(both)} vary, and have no one name"
    )
    need(raw["scale"] in SCALES, f"scale must be one of {SCALES}")
    protocol = raw.get("protocol") or {}
    need(not (unknown := protocol.keys() - set(PROTOCOL)), f"unknown keys of protocol {sorted(unknown)}")
    values = []
    for row, cells in raw["values"].items():
        need(len(cells) == len(raw["names"]), f"{row} has {len(cells)} values for {len(raw['names'])} names")
        for column, printed in zip(raw["names"], cells, strict=True):
            if printed is None:
                continue
            number = isinstance(printed, int | float) and not isinstance(printed, bool)
            need(
                number and 0 <= printed <= raw["scale"],
                f"{row}, {column}: {printed!r} is no value of a measure",
            )
            at = {rest[0]: raw[rest[0]], raw["rows"]: str(row), raw["columns"]: str(column)}
            need(
                re.fullmatch(r"[a-z0-9]+@[1-9][0-9]*", at["measure"]) is not None,
                f"measure {at['measure']!r}",
            )
            values.append(
                PublishedValue(**at, value=round(printed / raw["scale"], DIGITS), printed=float(printed))
            )
    splits = {value.split for value in values}
    need(raw.get("average") in {None, *splits}, f"average: no split is named {raw.get('average')!r}")
    aliases = {split: tuple(names) for split, names in (raw.get("aliases") or {}).items()}
    need(not (unknown := aliases.keys() - splits), f"aliases: no splits are named {sorted(unknown)}")
    remarks = tuple(raw.get("remarks") or ())
    return PublishedTable(
        name, raw["title"], raw["source"], protocol, remarks, tuple(values), raw.get("average"), aliases
    )
