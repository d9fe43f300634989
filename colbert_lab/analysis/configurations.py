"""Runs grouped into configurations (the same config, other seeds), and two configurations compared."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.significance import Paired, corrected
from colbert_lab.records.by_query import ByQuery
from colbert_lab.records.identity import SHORT
from colbert_lab.records.means import paired
from colbert_lab.records.runs import BEFORE, STUDENT, Run

DEFAULT = "(default)"
"""Shown for a factor that a run did not override."""


@dataclass(frozen=True)
class Spread:
    """One number a seed, summed up.

    Attributes:
        mean: mean over seeds.
        sd: sample standard deviation over seeds; None with one seed.
        n: number of seeds.
    """

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Configuration:
    """Runs that differ by their seed alone: the same config on the same splits.

    Attributes:
        factors: what tells it from the other configurations, by short name.
        overrides: all its factors, by config key.
        runs: one run a seed, by seed.
    """

    factors: Mapping[str, str]
    overrides: Mapping[str, str]
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """The factor values in one line."""
        return ", ".join(f"{key}={value}" for key, value in self.factors.items()) or "the only configuration"

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seeds that were run."""
        return tuple(run.seed for run in self.runs)

    @property
    def splits(self) -> dict[str, str]:
        """Fingerprint of each split; the same for all runs."""
        return self.runs[0].splits

    def value(self, split: str, measure: str, *, before: bool = False) -> Spread | None:
        """A measure after the last phase, or ``before`` training; None unless every seed has it."""
        return spread([run.value(_phase(run, before), split, measure) for run in self.runs])

    def value_at(self, phase: str, split: str, measure: str) -> Spread | None:
        """A measure after one of the phases; None unless every seed has it."""
        return spread([run.value(phase, split, measure) for run in self.runs])

    def gain(self, split: str, measure: str) -> Spread | None:
        """After the last phase minus before, seed by seed; None unless every seed has both."""
        gains: list[float | None] = []
        for run in self.runs:
            after, before = (run.value(_phase(run, b), split, measure) for b in (False, True))
            gains.append(None if after is None or before is None else after - before)
        return spread(gains)

    def per_query(self, split: str, measure: str, *, before: bool = False) -> ByQuery | None:
        """Queries, and each query's value averaged over the seeds; None unless every seed has its file."""
        return _averaged([run.by_query(_phase(run, before), split, measure) for run in self.runs])

    def per_query_at(self, phase: str, split: str, measure: str, system: str = STUDENT) -> ByQuery | None:
        """The same after one of the phases, or of another system in its phase."""
        return _averaged([run.by_query(phase, split, measure, system) for run in self.runs])


def group(runs: Sequence[Run]) -> list[Configuration]:
    """Group runs by config and split fingerprints, in the order in which they were begun.

    Args:
        runs: what :func:`colbert_lab.records.runs.find_runs` returned.

    Returns:
        The configurations. Each is named by the overrides whose values are not the same everywhere; where
        those do not tell two apart, also by the hash of the config or of the splits.
    """
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        key = (run.config_hash, *(f"{split}:{mark}" for split, mark in sorted(run.splits.items())))
        groups.setdefault(key, []).append(run)
    firsts = [members[0] for members in groups.values()]
    keys = dict.fromkeys(key for run in firsts for key in run.factors)
    varied = [key for key in keys if len({run.factors.get(key) for run in firsts}) > 1]
    shown = [
        {name: run.factors.get(key, DEFAULT) for key, name in short_names(varied).items()} for run in firsts
    ]
    found = []
    for (hashed, *marks), members, factors in zip(groups, groups.values(), shown, strict=True):
        twins = [key for key, other in zip(groups, shown, strict=True) if other == factors]
        told = dict(factors)
        if len({key[0] for key in twins}) > 1:
            told["config"] = hashed[:SHORT]
        if len({key[1:] for key in twins}) > 1:
            told["splits"] = " ".join(mark[: mark.index(":") + 9] for mark in marks)
        ordered = sorted(members, key=lambda run: -1 if run.seed is None else run.seed)
        found.append(Configuration(told, members[0].factors, tuple(ordered)))
    return found


OF_SOMETHING = ("weight",)
"""Last names of keys that say nothing alone."""


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The shortest ends of config keys that still tell them apart: ``phases.distill.optimizer.lr`` is ``lr``.

    A weight says whose it is: ``distillation.weight``.

    Args:
        keys: config keys with dots.
    """
    names = {}
    for key in keys:
        parts = key.split(".")
        for start in range(len(parts) - 1, -1, -1):
            name = ".".join(parts[start:])
            alike = any(other != key and f".{other}".endswith(f".{name}") for other in keys)
            if not alike and name not in OF_SOMETHING:
                break
        names[key] = name
    return names


def pick(
    configurations: Sequence[Configuration], wanted: Mapping[str, str] | None, key: str = "reference"
) -> Configuration:
    """The configuration that others are compared with.

    Args:
        configurations: what :func:`group` returned.
        wanted: factor values that it has, by short name or config key; None takes the first.
        key: what asks for them, for messages.

    Raises:
        InputError: none or several have these values.
    """
    wanted = wanted or {}
    told = [({**each.overrides, **each.factors}, each) for each in configurations]
    found = [each for has, each in told if all(_alike(has.get(k, DEFAULT), v) for k, v in wanted.items())]
    if not found or (wanted and len(found) > 1):
        there = "; ".join(each.label for each in configurations)
        count = "none" if not found else f"{len(found)} of them"
        raise InputError(f"{key} {dict(wanted)}: {count} fit; the configurations are: {there}")
    return found[0]


def _alike(value: str, wanted: object) -> bool:
    """The same text, or the same number: 1e-2 and 0.01."""
    try:
        return value == str(wanted) or float(value) == float(str(wanted))
    except ValueError:
        return False


def gain_interval(one: Configuration, split: str, measure: str) -> Paired | None:
    """After minus before, paired by query, per query averaged over seeds first; p corrected over its splits."""
    both = {
        each: (one.per_query(each, measure), one.per_query(each, measure, before=True)) for each in one.splits
    }
    return tested(both).get(split)


def tested(pairs: Mapping[str, tuple[ByQuery | None, ByQuery | None]]) -> dict[str, Paired]:
    """Two students on every split where both have values for the same queries.

    Args:
        pairs: by split, each student's queries and values.

    Returns:
        By split, p corrected over them; a mean of splits is no member of their family.
    """
    found = {
        split: (bool(one.strata), paired(one.values - other.values, one.strata))
        for split, (one, other) in pairs.items()
        if one is not None and other is not None
        if (one.query_ids, one.strata) == (other.query_ids, other.strata)
    }
    families = [
        {split: each for split, (mean, each) in found.items() if mean is kind} for kind in (False, True)
    ]
    return corrected(families[0]) | corrected(families[1])


def _averaged(found: Sequence[ByQuery | None]) -> ByQuery | None:
    """Each query's mean over the seeds; None unless every seed has the same queries."""
    import numpy as np

    whole = [each for each in found if each is not None]
    if len(whole) != len(found) or len({(each.query_ids, each.strata) for each in whole}) != 1:
        return None
    return whole[0]._replace(values=np.mean([each.values for each in whole], axis=0))


def _phase(run: Run, before: bool) -> str:
    return BEFORE if before or not run.phases else run.phases[-1]


def spread(values: Sequence[float | None]) -> Spread | None:
    """Sum up one number a seed; None unless every seed has one.

    Args:
        values: one a seed.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) != len(values):
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))
