"""Which phases trained each student of a study, also those of its parent cell, and what they cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_lab.analysis.configurations import Configuration
from colbert_lab.analysis.lineage import Link, Node, lineage
from colbert_lab.records.by_query import ByQuery
from colbert_lab.records.cost import PhaseCost, cost_of
from colbert_lab.records.runs import Run
from colbert_lab.studies.evidence import runs_of
from colbert_lab.studies.study import Study
from colbert_lab.studies.study_runs import STUDENT, Key, StudyRun

if TYPE_CHECKING:
    import numpy as np


def chain(study: Study, runs: Sequence[StudyRun], run: StudyRun) -> list[Link]:
    """The phases behind a run's last student, the first one first.

    Args:
        study: the study.
        runs: all of its runs.
        run: one of them.
    """
    parent = study.cells[run.cell].student_of
    before = [each for each in runs_of(runs, parent.cell if parent else "") if each.seed == run.seed]
    own = [
        Link(name, str(facts["phase_hash"]), cost_of(facts), run.cell)
        for name, facts in run.facts.get("phases", {}).items()
    ]
    behind = [link for each in before for link in chain(study, runs, each)]
    names = [link.name for link in behind]
    if parent is not None and parent.phase in names:
        behind = behind[: names.index(parent.phase) + 1]
    return [*behind, *own]


@dataclass(frozen=True)
class RecordedRun(Run):
    """A run whose numbers come from the rows of a study, for everything that analyses runs.

    Attributes:
        recorded: every query's value.
        queries: their ids.
        measure: of the values.
        costs: of each phase.
    """

    recorded: Mapping[Key, np.ndarray]
    queries: tuple[str, ...]
    measure: str
    costs: Mapping[str, PhaseCost]

    def by_query(self, phase: str, split: str, measure: str, system: str = STUDENT) -> ByQuery | None:
        """The values of each query; None where the rows do not have them."""
        record = self.record(phase, split, measure, system)
        found = None if record is None else self.recorded.get(Key(system, phase, record.variant))
        return None if found is None or measure != self.measure else ByQuery(self.queries, found, ())

    @property
    def trained(self) -> tuple[str, ...]:
        """See :attr:`colbert_lab.records.runs.Run.trained`."""
        return tuple(dict.fromkeys([*self.costs, *self.phases]))

    def cost(self, phase: str) -> PhaseCost | None:
        """What a phase took; the first phase after another cell's student counts that one's phases too."""
        return self.costs.get(phase)


@dataclass(frozen=True)
class StudyCell(Configuration):
    """A cell as a configuration that is called by its title."""

    @property
    def label(self) -> str:
        """The cell's title."""
        return next(iter(self.factors.values()))


def configurations(study: Study, runs: Sequence[StudyRun]) -> list[Configuration]:
    """The cells that were trained, as what :mod:`colbert_lab.analysis.pareto` reads.

    Args:
        study: the study.
        runs: its rows.
    """
    found: list[Configuration] = []
    for cell in study.cells.values():
        trained = [run for run in runs_of(runs, cell.name) if run.facts.get("phases")]
        if trained:
            recorded = tuple(_recorded(study, runs, run) for run in trained)
            found.append(StudyCell({"cell": cell.title}, {"cell": cell.name}, recorded))
    return found


def _recorded(study: Study, runs: Sequence[StudyRun], run: StudyRun) -> RecordedRun:
    costs: dict[str, PhaseCost] = {}
    earlier: list[Link] = []
    for link in chain(study, runs, run):
        if link.cell != run.cell:
            earlier.append(link)
        else:
            costs[link.name] = link.cost if costs else _with(link.cost, earlier)
    return RecordedRun(
        Path(run.run_id), run.run_id, run.seed, str(run.facts.get("config_hash", "")), {}, run.records,
        run.values, run.query_ids, study.measure, costs,
    )  # fmt: skip


def _with(cost: PhaseCost, earlier: Sequence[Link]) -> PhaseCost:
    others = [link.cost for link in earlier]
    flops = [each.flops for each in (cost, *others)]
    return replace(
        cost,
        seconds=cost.seconds + sum(each.seconds for each in others),
        tokens=cost.tokens + sum(each.tokens for each in others),
        steps=cost.steps + sum(each.steps for each in others),
        flops=None if None in flops else sum(value for value in flops if value is not None),
    )


def study_lineage(study: Study, runs: Sequence[StudyRun]) -> Node:
    """The tree of phases of all cells, see :func:`colbert_lab.analysis.lineage.lineage`.

    Args:
        study: the study.
        runs: its rows.
    """
    return lineage(
        {
            cell.title: [chain(study, runs, run) for run in runs_of(runs, cell.name)]
            for cell in study.cells.values()
        }
    )


def mean_cost(study: Study, runs: Sequence[StudyRun], cell: str) -> tuple[float, float] | None:
    """Seconds of training and tokens behind a cell's student, also of phases that another run trained, over its seeds.

    Returns:
        None where the runs of its phases are not all there.
    """
    links = [chain(study, runs, run) for run in runs_of(runs, cell)]
    if not links or not all(links):
        return None
    seconds = statistics.fmean(sum(link.cost.seconds for link in each) for each in links)
    return seconds, statistics.fmean(sum(link.cost.tokens for link in each) for each in links)


def whole_cost(runs: Sequence[StudyRun]) -> list[str]:
    """What all runs of a study took together, in a sentence; nothing where they do not say so."""
    trained = [
        (run.seed, phase["phase_hash"], phase["seconds"])
        for run in runs
        for phase in run.facts.get("phases", {}).values()
        if phase.get("reused_from") is None and phase.get("seconds") is not None
    ]
    if not trained:
        return []
    hours = sum({(seed, phase): seconds for seed, phase, seconds in trained}.values()) / 3600
    told = f"All phases of all runs, each trained once, took {hours:.1f} hours of training."
    took = [run.facts["seconds"] for run in runs if run.facts.get("seconds")]
    if took:
        some = "they" if len(took) == len(runs) else f"{len(took)} of the {len(runs)} runs"
        told += (
            f" With loading, baselines and evaluations {some} took {sum(took) / 3600:.1f} hours, run by run."
        )
    return [told]
