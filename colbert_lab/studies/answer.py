"""Everything that a study shows, put together once: for its README and for its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from colbert_lab.base.layout import Table
from colbert_lab.studies.evidence import Finding, findings, runs_of, verdict
from colbert_lab.studies.figures import Picture, pictures
from colbert_lab.studies.rows import read_rows
from colbert_lab.studies.study import Cell, Study, shown, student_folder
from colbert_lab.studies.study_runs import StudyRun
from colbert_lab.studies.tables import cells_table, claims_table, phases_table, runs_table


@dataclass(frozen=True)
class CellCommands:
    """A cell with the commands that make its runs.

    Attributes:
        cell: the cell.
        stage: ``confirmed`` or ``screened``, with the number of seeds.
        commands: one for each seed, or one for all seeds as a sweep.
    """

    cell: Cell
    stage: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a study says.

    Attributes:
        study: the study.
        runs: its rows.
        found: its claims, tested.
        verdict: in one sentence.
        tables: in the order in which they are shown.
        pictures: likewise.
        commands: of each cell.
    """

    study: Study
    runs: tuple[StudyRun, ...]
    found: tuple[Finding, ...]
    verdict: str
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    commands: tuple[CellCommands, ...]


def answer(study: Study) -> Answer:
    """Read the rows of a study and follow its decision rule.

    Args:
        study: the study.

    Raises:
        InputError: its rows are damaged or do not belong together, or matplotlib is not installed.
    """
    runs = read_rows(study)
    found = findings(study, runs)
    tables = [claims_table(study, found)]
    if runs:
        phases = phases_table(study, runs)
        tables += [cells_table(study, runs), *([phases] if phases else []), runs_table(study, runs)]
    commands = tuple(
        CellCommands(cell, _stage(study, cell), _commands(study, cell, runs)) for cell in study.cells.values()
    )
    drawn = pictures(study, runs, found)
    return Answer(study, tuple(runs), tuple(found), verdict(found), tuple(tables), tuple(drawn), commands)


def _stage(study: Study, cell: Cell) -> str:
    seeds = study.seeds_of(cell.name)
    kind = "confirmed" if cell.name in study.confirmed else "screened"
    return f"{kind}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"


def _commands(study: Study, cell: Cell, runs: Sequence[StudyRun]) -> tuple[str, ...]:
    if cell.student_of is None:
        return (shown(study, cell, study.seeds_of(cell.name)),)
    made = []
    for seed in study.seeds_of(cell.name):
        parent = [run for run in runs_of(runs, cell.student_of.cell) if run.seed == seed]
        student = (
            student_folder(study, parent[0].run_id, cell.student_of.phase or parent[0].last) if parent else ""
        )
        made.append(shown(study, cell, [seed], student))
    return tuple(made)
