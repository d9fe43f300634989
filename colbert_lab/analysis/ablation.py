"""The tables of an ablation, and what they say in words. Text only; nothing is measured anew."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from colbert_lab.analysis.compared import compare_at
from colbert_lab.analysis.configurations import Configuration, Spread, gain_interval
from colbert_lab.analysis.measured import measured
from colbert_lab.base.layout import NONE, Table
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.evaluation.significance import MARKS, Paired
from colbert_lab.records.cost import PhaseCost
from colbert_lab.records.runs import BEFORE, STUDENT, Run


@dataclass(frozen=True)
class Difference:
    """One configuration minus another in one measure on one split.

    Attributes:
        mean: difference of the means over seeds; None when the two may not be compared.
        interval: the paired difference of the per-query means over seeds, with its interval over queries and its
            test; None without per-query files.
        by_seed: the difference for each seed that both have.
        why: what is missing, or what the reader must know; "" for nothing.
    """

    mean: float | None
    interval: Paired | None
    by_seed: Mapping[int | None, float]
    why: str = ""


def compare(one: Configuration, other: Configuration, split: str, measure: str) -> Difference:
    """``one`` minus ``other``, both after their last phase, by the rules of ``task=compare``.

    Nothing is compared across texts or rules of a split, see :mod:`colbert_lab.analysis.alike`.

    Args:
        one: a configuration.
        other: the reference.
        split: name of the split.
        measure: for example ``ndcg@10``.
    """
    ours, theirs = (measured(each, each.label, STUDENT) for each in (one, other))
    found = compare_at(ours, theirs, split, measure)
    if isinstance(found, str):
        return Difference(None, None, {}, f"not compared: {found}")
    if found.gap is None:
        return Difference(None, None, {}, found.why)
    values, base = (
        dict(zip(each.seeds, rows[found.row.place].values, strict=True))
        for each, rows in ((one, ours), (other, theirs))
    )
    by_seed = {seed: value - base[seed] for seed, value in values.items() if seed in base}
    notes = dict.fromkeys([*found.row.notes, *theirs[found.row.place].notes])
    return Difference(found.gap, found.difference, by_seed, "; ".join(filter(None, [found.why, *notes])))


def overview(configurations: Sequence[Configuration], left_out: Sequence[str]) -> list[str]:
    """What is compared: how many runs, what all of them share, on what they ran, and what is left out.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned.
        left_out: ``left_out`` of :class:`colbert_lab.records.runs.FoundRuns`.
    """
    runs = [run for each in configurations for run in each.runs]
    first = configurations[0].overrides.items()
    shared = [f"{k}={v}" for k, v in first if all(each.overrides.get(k) == v for each in configurations)]
    lines = [f"{len(runs)} finished runs of {len(configurations)} configurations."]
    lines += [
        f"{each.label}: seeds {', '.join(str(seed) for seed in each.seeds)}." for each in configurations
    ]
    lines += [f"Overrides that all share: {' '.join(shared)}."] if shared else []
    hardware = dict.fromkeys(record.hardware for run in runs for record in run.records if record.hardware)
    lines += [f"Hardware: {'; '.join(hardware)}."] if hardware else []
    known = [record for run in runs for record in run.records if record.commit]
    commits = dict.fromkeys(f"{r.commit[:7]}{' with changes' if r.dirty else ''}" for r in known if r.commit)
    if len(commits) > 1 or any(record.dirty for record in known):
        lines.append(f"The code is not one commit: {', '.join(commits)}; differences may come from it.")
    return [*lines, *left_out]


def ablation_table(
    configurations: Sequence[Configuration], reference: Configuration, split: str, measure: str
) -> Table:
    """One row a configuration: values before and after, gain, difference to the reference, cost.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned.
        reference: the one that the others are compared with.
        split: name of the split on which they are compared.
        measure: for example ``ndcg@10``.
    """
    factors = _factor_names(configurations)
    splits = list(dict.fromkeys(name for each in configurations for name in each.splits))
    columns = [*factors, "seeds"]
    for name in splits:
        columns += [f"{name}: before", "after", "gain"]
    columns += [f"{split}: difference to the reference", "training s", "tokens", "reused phases"]
    rows, notes = [], []
    for each in configurations:
        cells = [*_factor_cells(each, factors), str(len(each.runs))]
        for name in splits:
            cells += [
                _value(each.value(name, measure, before=True)),
                _value(each.value(name, measure)),
                _value(each.gain(name, measure), sign="+"),
            ]
        found = None if each is reference else compare(each, reference, split, measure)
        cells.append("reference" if found is None else _difference(found))
        if found is not None and found.why:
            notes.append(f"{each.label}: {found.why}.")
        rows.append((*cells, *_cost_cells(each)))
    title = f"{measure_title(measure)} of {len(rows)} configuration{'s' if len(rows) != 1 else ''}"
    notes = [*_how_to_read(configurations, reference), *notes]
    return Table(title, tuple(columns), tuple(rows), (), tuple(notes))


def ablation_phases(configurations: Sequence[Configuration], measure: str) -> Table:
    """One row a run and phase: the value after it on each split, steps, cost, and which run trained it.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned.
        measure: for example ``ndcg@10``.
    """
    factors = _factor_names(configurations)
    splits = list(dict.fromkeys(name for each in configurations for name in each.splits))
    rows = []
    for each in configurations:
        for run in each.runs:
            for phase in (BEFORE, *run.phases):
                values = [run.value(phase, split, measure) for split in splits]
                cells = [*_factor_cells(each, factors), str(run.seed), phase]
                cells += [NONE if value is None else f"{value:.4f}" for value in values]
                rows.append((*cells, *_phase_cells(run, phase)))
    columns = (*factors, "seed", "phase", *splits, "steps", "seconds", "tokens", "trained by")
    notes = ("seconds and tokens are those of this phase alone, in whichever run trained it.",)
    return Table(f"{measure_title(measure)} after each phase", columns, tuple(rows), (), notes)


def conclusions(
    configurations: Sequence[Configuration], reference: Configuration, split: str, measure: str
) -> list[str]:
    """What the numbers say: first each configuration against the untrained student, then against the reference.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned.
        reference: the one that the others are compared with.
        split: name of the split on which they are compared.
        measure: for example ``ndcg@10``.
    """
    what = f"{measure_title(measure)} on {split}"
    sentences = []
    for each in configurations:
        gain = each.gain(split, measure)
        if gain is not None:
            found = Difference(gain.mean, gain_interval(each, split, measure), {})
            who = f"{each.label}, after training against before"
            sentences.append(_sentence(who, what, found, each))
    for each in configurations:
        if each is not reference:
            found = compare(each, reference, split, measure)
            sentences.append(_sentence(f"{each.label} against {reference.label}", what, found, each))
    return sentences


def _sentence(who: str, what: str, found: Difference, each: Configuration) -> str:
    """Such as ``WHO: higher, +0.0100 [+0.0020, +0.0180] in WHAT (300 queries; 1 seed).``, or why not."""
    if found.mean is None:
        return f"{who}: {found.why}."
    if found.interval is None:
        why = found.why or "no interval, a ranking file is missing or is not the one that was recorded"
        return f"{who}: not tested, {found.mean:+.4f} in {what} ({why})."
    n = found.interval.n
    details = [f"{n} {'query' if n == 1 else 'queries'}", _seeds(each)]
    if len(found.by_seed) > 1:
        listed = ", ".join(f"{value:+.4f}" for value in found.by_seed.values())
        details.append(f"seed by seed {listed}")
    if found.why:
        details.append(f"but {found.why}")
    word = found.interval.mark or "not tested"
    numbers = f"{found.interval.mean:+.4f} {found.interval.bounds('+')}"
    return f"{who}: {word}, {numbers} in {what} ({'; '.join(details)})."


def _seeds(each: Configuration) -> str:
    n = len(each.runs)
    return f"mean of {n} seeds" if n > 1 else "1 seed"


def _factor_names(configurations: Sequence[Configuration]) -> list[str]:
    return list(dict.fromkeys(key for each in configurations for key in each.factors)) or ["configuration"]


def _factor_cells(each: Configuration, names: Sequence[str]) -> list[str]:
    if not each.factors and names == ["configuration"]:
        return [each.label]
    return [each.factors.get(name, NONE) for name in names]


def _value(found: Spread | None, sign: str = "") -> str:
    if found is None:
        return NONE
    spread = "" if found.sd is None else f" ± {found.sd:.4f}"
    return f"{found.mean:{sign}.4f}{spread}"


def _difference(found: Difference) -> str:
    if found.mean is None:
        return "not compared"
    return str(found.interval) if found.interval else f"{found.mean:+.4f} (no interval)"


def _cost_cells(each: Configuration) -> tuple[str, str, str]:
    """Seconds and tokens a run, mean over seeds, and how many of the phases other runs trained."""
    costs = [[cost for phase in run.trained if (cost := run.cost(phase))] for run in each.runs]
    if not all(costs):
        return NONE, NONE, NONE
    seconds = statistics.fmean(sum(cost.seconds for cost in run) for run in costs)
    tokens = statistics.fmean(sum(cost.tokens for cost in run) for run in costs)
    reused = [
        f"{phase} (seed {run.seed})"
        for run in each.runs
        for phase in run.trained
        if (cost := run.cost(phase)) and cost.reused_from
    ]
    return _seconds(seconds), f"{tokens:,.0f}", ", ".join(reused) or "none"


def _phase_cells(run: Run, phase: str) -> tuple[str, str, str, str]:
    cost: PhaseCost | None = run.cost(phase)
    if cost is None:
        return ("0" if phase == BEFORE else NONE), NONE, NONE, NONE
    trained_by = f"{cost.reused_from} (reused)" if cost.reused_from else f"{run.run_id} (this run)"
    return str(cost.steps), _seconds(cost.seconds), f"{cost.tokens:,}", trained_by


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _how_to_read(configurations: Sequence[Configuration], reference: Configuration) -> list[str]:
    notes = [
        "before, after, gain: mean over seeds"
        + (
            " ± standard deviation over seeds." if any(len(each.runs) > 1 for each in configurations) else "."
        ),
        "training s, tokens: a run's phases together, mean over seeds; a phase that was reused counts in full.",
    ]
    others = len(configurations) - 1
    if others:
        notes += [
            f"The reference is {reference.label}. [low, high]: 95% paired bootstrap interval over queries of the "
            "difference, each query averaged over the seeds first. It says what other queries would change; of "
            "other seeds than those that were run it says nothing.",
            MARKS,
        ]
    if others > 1:
        notes.append(
            f"{others} configurations are compared with the reference, each on its own: the more there are, the more "
            "likely it is that one of them is called higher or lower by chance."
        )
    return notes
