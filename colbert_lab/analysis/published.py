"""Published numbers, value for value, and beside measured ones with every known difference in how both were made.

They are the tables of model cards in ``published/*.yaml``. A file holds tables by name. Two of system, split and
measure run along ``rows`` and ``columns``; the third is the same everywhere and is given by its name. ``names`` are the
columns, ``values`` the rows as printed, ``null`` where the source has no number.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from colbert_lab.analysis.compare import Comparison
from colbert_lab.analysis.measured import Place
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import read_json_or
from colbert_lab.base.types import DEV_NAMES
from colbert_lab.base.yaml_files import read_yaml
from colbert_lab.records.run_files import SplitFacts, read_config, split_details
from colbert_lab.records.runs import STUDENT, Run

FOLDER = Path(__file__).with_name("published")
AXES = ("system", "split", "measure")
SCALES = (1, 100)
DIGITS = 16  # what a division by 100 adds behind them is no number of the source
MEASURE = re.compile(r"[a-z0-9]+@[1-9][0-9]*")
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
    both = raw.keys() & {raw["rows"], raw["columns"]}
    need(not both, f"{sorted(both)} vary, and have no one name")
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
            right = number and 0 <= printed <= raw["scale"]
            need(right, f"{row}, {column}: {printed!r} is no value of a measure")
            at = {rest[0]: raw[rest[0]], raw["rows"]: str(row), raw["columns"]: str(column)}
            need(MEASURE.fullmatch(at["measure"]) is not None, f"measure {at['measure']!r}")
            value = round(printed / raw["scale"], DIGITS)
            values.append(PublishedValue(**at, value=value, printed=float(printed)))
    splits = {value.split for value in values}
    need(raw.get("average") in {None, *splits}, f"average: no split is named {raw.get('average')!r}")
    aliases = {split: tuple(names) for split, names in (raw.get("aliases") or {}).items()}
    need(not (unknown := aliases.keys() - splits), f"aliases: no splits are named {sorted(unknown)}")
    remarks = tuple(raw.get("remarks") or ())
    return PublishedTable(
        name, raw["title"], raw["source"], protocol, remarks, tuple(values), raw.get("average"), aliases
    )


RULES_FILE = "colbert_lab.json"
SAME = "no setting that is known differs"


class StudentFile(TypedDict):
    """What is read of it."""

    tokens: dict[str, Any]


@dataclass(frozen=True)
class Beside:
    """The part of a published table that was also measured.

    Attributes:
        table: the whole table.
        values: its numbers by the place that they stand beside.
        notes: how both were made, and what differs.
    """

    table: PublishedTable
    values: Mapping[Place, tuple[PublishedValue, ...]]
    notes: tuple[str, ...]

    def at(self, place: Place) -> tuple[PublishedValue, ...]:
        """The numbers that stand beside what was measured there."""
        return self.values.get(place, ())


def set_beside(names: Sequence[str], comparison: Comparison) -> list[Beside]:
    """The published numbers of the splits and measures that were measured.

    A published split is found by its name or one of its aliases, in any spelling, as the dataset or the split of
    a record; never on a dev split unless the alias names it.

    Args:
        names: names of published tables.
        comparison: what was measured.

    Raises:
        InputError: no such table, or a table none of whose numbers stands beside a measured one.
    """
    return [_beside(published_table(name), comparison) for name in dict.fromkeys(names)]


def _beside(table: PublishedTable, comparison: Comparison) -> Beside:
    values = {}
    splits: dict[tuple[str, str], str] = {}
    for place, rows in comparison.compared.items():
        details = split_details(rows[0].row.configuration.runs[0].path).get(place.split, {})
        found = tuple(
            value
            for value in table.values
            if value.measure == place.measure and _is_split(table, value.split, place, details)
        )
        if found:
            values[place] = found
            splits[place.dataset, place.split] = _size(place, details, rows[0].row.n_queries)
    if not values:
        measures = ", ".join(dict.fromkeys(value.measure for value in table.values))
        has = f"{measures} on {', '.join(table.splits)}"
        raise InputError(f"compare.published: nothing of {table.name} was measured; it has {has}")
    modes = ", ".join(dict.fromkeys(place.mode for place in values))
    notes = [
        f"{table.title}; {table.source}. Made with {_spelled(table.protocol)}. There are no values for each "
        "query, so nothing is tested against it.",
        *table.remarks,
        f"Measured beside it: {'; '.join(splits.values())}.",
    ]
    beside = [each.row for place in values for each in comparison.compared[place]]
    for label, row in {row.label: row for row in beside if row.system == STUDENT}.items():
        rules = _rules(row.configuration.runs[0], row.phase)
        if rules is None:
            notes.append(f"{label}: {modes} search; its lengths and prompts are in its config.yaml.")
            continue
        mine = {**rules, "mode": modes}
        differs = [
            f"{_named(key, value)} (published {_named(key, table.protocol[key])})"
            for key, value in mine.items()
            if table.protocol.get(key, value) != value
        ]
        said = f"other than published: {', '.join(differs)}" if differs else SAME
        notes.append(f"{label}: measured with {_spelled(mine)}; {said}.")
    return Beside(table, values, tuple(notes))


def _is_split(table: PublishedTable, split: str, place: Place, details: SplitFacts) -> bool:
    part = str(details.get("split", place.split))
    measured = {_plain(place.dataset), _plain(place.dataset.rpartition("/")[2]), _plain(place.split)}
    named = [alias.partition("/") for alias in table.aliases.get(split, ())]
    # A part that an alias names is the published one; otherwise it is the test data.
    parts = {_plain(name): wanted for name, _, wanted in [(split, "", ""), *named]}
    found = [parts[name] for name in measured if name in parts]
    return any(part == wanted if wanted else part not in DEV_NAMES for wanted in found)


def _plain(name: str) -> str:
    """Letters and digits only: ``TREC-COVID`` and ``trec_covid`` are one name."""
    return "".join(c for c in name.casefold() if c.isalnum())


def _size(place: Place, details: SplitFacts, n_queries: int) -> str:
    documents = f", {details['documents']:,} documents" if "documents" in details else ""
    return f"{place.dataset}, {place.split}: {n_queries:,} queries{documents}"


def _rules(run: Run, phase: str) -> dict[str, Any] | None:
    """Lengths and prompts that a student was measured with, from its folder or the run's config; None if unknown."""
    path = run.path / phase / STUDENT / RULES_FILE
    try:
        if not path.is_file():
            config = read_config(run.path)
            student, prompts = config["student"], config["prompts"]
            if student["checkpoint"] is None:
                given = {f"{role}_prompt": prompts[role] or "" for role in ("query", "document")}
                return {key: student[key] for key in PROTOCOL[:2]} | given
            path = Path(student["checkpoint"]).expanduser() / RULES_FILE
        tokens = read_json_or(path, StudentFile)["tokens"]
        return {key: tokens[key] for key in PROTOCOL[:4]}
    except (KeyError, TypeError):
        return None


def _spelled(protocol: Mapping[str, Any]) -> str:
    told = ", ".join(_named(key, value) for key, value in protocol.items())
    return told or "settings that it does not give"


def _named(key: str, value: Any) -> str:
    side, _, what = key.partition("_")
    if what == "length":
        return f"{side} length {value:,}"
    if what == "prompt":
        return f"{side} prompt {value!r}" if value else f"no {side} prompt"
    return f"{value} search"
