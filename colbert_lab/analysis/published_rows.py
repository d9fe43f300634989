"""Published numbers beside measured ones, with every known difference in how the two were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from colbert_lab.analysis.compare import Comparison
from colbert_lab.analysis.configurations import Configuration
from colbert_lab.analysis.measured import STUDENT, Place
from colbert_lab.analysis.published_tables import PublishedTable, PublishedValue, published_table
from colbert_lab.analysis.rows import DEV_NAMES, split_details
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import read_json_or
from colbert_lab.records.run_files import SplitFacts, read_config
from colbert_lab.records.runs import Run

RULES_FILE = "colbert_lab.json"


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
        raise InputError(
            f"compare.published: nothing of {table.name} was measured; it has {measures} on {', '.join(table.splits)}"
        )
    modes = ", ".join(dict.fromkeys(place.mode for place in values))
    notes = [
        f"{table.title}; {table.source}. Made with {_spelled(table.protocol)}. There are no values for each "
        "query, so nothing is tested against it.",
        *table.remarks,
        f"Measured beside it: {'; '.join(splits.values())}.",
    ]
    for label, configuration, phase in _students(comparison, values):
        rules = _rules(configuration.runs[0], phase)
        if rules is None:
            notes.append(f"{label}: {modes} search; its lengths and prompts are in its config.yaml.")
            continue
        mine = {**rules, "mode": modes}
        differs = [
            f"{_named(key, mine[key])} (published {_named(key, table.protocol[key])})"
            for key in mine
            if key in table.protocol and mine[key] != table.protocol[key]
        ]
        notes.append(
            f"{label}: measured with {_spelled(mine)}; "
            + (
                f"other than published: {', '.join(differs)}."
                if differs
                else "no setting that is known differs."
            )
        )
    return Beside(table, values, tuple(notes))


def _students(
    comparison: Comparison, values: Mapping[Place, tuple[PublishedValue, ...]]
) -> list[tuple[str, Configuration, str]]:
    """Label, configuration and phase of the students that stand beside a published number."""
    found = {
        each.row.label: (each.row.label, each.row.configuration, each.row.phase)
        for place in values
        for each in comparison.compared[place]
        if each.row.system == STUDENT
    }
    return list(found.values())


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
    size = [f"{n_queries:,} queries"]
    if "documents" in details:
        size.append(f"{details['documents']:,} documents")
    return f"{place.dataset}, {place.split}: {', '.join(size)}"


def _rules(run: Run, phase: str) -> dict[str, Any] | None:
    """Lengths and prompts that a student was measured with, from its folder or the run's config; None if unknown."""
    path = run.path / phase / STUDENT / RULES_FILE
    try:
        if not path.is_file():
            config = read_config(run.path)
            student, prompts = config["student"], config["prompts"]
            if student["checkpoint"] is None:
                return {
                    "query_length": student["query_length"],
                    "document_length": student["document_length"],
                    "query_prompt": prompts["query"] or "",
                    "document_prompt": prompts["document"] or "",
                }
            path = Path(student["checkpoint"]).expanduser() / RULES_FILE
        tokens = read_json_or(path, StudentFile)["tokens"]
        return {
            key: tokens[key] for key in ("query_length", "document_length", "query_prompt", "document_prompt")
        }
    except (KeyError, TypeError):
        return None


def _spelled(protocol: Mapping[str, Any]) -> str:
    return (
        ", ".join(_named(key, value) for key, value in protocol.items()) or "settings that it does not give"
    )


def _named(key: str, value: Any) -> str:
    side, _, what = key.partition("_")
    if what == "length":
        return f"{side} length {value:,}"
    if what == "prompt":
        return f"{side} prompt {value!r}" if value else f"no {side} prompt"
    return f"{value} search"
