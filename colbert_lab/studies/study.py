"""What a study asks, the cells that it runs, and the rule that turns their numbers into a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
        cost: of training, in a figure of quality against it, see :data:`colbert_lab.analysis.pareto.COSTS`; None for a
            study that does not ask what its cells cost.
        prepare: data that is made first.
        limits: what it cannot tell, one sentence each.
        conclusion: written after the runs.
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
    cost: str | None = None
    prepare: tuple[Preparation, ...] = ()
    limits: tuple[str, ...] = ()
    conclusion: str = ""

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
