"""What students matched, as tables: one explanation on the terminal, and two students side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colbert_lab.base.layout import NONE, Table, escaped
from colbert_lab.explain import matches
from colbert_lab.explain.matches import Explanation, Match, explain
from colbert_lab.explain.reading import Token
from colbert_lab.model.student import Student

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH = 100
"""Columns where the output is no terminal."""
BAR = 10
"""Cells of the bar beside the highest similarity of the query."""
SHADES = (
    "#000000 on #deebf7",
    "#000000 on #b5d4ea",
    "#000000 on #82bbdb",
    "#ffffff on #2a72ae",
    "#ffffff on #08468b",
)
"""From little to much; dark letters on light ground, or the other way round, on any terminal."""


def print_explanation(explanation: Explanation, top: int, console: Console | None = None) -> None:
    """Print the matches as a table, and the document shaded by how much its tokens are matched.

    There are colours on a terminal alone, and none where ``NO_COLOR`` is set (no-color.org); the numbers say the same.

    Args:
        explanation: what to show.
        top: best document tokens to show for each query token.
        console: where to print; standard output when left out.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    screen = console or Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
    if console is None and not screen.is_terminal:
        screen = Console(highlight=False, width=WIDTH, color_system=None)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("query token", overflow="fold")
    table.add_column("similarity", no_wrap=True)
    table.add_column("share", no_wrap=True, justify="right")
    table.add_column("best document tokens" if top > 1 else "best document token", overflow="fold")
    highest = max(match.best for match in explanation.matches)
    of_token = {match.token: match for match in explanation.matches}
    for position, token in enumerate(explanation.query.tokens):
        match = of_token.get(position)
        if match is None:
            table.add_row(_named(token), Text("–"), Text(""), Text(""))
            continue
        bar = "█" * round(BAR * max(match.best, 0.0) / highest) if highest > 0 else ""
        best = Text(", ").join(
            _named(explanation.document.tokens[n]).append(f" {value:.4f}", style="dim" if place else "bold")
            for place, (n, value) in enumerate(zip(match.documents, match.similarities, strict=True))
            if place < top
        )
        value = Text(f"{match.best:7.4f} ").append(bar, style=SHADES[-2].partition(" on ")[2])
        table.add_row(_named(token), value, Text(matches.share(match)), best)
    screen.print()
    screen.print(Text(matches.headline(explanation), style="bold"))
    for reading in (explanation.query, explanation.document):
        screen.print(Text(matches.counts(reading)))
    screen.print()
    screen.print(table, crop=False)
    if signs := matches.signs(explanation):
        screen.print(Text(signs, style="dim"))
    screen.print()
    screen.print(Text("document tokens that were matched, and the sum of those similarities", style="bold"))
    screen.print(_document(explanation))
    screen.print(_matched(explanation))


def _named(token: Token) -> Text:
    """A token's label, and what it is where it is no ordinary one."""
    from rich.text import Text

    text = Text(matches.visible(token.label))
    return text.append(f" ({token.about})", style="dim italic") if token.about else text


def _document(explanation: Explanation) -> Text:
    """The document's text with shaded tokens; what is skipped is dim, what is cut is struck through."""
    from rich.text import Text

    weights = explanation.weights()
    highest = max(weights.values())
    text = Text()
    for piece in explanation.document.pieces():
        weight = sum(weights.get(n, 0.0) for n in piece.tokens)
        style = ""
        if piece.cut:
            style = "dim strike"
        elif piece.tokens and not any(explanation.document.tokens[n].scores for n in piece.tokens):
            style = "dim"
        elif weight > 0:
            style = SHADES[min(int(len(SHADES) * weight / highest), len(SHADES) - 1)]
        text.append(matches.visible(piece.text), style=style)
    return text


def _matched(explanation: Explanation) -> Text:
    """The matched tokens of the document in their order, with their weights."""
    from rich.text import Text

    weights = sorted(explanation.weights().items())
    return Text(", ").join(
        _named(explanation.document.tokens[n]).append(f" {weight:.4f}", style="bold") for n, weight in weights
    )


