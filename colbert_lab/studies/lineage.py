"""Which phases trained each student of a study, also those of its parent cell: what they cost, and a picture."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_lab.analysis.configurations import Configuration
from colbert_lab.analysis.figures import COLOURS
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.records.cost import PhaseCost, cost_of
from colbert_lab.records.runs import Run
from colbert_lab.studies.evidence import runs_of
from colbert_lab.studies.study import Study
from colbert_lab.studies.study_runs import STUDENT, Key, StudyRun

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Link:
    """A trained phase.

    Attributes:
        name: of the phase.
        identity: its hash.
        cost: what it took.
        cell: whose run it is.
    """

    name: str
    identity: str
    cost: PhaseCost
    cell: str


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

    def per_query(self, phase: str, split: str, measure: str) -> PerQuery | None:
        """The values of each query; None where the rows do not have them."""
        record = self.record(phase, split, measure)
        found = None if record is None else self.recorded.get(Key(STUDENT, phase, record.variant))
        return None if found is None or measure != self.measure else PerQuery(self.queries, {measure: found})

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


BOX, ROW, GAP = (
    132,
    46,
    36,
)  # width of a phase, height of a row, space between columns, in units of the picture
LEAF = 230  # width of a cell's title
LINE = 24  # characters of a line of it


@dataclass
class Node:
    """A phase, and the cells and phases that go on from it.

    Attributes:
        name: of the phase.
        seconds: of its training, one a run.
        children: by the identities of the phase over the seeds.
        cells: titles of the cells whose student this is.
        row: place from above, once it is laid out.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    children: dict[tuple[str, ...], Node] = field(default_factory=dict)
    cells: list[str] = field(default_factory=list)
    row: float = 0.0


def lineage(study: Study, runs: Sequence[StudyRun]) -> Node:
    """The tree of phases, from the untrained student.

    Two cells share a phase where they share its identity with every seed that both have; a cell with fewer seeds than
    another one finds its place by those that it has.
    """
    root = Node("untrained")
    for cell in sorted(study.cells.values(), key=lambda cell: -len(runs_of(runs, cell.name))):
        chains = [chain(study, runs, run) for run in runs_of(runs, cell.name)]
        if not chains or not all(chains):
            continue
        node = root
        for step in range(min(map(len, chains))):
            node = _next(node, [links[step] for links in chains])
        node.cells.append(cell.title)
    return root


def _next(node: Node, links: Sequence[Link]) -> Node:
    mine = tuple(link.identity for link in links)
    child = next((child for known, child in node.children.items() if set(mine) <= set(known)), None)
    if child is None:
        child = node.children[mine] = Node(links[0].name)
    child.seconds += [link.cost.seconds for link in links]
    return child


def lineage_svg(study: Study, runs: Sequence[StudyRun]) -> tuple[str, str]:
    """The picture, and the same in words.

    Args:
        study: the study.
        runs: its rows.
    """
    root = lineage(study, runs)
    rows, depth = _lay_out(root, 0)
    width = (depth + 1) * (BOX + GAP) + LEAF
    parts, told = _drawn(root, 0), _told(root, [])
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {max(rows, 1) * ROW + 10}" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="13">\n{"".join(parts)}</svg>\n'
    )
    return svg, f"Lineage. {'; '.join(told)}."


def _lay_out(node: Node, first: float) -> tuple[float, int]:
    """Give every node its row; returns the rows below it and the columns to its right."""
    taken, deepest = float(len(node.cells)), 0
    rows = [first + n for n in range(len(node.cells))]
    for child in node.children.values():
        used, depth = _lay_out(child, first + taken)
        rows.append(child.row)
        taken, deepest = taken + used, max(deepest, depth + 1)
    node.row = (rows[0] + rows[-1]) / 2 if rows else first
    return max(taken, 1.0), deepest


def _drawn(node: Node, column: int, first: float = 0.0) -> list[str]:
    x, y = column * (BOX + GAP) + 4, node.row * ROW + 6
    took = f"{statistics.fmean(node.seconds):,.0f} s" if node.seconds else ""
    fill, edge = ("#E8F1F8", COLOURS[0]) if column else ("#F2F2F2", "#767676")
    parts = [
        f'<rect x="{x}" y="{y:g}" width="{BOX - 8}" height="{ROW - 10}" rx="5" fill="{fill}" stroke="{edge}"/>\n'
        f'<text x="{x + 8}" y="{y + (15 if took else 22):g}" fill="#111111">{escape(node.name)}</text>\n'
    ]
    if took:
        parts.append(f'<text x="{x + 8}" y="{y + 30:g}" fill="#444444" font-size="11">{took}</text>\n')
    for number, title in enumerate(node.cells):
        at = first + number
        parts.append(_line(x + BOX - 8, node.row, x + BOX + GAP - 8, at))
        lines = textwrap.wrap(title, LINE)[:2]
        for place, line in enumerate(lines):
            shift = 28 if len(lines) == 1 else 20 + 16 * place
            parts.append(
                f'<text x="{x + BOX + GAP - 4}" y="{at * ROW + shift:g}" fill="#111111" font-weight="bold">'
                f"{escape(line)}</text>\n"
            )
    taken = first + len(node.cells)
    for child in node.children.values():
        parts.append(_line(x + BOX - 8, node.row, x + BOX + GAP, child.row))
        parts += _drawn(child, column + 1, taken)
        taken += _rows(child)
    return parts


def _rows(node: Node) -> float:
    return max(len(node.cells) + sum(map(_rows, node.children.values())), 1)


def _line(x: float, row: float, to: float, to_row: float) -> str:
    y, end = row * ROW + 24, to_row * ROW + 24
    middle = (x + to) / 2
    return (
        f'<path d="M{x:g} {y:g} C{middle:g} {y:g} {middle:g} {end:g} {to:g} {end:g}" fill="none" stroke="#767676" '
        'stroke-width="1.5"/>\n'
    )


def _told(node: Node, above: list[str]) -> list[str]:
    path = [*above, node.name]
    told = [f"{title}: {', then '.join(path)}" for title in node.cells]
    return told + [each for child in node.children.values() for each in _told(child, path)]
