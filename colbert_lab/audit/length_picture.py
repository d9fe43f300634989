"""How long a split's texts are, as a figure. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from colbert_lab.audit.lengths import Lengths, count_split, lengths_of
from colbert_lab.results.plots import COLOURS, new_figure, plain
from colbert_lab.tokens.tokenizer import StudentTokenizer
from colbert_lab.types import Split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"query": "queries", "document": "documents"}
TEXT = 10


def split_lengths(
    text: Split, tokenizer: StudentTokenizer, most: int | None = 10_000, seed: int = 0
) -> list[Lengths]:
    """The lengths of a split's queries and documents, as a student reads them.

    Args:
        text: the split.
        tokenizer: the student's.
        most: texts of each role, drawn at random; None for all.
        seed: of the draw.
    """
    return lengths_of(text.name, count_split(text, tokenizer, most, seed), tokenizer)


def draw_lengths(lengths: Sequence[Lengths]) -> Figure:
    """One panel a role: a histogram in share of texts, and the student's room for text as a line.

    Args:
        lengths: what :func:`split_lengths` returned.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = new_figure(4.4 * len(lengths), 4.0)
    panels = figure.subplots(1, len(lengths), squeeze=False)[0]
    for panel, found in zip(panels, lengths, strict=True):
        plain(panel)
        shares = [100 * n / sum(found.counts) for n in found.counts]
        panel.stairs(shares, found.edges, fill=True, color=COLOURS[0], alpha=0.6)
        panel.axvline(found.room + 0.5, color=COLOURS[1], linestyle="--", linewidth=2)
        panel.set_title(
            f"{found.texts:,} {NAMES[found.role]} of {found.name}\nroom for {found.room} of {found.length} tokens "
            f"(dashed): {found.cut:.1%} cut,\n{found.lost:.1%} of all text tokens lost",
            fontsize=TEXT,
        )
        panel.set_xlabel("tokens of the text alone\n(last bin: all longer ones)", fontsize=TEXT)
        panel.set_ylabel("share of texts (%)" if panel is panels[0] else "", fontsize=TEXT)
        panel.set_xlim(left=0)
        panel.tick_params(labelsize=TEXT)
    return figure
