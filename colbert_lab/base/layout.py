"""What a finished table looks like on the terminal, in Markdown and in CSV: texts in it are shown, never obeyed."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from colbert_lab.base.outside import UNSEEN, one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100
"""Columns of text where the output is no terminal, for example a file or a pipe."""
GAP = 2  # spaces between columns
INDENT = 4  # spaces before the columns that go on below
LABEL = 20  # widest first column
NONE = "-"
"""The cell of what is not known, or not there."""
STYLED = 400  # rows; longer tables are printed without colours and with each cell on one line
MARKUP = re.compile(r"[\\`*_\[\]~$]")
TAG = re.compile(r"<(?=[A-Za-z/!?])")
LINK = re.compile(r"!\[|\]\(")
DEFINITION = re.compile(r"\s*\[.*?\]:\s*\S+(\s+[\"'(].*)?\s*")
"""A whole text that Markdown would take for the address of links elsewhere."""
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula."""
SIGNED = re.compile(r"-|[+-]\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE)
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


class Markdown(str):
    """A cell that is Markdown already, and stays as it is in Markdown."""

    __slots__ = ()


def shown(table: Table) -> Table:
    """The table with texts that any page or terminal can show: on one line each, without control characters.

    Its texts come from records and files that someone else may have written. Each writer of tables begins with this.
    """
    rows = tuple(
        tuple(cell if isinstance(cell, Markdown) else one_line(cell) for cell in row) for row in table.rows
    )
    texts = (tuple(map(one_line, each)) for each in (table.columns, table.verdicts, table.notes))
    columns, verdicts, notes = texts
    return Table(one_line(table.title), columns, rows, verdicts, notes)


def print_tables(tables: Sequence[Table], console: Console | None = None) -> None:
    """Print tables so that no number is ever cut.

    Intervals go below their means. Where a table is wider than the terminal, the cells that do not fit go on below
    those that do, in each row: no table is cut in two, and a row's name stands above all that is said of it.

    Args:
        tables: what :func:`colbert_lab.analysis.tables.run_tables` returned.
        console: where to print; standard output when left out.
    """
    from rich.console import Console
    from rich.text import Text

    screen = console or Console(highlight=False)
    if console is None and not screen.is_terminal:
        screen = Console(highlight=False, width=WIDTH)
    tables = [shown(table) for table in tables]
    for number, table in enumerate(tables):
        following = tables[number + 1].notes if number + 1 < len(tables) else ()
        screen.print()
        screen.print(Text(table.title, style="bold"))
        for sentence in table.verdicts:
            screen.print(Text(sentence))
        screen.print()
        for line in _lines(table, screen.width):
            if len(table.rows) > STYLED:  # rich needs milliseconds a row
                screen.file.write("".join(text for text, _ in line).rstrip() + "\n")
                continue
            (text := Text.assemble(*line)).rstrip()
            screen.print(text, no_wrap=True, crop=False, overflow="ignore")
        if notes := [note for note in table.notes if note not in following]:
            screen.print()
            for note in notes:
                screen.print(Text(note, style="dim"))


def tables_text(tables: Sequence[Table]) -> str:
    """What :func:`print_tables` prints, as text of ``WIDTH`` columns."""
    from rich.console import Console

    file = io.StringIO()
    print_tables(tables, Console(file=file, width=WIDTH, highlight=False))
    return "\n".join(line.rstrip() for line in file.getvalue().strip("\n").splitlines())


def _lines(table: Table, available: int) -> Iterator[list[tuple[str, str]]]:
    """The lines of a table, each as pieces of text with their styles."""
    from rich.cells import set_cell_size

    cells, parts = _fitted(table, available)
    widths = _widths(cells)
    long = max(_width(part, widths) for part in parts)
    for position, row in enumerate(cells):
        if position == 1 or (position > 1 and (row[0].startswith("student") or not any(row[1:]))):
            yield [("─" * long, "")]
        for number, part in enumerate(parts):
            if number and not any(row[column] for column in part):
                continue
            indent = (" " * INDENT if number else "", "")
            sizes = [widths[column] + GAP for column in part]
            texts = zip_longest(*(row[column].split("\n") for column in part), fillvalue="")
            for height, line in enumerate(texts):
                styles = ["bold" if position == 0 else "dim" if height else _style(text) for text in line]
                yield [indent, *zip(map(set_cell_size, line, sizes), styles, strict=True)]


def _fitted(table: Table, available: int) -> tuple[list[list[str]], list[tuple[int, ...]]]:
    """The cells of a table, headings first, and which columns stand side by side.

    Names stay on one line where all columns fit so; otherwise they are wrapped. Cells that go on below others have
    their heading before them.
    """
    plain = len(table.rows) > STYLED
    for longest in (available, LABEL):
        rows = [[_label(row[0], longest), *map(_two_lines, row[1:])] for row in table.rows if not plain]
        cells = [list(table.columns), *(map(list, table.rows) if plain else rows)]
        parts = _parts(widths := _widths(cells), available)
        if len(parts) == 1 and _width(parts[0], widths) <= available:
            break
    below = [column for part in parts[1:] for column in part]
    for row in cells[1:]:
        row[1:] = [
            f"{table.columns[n]} {cell}" if n in below and any(row[1:]) else cell
            for n, cell in enumerate(row)
            if n
        ]
    cells[0] = ["" if n in below else cell for n, cell in enumerate(cells[0])]
    return cells, _parts(_widths(cells), available)


def to_markdown(tables: Sequence[Table]) -> str:
    """The tables as Markdown, for ``table.md``.

    What their texts hold is shown and has no effect: no HTML, no picture, no link.

    Args:
        tables: what :func:`colbert_lab.analysis.tables.run_tables` returned.
    """
    blocks = []
    for table in map(shown, tables):
        lines = [f"## {harmless(table.title)}", "", *(f"{harmless(verdict)}\n" for verdict in table.verdicts)]
        lines += [_markdown_row(table.columns), "|" + "---|" * len(table.columns)]
        lines += [_markdown_row(row) for row in table.rows]
        lines += ["", *(f"- {harmless(note)}" for note in table.notes)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def escaped(text: str, longest: int | None = None) -> str:
    """A text that Markdown shows as it is, on one line.

    Args:
        text: any text.
        longest: most characters; a longer one ends in ``…``. None keeps all.
    """
    line = printable(" ".join(text.split()))
    if longest is not None and len(line) > longest:
        line = line[: longest - 1].rstrip() + "…"
    return MARKUP.sub(r"\\\g<0>", line).replace("&", "&amp;").replace("<", "&lt;")


def harmless(text: str) -> str:
    """A text in Markdown that stays readable and cannot become HTML, a picture or a link.

    Emphasis and code in it work as in any Markdown; :func:`escaped` shows those as they are too.
    """
    if isinstance(text, Markdown):
        return text
    if DEFINITION.fullmatch(text):
        text = text.replace("]:", "]\\:")
    return LINK.sub(lambda found: f"{found[0][0]}\\{found[0][1]}", TAG.sub("&lt;", text))


def _markdown_row(cells: Sequence[str]) -> str:
    # A backslash before a bar would take its own away.
    row = (re.sub(r"(\\*)\|", r"\1\1\\|", harmless(cell).strip()) for cell in cells)
    return f"| {' | '.join(row)} |"


def json_text(value: Any) -> str:
    """JSON over several lines that can be written as UTF-8 and shown: what is not seen is escaped."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text) + "\n"


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV that a spreadsheet reads as values: a text that it would take for a formula gets an apostrophe.

    That is the advice of OWASP ("CSV Injection"). A number that is a text stays one.

    Args:
        rows: with the headings first; numbers are written in full.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([_csv_cell(cell) for cell in row] for row in rows)
    return file.getvalue()


def _csv_cell(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = one_line(cell)
    return f"'{text}" if text.lstrip().startswith(FORMULA) and not SIGNED.fullmatch(text) else text


def _two_lines(cell: str) -> str:
    """``0.6543 [0.6312, 0.6770]`` with the interval on a second line, a mark on the first."""
    value, bracket, rest = cell.partition(" [")
    if not bracket or not NUMBER.fullmatch(value):
        return cell
    bounds, _, mark = rest.partition("]")
    return f"{value}{mark}\n[{bounds}]"


def _label(cell: str, longest: int) -> str:
    """A system's name in lines of about ``longest`` characters; what was in parentheses gets lines of its own."""
    indent = "  " if cell.startswith(" ") else ""
    title, parenthesis, rest = cell.strip().partition(" (")
    name, _, mode = rest.rpartition(")")
    pieces = [title + mode, name] if parenthesis else [title]
    lines = [line for piece in pieces for line in _wrapped(piece, longest - len(indent))]
    return "\n".join(indent + line for line in lines)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines that end between words; a word that is longer than two lines is broken all the same."""
    far = any(len(word) > 2 * width for word in text.split())
    return textwrap.wrap(text, width, break_on_hyphens=far, break_long_words=far)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The longest line of each column."""
    from rich.cells import cell_len

    return [
        max(cell_len(line) for cell in column for line in cell.split("\n"))
        for column in zip(*rows, strict=True)
    ]


def _width(part: Sequence[int], widths: Sequence[int]) -> int:
    """Columns of the terminal that a part takes."""
    return (0 if part[0] == 0 else INDENT) + sum(widths[n] for n in part) + GAP * (len(part) - 1)


def _parts(widths: Sequence[int], available: int) -> list[tuple[int, ...]]:
    """Numbers of the columns that fit side by side: the first part begins with the first column and one more."""
    parts: list[tuple[int, ...]] = []
    part: tuple[int, ...] = (0,)
    for column in range(1, len(widths)):
        if part != (0,) and _width((*part, column), widths) > available:
            parts.append(part)
            part = ()
        part = (*part, column)
    return [*parts, part]


def _style(text: str) -> str:
    """The colour of a difference's mark."""
    return STYLES.get(text.rpartition(" ")[2], "")
