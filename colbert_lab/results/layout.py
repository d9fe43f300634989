"""What a finished table looks like on the terminal and in Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100
"""Columns of text where the output is no terminal, for example a file or a pipe."""
GAP = 2  # spaces between columns
LABEL = 20  # widest first column
MARKUP = re.compile(r"[\\`*_\[\]~$]")
NUMBER = re.compile(r"[+-]?\d\S*")
STYLES = {"higher": "green", "lower": "red", "unclear": "yellow"}


@dataclass(frozen=True)
class Table:
    """A finished table: text only.

    Attributes:
        title: what was measured on what.
        columns: headings; the first column names the system.
        rows: cells, one line each; ``0.6543 [0.6312, 0.6770]`` is a mean with its interval, and
            ``+0.0123 [+0.0040, +0.0210] higher`` a paired difference with what it means. A row whose cells after
            the first are all empty heads the rows below it.
        verdicts: what training changed in the headline measure, one sentence a phase, the last phase first.
        notes: how to read the table, and what is missing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    verdicts: tuple[str, ...]
    notes: tuple[str, ...]


def print_tables(tables: Sequence[Table], console: Console | None = None) -> None:
    """Print tables so that no number is ever cut.

    Intervals go below their means. A table that is wider than the terminal is printed in parts, each with the
    first column and as many measures as fit.

    Args:
        tables: what :func:`colbert_lab.results.tables.run_tables` returned.
        console: where to print; standard output when left out.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    screen = console or Console(highlight=False)
    if console is None and not screen.is_terminal:
        screen = Console(highlight=False, width=WIDTH)
    for number, table in enumerate(tables):
        following = tables[number + 1].notes if number + 1 < len(tables) else ()
        screen.print()
        screen.print(Text(table.title, style="bold"))
        for sentence in table.verdicts:
            screen.print(Text(sentence))
        cells = [[_label(row[0]), *map(_two_lines, row[1:])] for row in table.rows]
        widths = _widths([list(table.columns), *cells])
        for part in _parts(widths, screen.width):
            # The box puts one space between columns, the padding another: together GAP.
            shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
            for column in part:
                # min_width keeps rich from shortening a cell that it thinks too wide.
                shown.add_column(Text(table.columns[column]), no_wrap=True, min_width=widths[column])
            for position, row in enumerate(cells):
                if position and (row[0].startswith("student") or not any(row[1:])):
                    shown.add_section()
                shown.add_row(*(_styled(row[column]) for column in part))
            screen.print()
            screen.print(shown, crop=False)
        if notes := [note for note in table.notes if note not in following]:
            screen.print()
            for note in notes:
                screen.print(Text(note, style="dim"))


def to_markdown(tables: Sequence[Table]) -> str:
    """The tables as Markdown, for ``table.md``.

    Args:
        tables: what :func:`colbert_lab.results.tables.run_tables` returned.
    """
    blocks = []
    for table in tables:
        lines = [f"## {table.title}", "", *(f"{verdict}\n" for verdict in table.verdicts)]
        lines += [_markdown_row(table.columns), "|" + "---|" * len(table.columns)]
        lines += [_markdown_row(row) for row in table.rows]
        lines += ["", *(f"- {note}" for note in table.notes)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def escaped(text: str, longest: int | None = None) -> str:
    """A text that Markdown shows as it is, on one line.

    Args:
        text: any text.
        longest: most characters; a longer one ends in ``…``. None keeps all.
    """
    line = " ".join(text.split())
    if longest is not None and len(line) > longest:
        line = line[: longest - 1].rstrip() + "…"
    return MARKUP.sub(r"\\\g<0>", line).replace("&", "&amp;").replace("<", "&lt;")


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.strip().replace("|", "\\|") for cell in cells) + " |"


def _two_lines(cell: str) -> str:
    """``0.6543 [0.6312, 0.6770]`` with the interval on a second line, a mark on the first."""
    value, bracket, rest = cell.partition(" [")
    if not bracket or not NUMBER.fullmatch(value):
        return cell
    bounds, _, mark = rest.partition("]")
    return f"{value}{mark}\n[{bounds}]"


def _label(cell: str) -> str:
    """A system's name in lines of about ``LABEL`` characters; what was in parentheses gets lines of its own."""
    indent = "  " if cell.startswith(" ") else ""
    title, parenthesis, rest = cell.strip().partition(" (")
    name, _, mode = rest.rpartition(")")
    pieces = [title + mode, name] if parenthesis else [title]
    lines = [line for piece in pieces for line in _wrapped(piece, LABEL - len(indent))]
    return "\n".join(indent + line for line in lines)


def _wrapped(text: str, width: int) -> list[str]:
    too_long = any(len(word) > width for word in text.split())
    return textwrap.wrap(text, width, break_on_hyphens=too_long)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The longest line of each column."""
    columns = zip(*rows, strict=True)
    return [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]


def _parts(widths: Sequence[int], available: int) -> list[tuple[int, ...]]:
    """Numbers of the columns that fit side by side, each part with the first column and at least one more."""
    parts: list[tuple[int, ...]] = []
    part, used = [0], widths[0]
    for column in range(1, len(widths)):
        if len(part) > 1 and used + GAP + widths[column] > available:
            parts.append(tuple(part))
            part, used = [0], widths[0]
        part.append(column)
        used += GAP + widths[column]
    return [*parts, tuple(part)]


def _styled(cell: str) -> Any:
    """The value in plain type, its interval dim, the mark of a difference in its colour."""
    from rich.text import Text

    first, _, second = cell.partition("\n")
    text = Text(first, style=STYLES.get(first.rpartition(" ")[2], ""))
    return text.append(f"\n{second}", style="dim") if second else text
