"""What a study asks, its cells and the commands that run them, and the rule that makes a verdict of their numbers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from colbert_lab.records.records import EXACT

EXPECTED = ("higher", "lower", "alike")
PLACEHOLDERS = ("collections", "work", "student")
"""What may stand in braces in overrides: the folder of collections, one for prepared data, the parent's student."""
NEUTRAL = ("tracking", "progress", "trainer.num_workers", "evaluation.memory")
"""Settings in which a run may differ from its study's commands."""


@dataclass(frozen=True)
class Term:
    """One side of a comparison: ``CELL``, ``CELL/PHASE`` or ``CELL/bm25``, each with ``@MODE`` where it is not exact.

    Attributes:
        cell: name of the cell.
        phase: ``before``, a phase, or a baseline; None for the student after its last phase.
        mode: how it searched.
    """

    cell: str
    phase: str | None = None
    mode: str | None = None

    @classmethod
    def parse(cls, text: str) -> Term:
        """Read it from its text."""
        rest, _, mode = text.partition("@")
        cell, _, phase = rest.partition("/")
        return cls(cell, phase or None, mode or None)

    def __str__(self) -> str:
        return self.cell + (f"/{self.phase}" if self.phase else "") + (f"@{self.mode}" if self.mode else "")


@dataclass(frozen=True)
class Cell:
    """One configuration of a study.

    Attributes:
        name: short, for commands and terms.
        title: what tables call it.
        overrides: what it sets beyond the study's ``fixed``, as on the command line.
        student_of: the cell, and the phase where it is not the last one, whose trained student of the same seed takes
            the place of ``{student}``.
        environment: name of the Python environment that it needs; None for the usual one.
    """

    name: str
    title: str
    overrides: tuple[str, ...] = ()
    student_of: Term | None = None
    environment: str | None = None


@dataclass(frozen=True)
class Claim:
    """A statement that the numbers can support or contradict.

    Attributes:
        claim: the statement.
        weights: of the terms; they sum to 0. The tested number is the weighted sum of the terms' values.
        expect: what the statement says of it: ``higher`` than 0, ``lower``, or ``alike`` (within ``margin`` of 0).
        margin: the smallest difference that counts.
        source: who says so, with its numbers.
    """

    claim: str
    weights: Mapping[Term, float]
    expect: str
    margin: float
    source: str = ""


@dataclass(frozen=True)
class Preparation:
    """Data that a study makes before its runs.

    Attributes:
        makes: the file or folder, with placeholders; the command is left out where it is there.
        command: with placeholders.
    """

    makes: str
    command: str


@dataclass(frozen=True)
class Study:
    """The content of ``study.yaml``; see ``experiments/README.md`` for its keys.

    Attributes:
        folder: where it is; its name is the runs' ``name``.
        title: of the page.
        question: what is asked.
        prediction: what is expected and why, written before the runs.
        factors: what varies, one sentence each.
        held_fixed: what does not, one sentence each.
        fixed: overrides of every cell, ``+experiment=...`` first.
        cells: by name.
        seeds: of the confirmed cells; the first one screens.
        screened: cells that get one seed.
        confirmed: cells that get every seed.
        claims: the decision rule.
        measure: that the claims are about.
        split: where it is measured, by its name in ``evaluation.splits``.
        modes: how students search; the first is shown where one is.
        beside: other splits, whose values are shown and tested by no claim.
        cost: of training, in a figure of quality against it, see :data:`colbert_lab.analysis.pareto.COSTS`; None for a
            study that does not ask what its cells cost.
        curves: recipes, each with the cells that are trained with it at several amounts; their laws are fitted.
        prepare: data that is made first.
        limits: what it cannot tell, one sentence each.
        conclusion: written after the runs.
        front: numbers of the claims that stand on the front page of the project; of one study alone.
    """

    folder: Path
    title: str
    question: str
    prediction: str
    factors: tuple[str, ...]
    held_fixed: tuple[str, ...]
    fixed: tuple[str, ...]
    cells: Mapping[str, Cell]
    seeds: tuple[int, ...]
    confirmed: tuple[str, ...]
    claims: tuple[Claim, ...]
    screened: tuple[str, ...] = ()
    measure: str = "ndcg@10"
    split: str = "test"
    modes: tuple[str, ...] = (EXACT,)
    beside: tuple[str, ...] = ()
    cost: str | None = None
    curves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prepare: tuple[Preparation, ...] = ()
    limits: tuple[str, ...] = ()
    conclusion: str = ""
    front: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Name of the folder, which is the name of its runs."""
        return self.folder.resolve().name

    @property
    def main(self) -> str:
        """The search mode that is meant where none is named."""
        return EXACT if EXACT in self.modes else self.modes[0]

    def seeds_of(self, cell: str) -> tuple[int, ...]:
        """The seeds that a cell is run with."""
        return self.seeds if cell in self.confirmed else self.seeds[:1]

    def plan(self) -> list[tuple[Cell, int]]:
        """Every run, in the order in which they are made: seed by seed, a parent before what starts from it."""
        order = sorted(self.cells.values(), key=lambda cell: cell.student_of is not None)
        return [(cell, seed) for seed in self.seeds for cell in order if seed in self.seeds_of(cell.name)]


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
