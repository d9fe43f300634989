"""The measurements of the suite on disk, and whether sides did the same work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite_cells import Cell, Group
from suite_table import cell_of, group_of, whole_rounds

SMALLEST_LOSS = 1e-6
Pair = Sequence[Cell]
"""A group's first cell and another one, or the first alone."""


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

    def add(self, group: Group, pair: Pair, cell: Cell, **values: Any) -> None:
        """Write a measurement of one of a pair that took turns."""
        line = {"workload": group.workload, "case": group.case, "precision": group.precision}
        line |= {
            "side": cell.side,
            "variant": cell.variant,
            "pair": [pair[-1].side, pair[-1].variant],
            **values,
        }
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)

    def _of(self, group: Group) -> list[dict[str, Any]]:
        wanted = (group.workload, group.case, group.precision)
        return [line for line in self.lines if group_of(line) == wanted]

    def rounds(self, group: Group, cell: Cell) -> int:
        """How many rounds of a cell there are, in all its pairs."""
        of_cell = [line for line in self._of(group) if cell_of(line) == (cell.side, cell.variant)]
        return sum(line["kind"] == "round" for line in of_cell)

    def missing(self, group: Group, pair: Pair, repeats: int) -> list[int]:
        """Rounds of a pair that are still to be measured; where one of the two failed, it is tried again."""
        done = whole_rounds(self._of(group), [(cell.side, cell.variant) for cell in pair])
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