@dataclass(frozen=True)
class Seen:
    """A relevant document and a rival as one student sees them.

    Attributes:
        label: what to call the student, in short.
        relevant: its score of the relevant document, taken apart.
        rival: the same of a document that is not relevant.
    """

    label: str
    relevant: Explanation
    rival: Explanation

    @property
    def margin(self) -> float:
        """How much higher the relevant document scores; below 0 where the rival does."""
        return self.relevant.score - self.rival.score


def see(label: str, student: Student, query: str, relevant: str, rival: str) -> Seen:
    """Score both documents for a query and keep what the scores are made of.

    Args:
        label: what to call the student, in short.
        student: model and tokenizer.
        query: the query, without prompt.
        relevant: a document.
        rival: another one.

    Raises:
        InputError: see :func:`colbert_lab.explain.matches.explain`.
    """
    return Seen(label, explain(student, query, relevant), explain(student, query, rival))


def side_by_side(title: str, students: Sequence[Seen]) -> Table:
    """For each query token, what every student matched in the relevant document and in its rival.

    A token's margin is its similarity in the relevant document minus that in the rival; all margins together are the
    margin of the scores, or with MeanMaxSim their mean is. Where students read the query as different tokens (another
    tokenizer or prompt), each has the tokens that are its own.

    Args:
        title: of the table.
        students: what they saw, of the same query and documents.
    """
    by_label = [_by_label(each) for each in students]
    labels = dict.fromkeys(label for found in by_label for label in found)
    columns, rows = ["query token"], []
    for each in students:
        columns += [f"{each.label}: relevant", f"{each.label}: rival", f"{each.label}: margin"]
    for label in labels:
        cells = [label]
        for found, each in zip(by_label, students, strict=True):
            cells += _cells(found[label], each) if label in found else [NONE] * 3
        rows.append(tuple(cells))
    sums = ["**score**"]
    for each in students:
        sums += [f"**{each.relevant.score:.4f}**", f"**{each.rival.score:.4f}**", f"**{each.margin:+.4f}**"]
    return Table(title, tuple(columns), (*rows, tuple(sums)), (), tuple(_notes(students)))


def _by_label(each: Seen) -> dict[str, tuple[Match, Match]]:
    """The matches of each query token in both documents; labels differ within a text."""
    tokens = each.relevant.query.tokens
    pairs = zip(each.relevant.matches, each.rival.matches, strict=True)
    return {_in_markdown(tokens[one.token]): (one, other) for one, other in pairs}


def _cells(both: tuple[Match, Match], each: Seen) -> list[str]:
    cells = []
    for match, explanation in zip(both, (each.relevant, each.rival), strict=True):
        cells.append(f"{_in_markdown(explanation.document.tokens[match.documents[0]])} {match.best:.4f}")
    return [*cells, f"{both[0].best - both[1].best:+.4f}"]


def _in_markdown(token: Token) -> str:
    label = escaped(matches.visible(token.label))
    return f"{label} *({token.about})*" if token.about else label


def _notes(students: Sequence[Seen]) -> list[str]:
    notes = [
        "A cell is the document token that the query token matched and their similarity; margin: relevant minus rival. "
        "Scores are computed anew in float32."
    ]
    for each in students:
        if each.relevant.mean:
            notes.append(
                f"{each.label}: the score is the mean over the query's tokens, and so is its margin."
            )
        for name, explanation in (("relevant", each.relevant), ("rival", each.rival)):
            notes.append(f"{each.label}, {name}: {escaped(matches.counts(explanation.document))}.")
    signs = dict.fromkeys(
        part
        for each in students
        for explanation in (each.relevant, each.rival)
        for part in matches.signs(explanation).split("; ")
        if part
    )
    return [*notes, f"{escaped('; '.join(signs))}."] if signs else notes
