"""An audit, and how long a split's texts are, as figures. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from colbert_lab.analysis.figures import COLOURS, STYLES, new_figure, plain
from colbert_lab.audit.findings import Findings
from colbert_lab.audit.lengths import Lengths, count_split, lengths_of
from colbert_lab.audit.overlaps import Contamination
from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Role, Split
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.training.objectives.distillation import FLAT, ONE_HOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


GREY = "#555555"
NAMES = {"query": "queries", "document": "documents"}
TEXT = 10  # points
HEIGHT = 4.8  # inches of a row of panels
FEW, MOST = 6, 24  # bars that fit beside another panel, and at all
Bar = tuple[str, int, int, int]
"""Label, exact, near, looked at."""


def check_matplotlib() -> None:
    """Raises InputError when matplotlib is not installed, before any work is done."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError(
            "audit.png: matplotlib is not installed; pip install 'colbert-lab[notebook]'"
        ) from error


def draw_audit(findings: Findings) -> Figure:
    """Lengths of queries and documents, teacher entropy, and contamination; a panel without data is left out.

    Args:
        findings: the audit.
    """
    from matplotlib.figure import Figure

    panels: list[Callable[[Axes], None]] = [
        lambda axes: _lengths(axes, findings, "query"),
        lambda axes: _lengths(axes, findings, "document"),
    ]
    if any(phase.teachers for phase in findings.phases):
        panels.append(lambda axes: _entropy(axes, findings))
    bars = _bars(findings)
    if bars:
        panels.append(lambda axes: _contamination(axes, bars))
    rows = [panels[:2]]
    rows += [[panel] for panel in panels[2:]] if len(bars) > FEW else [panels[2:]] if panels[2:] else []
    heights = [HEIGHT] * len(rows)
    if bars:
        heights[-1] = max(HEIGHT if len(rows[-1]) > 1 else 0, 1.8 + 0.38 * len(bars))
    figure = Figure(figsize=(13, sum(heights) + 0.4), layout="constrained", dpi=110)
    figure.suptitle(f"Audit of {findings.title}", fontsize=14)
    parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, row in zip(parts, rows, strict=True):
        ratios = [1.0, 1.0] if row is rows[0] else [1.0, 1.4][: len(row)]
        places = part.subplots(1, len(row), squeeze=False, width_ratios=ratios)[0]
        for panel, axes in zip(row, places, strict=True):
            plain(axes)
            axes.tick_params(labelsize=10)
            panel(axes)
    return figure


def _legend(axes: Axes, columns: int = 1) -> None:
    """Below the panel, where it covers nothing."""
    axes.legend(fontsize=10, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=columns)


def _lengths(axes: Axes, findings: Findings, role: Role) -> None:
    """One outline a phase, in share of texts, and the room for text as a line."""
    drawn: set[tuple[int, ...]] = set()
    number = 0
    for phase in findings.phases:
        found = _pooled(phase.lengths, role)
        if found is None or (*found.counts, found.room) in drawn:
            continue
        drawn.add((*found.counts, found.room))
        colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
        number += 1
        total = sum(found.counts)
        width = [b - a for a, b in zip(found.edges[:-1], found.edges[1:], strict=True)]
        values = [100 * n / total for n in found.counts]
        label = "" if phase.phase == "data" else f"{phase.phase}: "
        if len(findings.phases) == 1:
            axes.bar(found.edges[:-1], values, width, align="edge", color=colour, alpha=0.6, linewidth=0)
        else:
            axes.stairs(values, found.edges, color=colour, linestyle=style, linewidth=1.6)
        label += f"room for {found.room} of {found.length} tokens: {found.cut:.1%} cut, {found.lost:.1%} lost"
        line = (colour, style) if len(findings.phases) > 1 else (COLOURS[1], "--")
        axes.axvline(found.room + 0.5, color=line[0], linestyle=line[1], linewidth=2, label=label)
    axes.set_title(f"Length of training {NAMES[role]}", fontsize=12)
    axes.set_xlabel("tokens of the text alone (last bin: all longer ones)", fontsize=11)
    axes.set_ylabel("share of texts (%)", fontsize=11)
    axes.set_xlim(left=0)
    _legend(axes)


