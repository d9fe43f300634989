"""The commands that make the runs of a study: to execute, and to show beside the numbers."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
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


def shown(study: Study, cell: Cell, seeds: Sequence[int], student: str = "") -> str:
    """A command as a reader types it, from the top of the checkout; with several seeds it is a sweep.

    Args:
        study: the study.
        cell: the cell.
        seeds: the seeds.
        student: the parent's trained student, for a cell that starts from one.
    """
    stand_in = f"STUDENT_OF_{cell.student_of}".replace("/", "_")
    words = overrides(study, cell, seeds[0], Places(), student or stand_in)
    if len(seeds) > 1:
        words = ["-m", *words[:-1], f"seed={','.join(map(str, seeds))}"]
    program = PROGRAM.replace(
        "python", f"${cell.environment.upper()}_PYTHON" if cell.environment else "python"
    )
    return " ".join([program, *map(shlex.quote, words)])


def needs_collections(study: Study) -> bool:
    """Whether a study reads collections that are not embedded."""
    texts = [*study.fixed, *(each for cell in study.cells.values() for each in cell.overrides)]
    texts += [each.command for each in study.prepare]
    return any("{collections}" in text for text in texts)


def whole_command(study: Study) -> str:
    """The command that makes every run of a study."""
    where = f" --collections {COLLECTIONS}" if needs_collections(study) else ""
    return f"python experiments/study.py run experiments/{study.name}{where}"


def preparations(study: Study, places: Places, python: str = "python") -> list[tuple[Path, list[str]]]:
    """What each preparation makes, and its command.

    Args:
        study: the study.
        places: where collections and outputs are.
        python: the interpreter.
    """
    made = []
    for each in study.prepare:
        words = [places.filled(study, word) for word in shlex.split(each.command)]
        made.append((Path(places.filled(study, each.makes)), [python if w == "python" else w for w in words]))
    return made


def student_folder(study: Study, run_id: str, phase: str, outputs: str = "outputs") -> str:
    """Where a run of the study left its student."""
    return f"{outputs}/{study.name}/{run_id}/{phase}/student"
