"""Quality against cost as a table and in words."""

from __future__ import annotations

from colbert_lab.analysis.pareto import COSTS, Point, QualityCost, short
from colbert_lab.base.layout import NONE, Table
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.evaluation.significance import MARKS, Paired
from colbert_lab.records.means import paired


def quality_cost_table(found: QualityCost) -> Table:
    """One row a student, the cheapest first: cost, value, share of the best value, difference to the best, front.

    Args:
        found: what :func:`quality_cost` returned.
    """
    title, unit = COSTS[found.cost]
    best = found.best
    rows = []
    for point in found.points:
        gap = NONE if point is best else str(_gap(point, best) or NONE)
        rows.append(
            (
                point.title,
                point.phase,
                str(point.value.n),
                cost_text(point.cost, found.cost),
                _share(point.cost, best.cost),
                _value(point),
                _share(point.value.mean, best.value.mean),
                "the best" if point is best else gap,
                "yes" if point.on_front else "no",
            )
        )
    several = any(point.value.n > 1 for point in found.points)
    notes = [
        f"cost ({unit}): {title}, of all phases up to this one; a phase that another run had trained counts in "
        "full. What made the backbone is not in it.",
        "[low, high]: 95% bootstrap interval over queries"
        + (", each averaged over the seeds first" if several else "")
        + "; another training seed is not part of it.",
        f"difference to the best: paired by query, on this one split. {MARKS}",
        "front: no other row is at least as good for at most the same cost.",
        "The best is the highest value on this very split: among many rows it is a little flattered.",
        *_hints(found),
    ]
    columns = ["configuration", "after phase", "seeds", f"cost ({unit})", "of the best's cost"]
    columns += [measure_title(found.measure), "of the best", "difference to the best", "front"]
    return Table(
        title=f"{measure_title(found.measure)} on {found.split} against {title}",
        columns=tuple(columns),
        rows=tuple(rows),
        verdicts=(),
        notes=tuple(notes),
    )


def quality_cost_sentences(found: QualityCost) -> list[str]:
    """What each student gives for its cost, against the best one; the cheapest first, the best one first of all.

    Args:
        found: what :func:`quality_cost` returned.
    """
    best, what = found.best, f"{measure_title(found.measure)} on {found.split}"
    sentences = [
        f"{best.label} is the best: {_value(best)} in {what}, for {cost_text(best.cost, found.cost, True)}."
    ]
    for point in found.points:
        if point is best:
            continue
        gap = _gap(point, best)
        interval = f"; difference {gap}" if gap else f"; {point.value.mean - best.value.mean:+.4f}"
        ratio = point.cost / best.cost
        cheaper = (
            f"{ratio:.1f} times its cost" if ratio >= 2 else f"{_share(point.cost, best.cost)} of its cost"
        )
        why = "" if point.on_front else f" It is not on the front: {_dominating(point, found)}."
        sentences.append(
            f"{point.label}: {_share(point.value.mean, best.value.mean)} of the best quality for {cheaper} "
            f"({point.value.mean:.4f} for {cost_text(point.cost, found.cost, True)}{interval}).{why}"
        )
    return [*sentences, *found.left_out]


def cost_text(value: float, cost: str, unit: bool = False) -> str:
    """A cost with as many digits as are worth reading, such as ``1,341,000 tokens`` or ``2.3e+15 FLOP``.

    Args:
        value: the cost.
        cost: one of ``COSTS``.
        unit: whether to name it.
    """
    text = f"{value:.2e}" if cost == "flops" else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {COSTS[cost][1]}" if unit else text


def _dominating(point: Point, found: QualityCost) -> str:
    """Who is at least as good for at most the same cost: the best of them."""
    able = [
        other
        for other in found.points
        if other is not point and other.cost <= point.cost and other.value.mean >= point.value.mean
    ]
    other = max(able, key=lambda each: (each.value.mean, -each.cost))
    return f"{other.label} has {other.value.mean:.4f} for {cost_text(other.cost, found.cost, True)}"


def _gap(point: Point, best: Point) -> Paired | None:
    """Paired difference over queries, where both have the same ones."""
    if point.per_query is None or best.per_query is None or point.per_query[0] != best.per_query[0]:
        return None
    return paired(point.per_query[1] - best.per_query[1])


def _hints(found: QualityCost) -> list[str]:
    hints = []
    if len({protocol for point in found.points for protocol in point.protocols}) > 1:
        hints.append("The protocols differ (lengths, prompts, depth): that is part of the differences.")
    if found.untrained:
        whose: dict[str, list[str]] = {}
        for title, value in found.untrained.items():
            whose.setdefault(f"{value:.4f}", []).append(title)
        told = (f"{value} ({short(titles_of)})" for value, titles_of in whose.items())
        hints.append(f"Before training, which has no cost here: {', '.join(told)}.")
    return hints


def _value(point: Point) -> str:
    text = f"{point.value.mean:.4f}"
    return text if point.interval is None else f"{text} {point.interval.bounds()}"


def _share(part: float, whole: float) -> str:
    if whole <= 0:
        return NONE
    percent = 100 * part / whole
    return f"{percent:.1f}%" if percent >= 10 else f"{percent:.2g}%"