def _pooled(lengths: list[Lengths], role: Role) -> Lengths | None:
    """The entry of all sources together, which comes last."""
    return next((each for each in reversed(lengths) if each.role == role), None)


def _entropy(axes: Axes, findings: Findings) -> None:
    several = [(phase.phase, each) for phase in findings.phases for each in phase.teachers]
    axes.axvspan(FLAT, 1, color=GREY, alpha=0.3, linewidth=0, label="training stops at a mean in here")
    axes.axvspan(0, ONE_HOT, color=GREY, alpha=0.3, linewidth=0)
    for number, (phase, each) in enumerate(several):
        colour = COLOURS[number % len(COLOURS)]
        values = [100 * n / each.lists for n in each.counts]
        label = each.source if phase == "data" else f"{phase}, {each.source}"
        label += f"\n{each.normalisation}, temperature {each.temperature:g}: mean {each.entropy:.3f} (dashed)"
        axes.stairs(values, each.edges, fill=len(several) == 1, alpha=0.6, color=colour, label=label)
        axes.axvline(each.entropy, color=colour, linestyle="--", linewidth=2)
    axes.set_xlim(0, 1)
    axes.set_title("Entropy of the teacher's distributions", fontsize=12)
    axes.set_xlabel("normalised entropy of a list (0 one-hot, 1 uniform)", fontsize=11)
    axes.set_ylabel("share of lists (%)", fontsize=11)
    _legend(axes)


def _bars(findings: Findings) -> list[Bar]:
    """Every kind of text of every split; where these are many, those of which something was found."""
    several = len(findings.data) > 1
    bars: list[Bar] = []
    for data in findings.data:
        for each in data.contamination:
            where = f" in {data.label}" if several else ""
            name = each.split if each.split == each.dataset else f"{each.split} ({each.dataset})"
            bars += [(f"{name}{where}: {kind}", *numbers) for kind, numbers in _kinds(each)]
    if len(bars) > FEW:
        bars = [bar for bar in bars if bar[1] + bar[2]] or bars[:FEW]
        bars = sorted(sorted(bars, key=lambda bar: -(bar[1] + bar[2]) / bar[3])[:MOST], key=bars.index)
    return bars


def _contamination(axes: Axes, bars: Sequence[Bar]) -> None:
    for place, (_, exact, near, total) in enumerate(bars):
        shares = [100 * n / max(total, 1) for n in (exact, near)]
        labels = ("exact", "near (runs of words)") if place == 0 else (None, None)
        axes.barh(place, shares[0], color=COLOURS[1], label=labels[0])
        hatched: dict[str, Any] = {"color": COLOURS[5], "hatch": "///", "edgecolor": "white"}
        axes.barh(place, shares[1], left=shares[0], label=labels[1], **hatched)
        told, at = f"{exact:,} exact, {near:,} near of {total:,}", (sum(shares), place)
        axes.annotate(told, at, xytext=(5, 0), textcoords="offset points", va="center", fontsize=TEXT)
    widest = max(100 * (exact + near) / max(total, 1) for _, exact, near, total in bars)
    axes.set_xlim(0, max(1.0, 1.7 * widest))
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= 100])
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(bars)), [label for label, *_ in bars])
    axes.invert_yaxis()
    rest = " (audit.md has the kinds that are left out)" if len(bars) > FEW else ""
    axes.set_title(f"Evaluation text found in training text{rest}", fontsize=12)
    axes.set_xlabel("share of the split's texts (%)", fontsize=11)
    _legend(axes, columns=2)


def _kinds(each: Contamination) -> list[tuple[str, tuple[int, int, int]]]:
    kinds = {"queries": each.queries, "documents": each.documents, "relevant documents": each.relevant}
    return [(kind, (found.exact, found.near, found.looked_at)) for kind, found in kinds.items()]


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
