"""The commands that make the runs of a study: to execute, and to show beside the numbers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colbert_lab.studies.study import Cell, Study

COLLECTIONS = "COLLECTIONS"
"""What a shown command has in place of the folder of collections."""
PROGRAM = "python -m colbert_lab"


@dataclass(frozen=True)
class Places:
    """Where things are on a machine.

    Attributes:
        outputs: the runs' ``output_dir``.
        collections: folder of collections in BEIR layout.
    """

    outputs: str = "outputs"
    collections: str = COLLECTIONS

    def work(self, study: Study) -> str:
        """Folder of the data that a study prepares."""
        return f"{self.outputs}/{study.name}_data"

    def filled(self, study: Study, text: str, student: str = "{student}") -> str:
        """A text with its placeholders filled in."""
        for name, value in (
            ("collections", self.collections),
            ("work", self.work(study)),
            ("student", student),
        ):
            text = text.replace(f"{{{name}}}", value)
        return text


def overrides(study: Study, cell: Cell, seed: int, places: Places, student: str = "{student}") -> list[str]:
    """What one run's command line sets.

    Args:
        study: the study.
        cell: the cell.
        seed: the seed.
        places: where collections and outputs are.
        student: the parent's trained student, for a cell that starts from one.
    """
    given = [places.filled(study, each, student) for each in (*study.fixed, *cell.overrides)]
    return [*given, f"name={study.name}", f"seed={seed}"]


def shown(study: Study, cell: Cell, seed: int, student: str = "") -> str:
    """One run's command as a reader types it, from the top of the checkout.

    Args:
        study: the study.
        cell: the cell.
        seed: the seed.
        student: the parent's trained student, for a cell that starts from one.
    """
    stand_in = f"STUDENT_OF_{cell.student_of}"
    words = overrides(study, cell, seed, Places(), student or stand_in)
    program = PROGRAM.replace("python", f"{cell.environment.upper()}_PYTHON" if cell.environment else "python")
    return " ".join([program, *map(shlex.quote, words)])


def preparations(study: Study, places: Places, python: str = "python") -> list[tuple[Path, list[str]]]:
    """What each preparation makes, and its command.

    Args:
        study: the study.
        places: where collections and outputs are.
        python: the interpreter.
    """
    made = []
    for each in study.prepare:
        words = shlex.split(places.filled(study, each.command))
        made.append(
            (Path(places.filled(study, each.makes)), [python if w == "python" else w for w in words])
        )
    return made


def student_folder(study: Study, run_id: str, phase: str, outputs: str = "outputs") -> str:
    """Where a run of the study left its student."""
    return f"{outputs}/{study.name}/{run_id}/{phase}/student"


def parents(cells: Mapping[str, Cell]) -> dict[str, str]:
    """The cell that each cell starts from, where it starts from one."""
    return {name: cell.student_of for name, cell in cells.items() if cell.student_of}
