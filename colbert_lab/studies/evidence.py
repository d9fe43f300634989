"""What the rows of a study say: values with intervals, tested differences, and the verdict of the decision rule.

The arithmetic is that of ``task=compare``: every query's value is averaged over the seeds before anything is paired,
intervals are 95% bootstrap intervals over queries, p is that of the randomisation test over queries. The correction of
Holm runs over the claims of the study. Queries say nothing of other seeds, so a difference counts only if every seed's
own difference has its sign.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.significance import LEVEL, Interval, Paired, holm
from colbert_lab.records.means import interval_of, paired
from colbert_lab.records.records import EXACT
from colbert_lab.studies.study import Claim, Study, Term
from colbert_lab.studies.study_runs import STUDENT, Key, StudyRun

if TYPE_CHECKING:
    import numpy as np

BASELINES = ("bm25", "dense", "teacher")
HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot tell"


@dataclass(frozen=True, eq=False)
class Value:
    """One term, its seeds taken together.

    Attributes:
        by_seed: the mean over queries for each seed.
        interval: 95% bootstrap interval over queries of the per-query means over seeds.
        per_query: for each seed, every query's value.
    """

    by_seed: Mapping[int, float]
    interval: Interval
    per_query: Mapping[int, np.ndarray]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.by_seed.values())

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds; None with one."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class Finding:
    """A claim and what the numbers say of it.

    Attributes:
        claim: the claim.
        interval: of the tested number, with its p, corrected over the study's claims; None where rows are missing.
        by_seed: the number for each seed that all its cells have.
        missing: the terms without rows, and what else is missing; "" for nothing.
    """

    claim: Claim
    interval: Paired | None = None
    by_seed: Mapping[int, float] | None = None
    missing: str = ""

    @property
    def verdict(self) -> str:
        """``holds``, ``does not hold`` or ``cannot tell``, by the rule of the claim.

        With ``expect`` higher: holds when the difference is significantly above 0 (corrected p below ``LEVEL``, every
        seed's difference above 0), however small it is; does not hold when it is significantly below 0, or when the
        whole interval and every seed's difference lie below the margin; else the numbers cannot tell. Lower is the same
        with the signs turned. With alike: holds when the whole interval and every seed's difference lie within the
        margin on both sides; does not hold when the difference is significant and the interval's middle beyond the
        margin; else they cannot tell. As long as rows or seeds are missing, they cannot tell either.
        """
        if self.interval is None or not self.by_seed or self.missing:
            return OPEN
        sign = -1.0 if self.claim.expect == "lower" else 1.0
        ends = [sign * end for end in (self.interval.low, self.interval.high, *self.by_seed.values())]
        mean, margin = sign * self.interval.mean, self.claim.margin
        if self.claim.expect == "alike":
            if max(map(abs, ends)) <= margin:
                return HOLDS
            return FAILS if self.significant and abs(mean) > margin else OPEN
        if self.significant and mean > 0:
            return HOLDS
        return FAILS if (self.significant and mean < 0) or max(ends) < margin else OPEN

    @property
    def told(self) -> str:
        """The verdict, with the margin where that decided it or is not reached, and with what is missing."""
        word, margin = self.verdict, f"{self.claim.margin:g}"
        if self.missing:
            return f"{word} ({self.missing})"
        if self.interval is None or not self.by_seed or word == OPEN:
            return word
        if self.claim.expect == "alike":
            return f"{word} ({'within' if word == HOLDS else 'beyond'} {margin})"
        sign = -1.0 if self.claim.expect == "lower" else 1.0
        if word == FAILS and self.significant and sign * self.interval.mean < 0:
            return f"{word} (the opposite does)"
        ends = (self.interval.low, self.interval.high, *self.by_seed.values())
        if max(sign * end for end in ends) >= self.claim.margin:
            return word
        return f"{word} ({'by ' if word == HOLDS else ''}less than {margin})"

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below ``LEVEL`` and every seed says the same."""
        if self.interval is None or not self.by_seed:
            return False
        alike = {value > 0 for value in self.by_seed.values()}
        return self.interval.p_holm < LEVEL and len(alike) == 1 and 0.0 not in self.by_seed.values()


def runs_of(runs: Sequence[StudyRun], cell: str) -> list[StudyRun]:
    """The runs of a cell, by seed."""
    return [run for run in runs if run.cell == cell]


def key_for(run: StudyRun, term: Term) -> Key:
    """Where a run keeps the values of a term."""
    if term.phase in BASELINES:
        return Key(term.phase, "baselines", EXACT)
    return Key(STUDENT, term.phase or run.last, term.mode or run.main)


def value_of(runs: Sequence[StudyRun], term: Term) -> Value | None:
    """A term's values; None where no run has them.

    Args:
        runs: of the study.
        term: cell, phase and mode.

    Raises:
        InputError: some seeds of the cell have them and some do not.
    """
    mine = runs_of(runs, term.cell)
    found = {run.seed: run.values[key_for(run, term)] for run in mine if key_for(run, term) in run.values}
    if not found:
        return None
    if len(found) < len(mine) and term.phase not in BASELINES:
        lacking = next(run for run in mine if run.seed not in found)
        raise InputError(f"{term}: run {lacking.run_id} (seed {lacking.seed}) does not have it; run it again")
    by_seed = {seed: float(values.mean()) for seed, values in found.items()}
    return Value(by_seed, interval_of(_mean(list(found.values()))), found)


def findings(study: Study, runs: Sequence[StudyRun]) -> list[Finding]:
    """Every claim of a study, tested as far as its rows go.

    Args:
        study: the study.
        runs: what :func:`colbert_lab.studies.rows.read_rows` returned.
    """
    found = [_test(study, runs, claim) for claim in study.claims]
    # A claim without rows counts as one that found nothing, so that no verdict changes when its rows arrive.
    corrected = holm([1.0 if each.interval is None else each.interval.p for each in found])
    return [
        each if each.interval is None else replace(each, interval=replace(each.interval, p_holm=p))
        for each, p in zip(found, corrected, strict=True)
    ]


def _test(study: Study, runs: Sequence[StudyRun], claim: Claim) -> Finding:
    values = {term: value_of(runs, term) for term in claim.weights}
    for term, value in values.items():
        if value is None and (mine := runs_of(runs, term.cell)):
            keys = (f"{k.phase if k.system == STUDENT else k.system}@{k.variant}" for k in mine[0].values)
            told = f"the runs of {term.cell} do not have it, but {', '.join(keys)}"
            raise InputError(f"{study.folder}: claims: {term}: {told}")
    if lacking := [str(term) for term, value in values.items() if value is None]:
        return Finding(claim, missing=f"no rows of {', '.join(lacking)}")
    known = {term: value for term, value in values.items() if value is not None}
    needed = [value for term, value in known.items() if term.phase not in BASELINES]
    seeds = [seed for seed in study.seeds if all(seed in value.by_seed for value in needed)]
    if not seeds:
        return Finding(claim, missing="no seed that all its cells have")
    by_seed = {}
    for seed in seeds:
        parts = [weight * _of_seed(known[term], seed) for term, weight in claim.weights.items()]
        by_seed[seed] = sum(parts[1:], start=parts[0])
    differences = _mean(list(by_seed.values()))
    absent = [str(seed) for seed in study.seeds if seed not in seeds]
    means = {seed: float(values.mean()) for seed, values in by_seed.items()}
    return Finding(claim, paired(differences), means, f"without seed {', '.join(absent)}" if absent else "")


def _of_seed(value: Value, seed: int) -> np.ndarray:
    """Every query's value with a seed; of a baseline that not every run measured, any."""
    return value.per_query.get(seed, next(iter(value.per_query.values())))


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    import numpy as np

    mean: np.ndarray = np.mean(values, axis=0)
    return mean


def verdict(found: Sequence[Finding]) -> str:
    """The verdict of the whole study, in one sentence.

    Args:
        found: what :func:`findings` returned.
    """
    n = len(found)
    if not any(each.interval for each in found):
        which = f"none of the {n} claims has the rows that it needs" if n > 1 else "its claim lacks rows"
        return f"No verdict yet: {which}."
    counts = {
        word: [str(k) for k, each in enumerate(found, 1) if each.verdict == word]
        for word in (HOLDS, FAILS, OPEN)
    }
    told = [(len(which), word, which) for word, which in counts.items() if which]
    parts = [f"{count} {_verb(word, count)} ({', '.join(which)})" for count, word, which in told]
    return f"Of {n} claims, {'; '.join(parts)}." if n > 1 else f"The claim: {found[0].verdict}."


def _verb(word: str, n: int) -> str:
    if word == OPEN:
        return "the numbers cannot tell"
    return word if n == 1 else {HOLDS: "hold", FAILS: "do not hold"}[word]
