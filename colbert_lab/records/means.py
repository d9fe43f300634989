"""Means over queries with their intervals, paired differences with their tests, and macro averages over splits.

Every interval of runs in a table, figure or sentence comes from :func:`interval_of` or :func:`paired`, of one split or
of a macro average, such as the mean of NanoBEIR's 13 sets; these may be nested (CQADupStack in BEIR).
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.significance import (
    Interval,
    Paired,
    bootstrap_interval,
    randomisation_p,
    smallest_detectable,
)
from colbert_lab.records.records import Record

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)
MEAN = "mean"
ROUNDING = 1e-12
"""A smaller difference of a query is none."""
RESAMPLES = 10_000
AT_ONCE = 100  # resamples; bounds memory where a split has thousands of queries
Strata = tuple[tuple[int, float], ...]
"""Number of queries and weight of each split of a mean."""


def split_weights(
    means: Mapping[str, Sequence[str] | None], measured: Sequence[str], entries: Collection[str]
) -> dict[str, dict[str, float]]:
    """Say how much each split counts in each mean.

    Args:
        means: name to members: splits, other means, or patterns of split names (``cqadupstack-*``); a mean that is
            None is left out.
        measured: the splits that there are.
        entries: what the config names. An entry that is not measured (``auto`` found none, or it is null) keeps its
            place, so that the mean is known to be incomplete; one of candidate lists is there as ``<entry>.<source>``.

    Returns:
        Mean to {split: weight}; the weights of a mean add up to 1, and every member counts the same in its mean.

    Raises:
        InputError: a mean has the name of a split, no members, itself as a member, or one that does not exist.
    """
    means = {name: members for name, members in means.items() if members is not None}
    absent = [key for key in entries if not any(f"{split}.".startswith(f"{key}.") for split in measured)]
    known = [*measured, *absent]

    def weights(name: str, above: tuple[str, ...]) -> dict[str, float]:
        key = f"evaluation.means.{above[0] if above else name}"
        if name in above:
            raise InputError(f"{key}: {name} is a member of itself; take it out")
        members: dict[str, None] = {}
        for member in means[name] or ():
            matching = [split for split in known if fnmatchcase(split, member)]
            if not matching and member not in means:
                there = ", ".join([*known, *means])
                raise InputError(f"{key}: {member} is neither a split nor a mean; there are {there}")
            members |= dict.fromkeys(matching or [member])
        if not members:
            raise InputError(f"{key}: no members; name at least one split")
        found: dict[str, float] = {}
        for member in members:
            parts = weights(member, (*above, name)) if member in means else {member: 1.0}
            for split, weight in parts.items():
                found[split] = found.get(split, 0.0) + weight / len(members)
        return found

    for name in means:
        if name in known:
            raise InputError(f"evaluation.means.{name}: a split has this name too; rename one of them")
    return {name: weights(name, ()) for name in means}


def complete_means(
    means: Mapping[str, dict[str, float]], measured: Collection[str]
) -> dict[str, dict[str, float]]:
    """The means whose splits are all measured; the log says what the others lack.

    Args:
        means: mean to {split: weight}.
        measured: the splits that there are.
    """
    whole = {}
    for name, weights in means.items():
        missing = [split for split in weights if split not in measured]
        if missing:
            log.warning("evaluation.means.%s: not taken, as %s is not measured", name, ", ".join(missing))
        else:
            whole[name] = weights
    return whole


def mean_records(means: Mapping[str, Mapping[str, float]], records: Sequence[Record]) -> list[Record]:
    """The macro averages that can be taken of records and are not among them, one record a way to search and measure.

    Args:
        means: mean to {split: weight}; the name takes the place of a record's split and data set.
        records: what one system was measured to have, in one phase.
    """
    groups: dict[tuple[str, str], dict[str, Record]] = {}
    for record in records:
        groups.setdefault((record.variant, record.measure), {})[record.split] = record
    return [
        _mean(name, weights, by_split)
        for name, weights in means.items()
        for by_split in groups.values()
        if name not in by_split and by_split.keys() >= weights.keys()
    ]


def _mean(name: str, weights: Mapping[str, float], records: Mapping[str, Record]) -> Record:
    from colbert_lab.text.fingerprint import fingerprint

    parts = [records[split] for split in weights]
    return replace(
        parts[-1],
        dataset=name,
        split=name,
        split_fingerprint=fingerprint(*(part.split_fingerprint for part in parts)),
        protocol_hash=fingerprint(*(part.protocol_hash for part in parts))[:10],
        value=sum(weight * part.value for weight, part in zip(weights.values(), parts, strict=True)),
        n_queries=sum(part.n_queries for part in parts),
        seconds_eval=round(sum(part.seconds_eval or 0.0 for part in parts), 3),
        seconds_index=_sum(part.seconds_index for part in parts),
        seconds_search=_sum(part.seconds_search for part in parts),
        index_bytes=_sum(part.index_bytes for part in parts),
        n_documents=_sum(part.n_documents for part in parts),
        extra={
            key: value
            for key, value in parts[-1].extra.items()
            if all(part.extra.get(key) == value for part in parts)
        },
    )


def _sum(values: Iterable[Any]) -> Any:
    """The sum; None where a value is missing."""
    known = list(values)
    return None if None in known else sum(known)


def macro_mean(values: np.ndarray, strata: Strata) -> float:
    """The weighted mean of the splits' means.

    Args:
        values: one number a query, split after split.
        strata: the splits.
    """
    return sum(weight * float(own.mean()) for own, weight in _parts(values, strata))


def macro_interval(values: np.ndarray, strata: Strata, level: float, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of a macro average; queries are resampled within each split.

    Which splits a benchmark has is no accident, so splits are not resampled.

    Args:
        values: one number a query, split after split.
        strata: the splits.
        level: confidence level between 0 and 1.
        seed: the same seed gives the same bounds.

    Returns:
        The interval; ``n`` counts the queries of all splits.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    total = np.zeros(RESAMPLES)
    for own, weight in _parts(values, strata):
        for start in range(0, RESAMPLES, AT_ONCE):
            picks = rng.integers(len(own), size=(AT_ONCE, len(own)))
            total[start : start + AT_ONCE] += weight * own[picks].mean(axis=1)
    low, high = np.quantile(total, [(1 - level) / 2, (1 + level) / 2])
    return Interval(macro_mean(values, strata), float(low), float(high), len(values))


def interval_of(values: np.ndarray, strata: Strata = ()) -> Interval:
    """95% bootstrap interval over queries of a mean, or of a macro average.

    Args:
        values: one number a query, split after split.
        strata: the splits of a macro average; empty for one split.
    """
    return _interval(values.tobytes(), strata)


def paired(differences: np.ndarray, strata: Strata = ()) -> Paired:
    """A paired difference with its interval, its test (p uncorrected) and what could have been found.

    Every difference that a table, figure or sentence shows is one of these. A query whose difference is below
    ``ROUNDING`` does not differ: means over the same seeds' values may round apart.

    Args:
        differences: one system minus the other, one number a query.
        strata: the splits of a macro average; empty for one split.
    """
    import numpy as np

    return _paired(np.where(np.abs(differences) < ROUNDING, 0.0, differences).tobytes(), strata)


@functools.lru_cache(maxsize=4096)
def _interval(values: bytes, strata: Strata) -> Interval:
    """Bootstrap once for values that are asked for again (a run builds its tables more than once)."""
    import numpy as np

    plain = np.frombuffer(values, dtype=np.float64)
    return macro_interval(plain, strata, 0.95) if strata else bootstrap_interval(plain)


@functools.lru_cache(maxsize=4096)
def _paired(values: bytes, strata: Strata) -> Paired:
    import numpy as np

    plain, found = np.frombuffer(values, dtype=np.float64), _interval(values, strata)
    p = randomisation_p(macro_differences(plain, strata) if strata else plain)
    return Paired(found.mean, found.low, found.high, found.n, p, p, macro_detectable(plain, strata))


def macro_differences(values: np.ndarray, strata: Strata) -> np.ndarray:
    """The same numbers, each times its query's weight, so that their plain mean is the macro average.

    Flipping the sign of a query's difference flips its part of the macro average, so the randomisation test of these
    is the test of the macro average.

    Args:
        values: one number a query, split after split.
        strata: the splits.
    """
    import numpy as np

    return np.concatenate([own * weight * len(values) / len(own) for own, weight in _parts(values, strata)])


def macro_detectable(values: np.ndarray, strata: Strata) -> float:
    """As :func:`colbert_lab.evaluation.significance.smallest_detectable`, for a macro average, or one split.

    The variance of a weighted sum of independent means is the sum of their variances, each times its weight squared.

    Args:
        values: one difference a query, split after split.
        strata: the splits.
    """
    parts = [
        weight * smallest_detectable(own) for own, weight in _parts(values, strata or ((len(values), 1.0),))
    ]
    return math.sqrt(sum(part**2 for part in parts))


def _parts(values: np.ndarray, strata: Strata) -> list[tuple[np.ndarray, float]]:
    """Each split's values with its weight."""
    import numpy as np

    ends = np.cumsum([n for n, _ in strata])[:-1]
    return list(zip(np.split(values, ends), [weight for _, weight in strata], strict=True))
