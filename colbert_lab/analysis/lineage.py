"""Which phases trained each student, and which students share them: a tree, as a picture and in words."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from colbert_lab.analysis.configurations import Configuration
from colbert_lab.analysis.figures import COLOURS
from colbert_lab.base.outside import read_json_or
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.records.cost import PhaseCost
from colbert_lab.records.run_files import PhaseFacts
from colbert_lab.records.runs import Run


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


def run_chain(run: Run, title: str) -> list[Link]:
    """The phases of a run that say what they took, the first one first.

    Args:
        run: a run.
        title: what to call it.
    """
    links = []
    for phase in run.trained:
        identity = next((r.phase_hash for r in run.records if r.phase == phase and r.phase_hash), None)
        cost = run.cost(phase)
        if phase not in run.phases:  # it was not measured after this one
            facts = read_json_or(run.path / phase / PHASE_FILE, PhaseFacts)
            identity = facts.get("phase_hash") if facts else None
        if identity is not None and cost is not None:
            links.append(Link(phase, identity, cost, title))
    return links


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


def lineage(chains: Mapping[str, Sequence[Sequence[Link]]]) -> Node:
    """The tree of phases, from the untrained student.

    Two titles share a phase where they share its identity with every seed that both have; one with fewer seeds than
    another finds its place by those that it has.

    Args:
        chains: by title, the phases behind its student, one chain a seed; one without phases is left out.
    """
    root = Node("untrained")
    for title, links_of in sorted(chains.items(), key=lambda pair: -len(pair[1])):
        if not links_of or not all(links_of):
            continue
        node = root
        for step in range(min(map(len, links_of))):
            node = _next(node, [links[step] for links in links_of])
        node.cells.append(title)
    return root


def _next(node: Node, links: Sequence[Link]) -> Node:
    mine = tuple(link.identity for link in links)
    child = next((child for known, child in node.children.items() if set(mine) <= set(known)), None)
    if child is None:
        child = node.children[mine] = Node(links[0].name)
    child.seconds += [link.cost.seconds for link in links]
    return child


def configuration_chains(configurations: Mapping[str, Configuration]) -> dict[str, list[list[Link]]]:
    """The phases of each configuration by its title, one chain a seed."""
    return {title: [run_chain(run, title) for run in each.runs] for title, each in configurations.items()}


def lineage_svg(root: Node) -> tuple[str, str]:
    """The picture, and the same in words.

    Args:
        root: what :func:`lineage` returned.
    """
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
