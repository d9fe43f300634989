"""An explanation on the terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from colbert_lab.explain import matches
from colbert_lab.explain.matches import Explanation
from colbert_lab.explain.reading import Token

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
            _named(explanation.document.tokens[n]).append(
                f" {similarity:.4f}", style="dim" if place else "bold"
            )
            for place, (n, similarity) in enumerate(
                zip(match.documents[:top], match.similarities[:top], strict=True)
            )
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
