"""Wins and losses by query as tables, in words and as a figure. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from colbert_lab.analysis.differences import Contest, Differences, documents_of, is_relevant
from colbert_lab.analysis.figures import COLOURS, new_figure, plain
from colbert_lab.base.layout import Table, escaped
from colbert_lab.base.types import Split
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.evaluation.significance import MARKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUERY, DOCUMENT, TEXT = 200, 90, 400
"""Most characters of a query and of a document's id in tables, and of a text below a heading."""


def difference_sentences(found: Differences) -> list[str]:
    """Who is compared, how many queries each of them wins, and by how much.

    Args:
        found: what :func:`query_differences` returned.
    """
    wins, ties, losses = found.counts
    n, what = len(found.query_ids), f"{measure_title(found.measure)} on {found.split}"
    sizes = [found.values[found.values > 0], found.values[found.values < 0]]
    means = [f" (by {values.mean():+.4f} on average)" if len(values) else "" for values in sizes]
    return [
        f"A is {found.one.label}: {found.one_values.mean():.4f} in {what}.",
        f"B is {found.other.label}: {found.other_values.mean():.4f}.",
        f"A minus B: {found.interval} ({n:,} queries; [low, high]: 95% paired bootstrap interval over "
        f"queries). {MARKS}",
        f"A wins {_part(wins, n)}{means[0]}, ties are {_part(ties, n)}, and A loses {_part(losses, n)}{means[1]}.",
        *_seeds(found),
    ]


def difference_table(found: Differences, n: int, text: Split | None = None) -> Table:
    """The largest wins and losses: both values, and what both students rank first.

    Args:
        found: what :func:`query_differences` returned.
        n: how many wins, and as many losses.
        text: the split, for texts and judgments; without it there are ids alone.
    """
    rankings = [documents_of(each, found) for each in (found.one, found.other)]
    rows: list[tuple[str, ...]] = []
    for wins in (True, False):
        chosen = found.largest(n, wins)
        if chosen:
            heading = f"**largest {'wins' if wins else 'losses'} of A**"
            rows.append((heading, "", "", "", "", ""))
        for k in chosen:
            query = found.query_ids[k]
            shown = escaped(query) if text is None else escaped(text.queries[query], QUERY)
            values = [f"{values[k]:.4f}" for values in (found.one_values, found.other_values)]
            firsts = [_first(ranking.get(query, ()), query, text) for ranking in rankings]
            rows.append((shown, *values, f"{found.values[k]:+.4f}", *firsts))
    notes = [f"A: {found.one.label}; B: {found.other.label}; values are {measure_title(found.measure)}."]
    if text:
        notes.append("✓: judged relevant; the rank in parentheses is that of the first relevant document.")
    columns = ("query", "A", "B", "A - B", "A ranks first", "B ranks first")
    title = f"Largest wins and losses on {found.split}"
    return Table(title, columns, tuple(rows), (), (*notes, *_seeds(found)))


def contest_sentences(found: Differences, met: Contest, text: Split) -> list[str]:
    """The query and the two documents in words, with the rank that both students give them.

    Args:
        found: what :func:`query_differences` returned.
        met: what :func:`contest` returned.
        text: the split.
    """
    of_document = dict(zip(text.corpus.ids, text.corpus.texts, strict=True))
    lines = [f"Query: {escaped(text.queries[met.query_id], TEXT)}"]
    for name, document in (("Relevant", met.relevant), ("Not relevant", met.rival)):
        ranks = [
            f"rank {_rank(documents_of(each, found).get(met.query_id, ()), document)} for {letter}"
            for letter, each in (("A", found.one), ("B", found.other))
        ]
        shown = f"{escaped(document)}: {escaped(of_document[document], TEXT)}"
        lines.append(f"{name} ({', '.join(ranks)}): {shown}")
    return lines


def _first(documents: Sequence[str], query: str, text: Split | None, n: int = 2) -> str:
    """The first documents of a ranking in one cell."""
    lines = []
    for rank, document in enumerate(documents[:n], 1):
        mark = " ✓" if text is not None and is_relevant(text, query, document) else ""
        lines.append(f"{rank}. {escaped(document, DOCUMENT)}{mark}")
    if text is not None:
        ranks = [rank for rank, document in enumerate(documents, 1) if is_relevant(text, query, document)]
        lines.append(f"(✓ at {ranks[0]})" if ranks else f"(✓ not among the first {len(documents)})")
    return "<br>".join(lines) or "-"


def _rank(documents: Sequence[str], document: str) -> str:
    return str(list(documents).index(document) + 1) if document in documents else f"beyond {len(documents)}"


def _seeds(found: Differences) -> list[str]:
    if len(found.one.configuration.runs) == len(found.other.configuration.runs) == 1:
        return []
    return ["Values are averaged over seeds; rankings and students are those of the first seed of each."]


def _part(count: int, n: int) -> str:
    return f"{count:,} {'query' if count == 1 else 'queries'} ({count / n:.1%})"


WIN, LOSS = COLOURS[0], COLOURS[1]
SIZE = 10


def plot_differences(found: Differences) -> Figure:
    """Every query's difference as a bar, the largest win first: how many there are of each, and how large they are.

    Args:
        found: what :func:`colbert_lab.analysis.differences.query_differences` returned.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = new_figure(8.4, 4.8)
    panel = figure.subplots()
    plain(panel)
    ordered = np.sort(found.values)[::-1]
    edges = np.arange(len(ordered) + 1) + 0.5  # query 1 is the bar around 1
    wins, ties, losses = found.counts
    panel.stairs(np.maximum(ordered, 0), edges, fill=True, color=WIN, label=f"A wins: {wins:,}")
    panel.stairs(
        np.minimum(ordered, 0), edges, fill=True, color=LOSS, hatch="//", edgecolor="white", linewidth=0,
        label=f"A loses: {losses:,}",
    )  # fmt: skip
    panel.plot([], [], linestyle="", label=f"ties: {ties:,}")
    panel.axhline(0, color="black", linewidth=0.8)
    mean = found.interval
    panel.axhspan(mean.low, mean.high, color=COLOURS[2], alpha=0.3, linewidth=0)
    panel.axhline(
        mean.mean, color=COLOURS[2], linestyle="--", linewidth=1.6,
        label=f"mean {mean.mean:+.4f} [{mean.low:+.4f}, {mean.high:+.4f}]",
    )  # fmt: skip
    panel.set_xlim(0.5, len(ordered) + 0.5)
    panel.set_xlabel(f"queries of {found.split}, the largest win first (rank)", fontsize=SIZE + 1)
    panel.set_ylabel(f"{measure_title(found.measure)}, A minus B", fontsize=SIZE + 1)
    panel.tick_params(labelsize=SIZE)
    panel.set_title(f"A: {found.one.label}\nB: {found.other.label}", fontsize=SIZE, loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=SIZE)
    return figure
