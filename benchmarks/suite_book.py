"""The measurements of the suite on disk, and whether sides did the same work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from suite_cells import Cell, Group
from suite_table import failures, group_of, whole_rounds

SMALLEST_LOSS = 1e-6


class Book:
    """The measurements of a folder.

    Attributes:
        lines: all of them, oldest first.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.file = out, out / "measurements.jsonl"
        text = self.file.read_text(encoding="utf-8") if self.file.is_file() else ""
        # A line that an interruption cut off has no end and is written anew.
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.file.write_text(whole, encoding="utf-8")
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]

    def add(self, group: Group, cell: Cell, **values: Any) -> None:
        """Write a measurement."""
        line = {"workload": group.workload, "case": group.case, "precision": group.precision}
        line |= {"side": cell.side, "variant": cell.variant, **values}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)

    def of(self, group: Group) -> list[dict[str, Any]]:
        """Measurements of a group."""
        return [
            line for line in self.lines if group_of(line) == (group.workload, group.case, group.precision)
        ]

    def missing(self, group: Group, repeats: int) -> list[int]:
        """Rounds that are still to be measured; a cell that cannot be measured is tried again with the next of them."""
        lines, cells = self.of(group), [(cell.side, cell.variant) for cell in group.cells]
        if all(cell in failures(lines) for cell in cells):
            return list(range(repeats))
        done = whole_rounds(lines, cells)
        return [n for n in range(repeats) if n not in done]


def how_different(
    check: str, one: dict[str, Any], ours: dict[str, Any], spec: dict[str, Any], spec_of_ours: dict[str, Any]
) -> float:
    """How far a side is from colbert_lab: see ``suite_cells.TOLERANCES``; infinite where tokens differ.

    A loss of zero says nothing about what was computed: not a number.
    """
    if check == "loss":
        if abs(ours["loss"]) < SMALLEST_LOSS:
            return float("nan")
        return float(abs(one["loss"] - ours["loss"]) / abs(ours["loss"]))
    if check == "value":
        return float(abs(one["value"] - ours["value"]))
    import numpy as np

    with np.load(spec["embeddings"]) as theirs, np.load(spec_of_ours["embeddings"]) as mine:
        pairs = [(theirs[name], mine[name]) for name in mine.files]
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return float(np.max([np.abs(a - b).max() for a, b in pairs]))
