"""The values of each query behind a record, of one split or of a mean of splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.records.means import Strata, macro_mean
from colbert_lab.records.rankings import SAME, ranking_path, read_per_query
from colbert_lab.records.records import EXACT, Record
from colbert_lab.records.run_files import split_details

if TYPE_CHECKING:
    import numpy as np


class ByQuery(NamedTuple):
    """One measure, query by query.

    Attributes:
        query_ids: the judged queries.
        values: a value for each.
        strata: queries and weight of each split, where this is a mean of splits; else empty.
    """

    query_ids: tuple[str, ...]
    values: np.ndarray
    strata: Strata


def recorded_values(run_dir: Path, record: Record) -> tuple[PerQuery, Strata] | None:
    """The values of each query behind a record, and the splits of a mean of splits.

    Args:
        run_dir: the run's folder.
        record: one of its records.

    Returns:
        None where a file is missing, unreadable or not of the recorded mean.
    """
    members = split_details(run_dir).get(record.split, {}).get("mean_of")
    strata: Strata = ()
    try:
        if members:
            found, strata = read_mean(run_dir, record.system, record.phase, members, record.variant)
        else:
            path = ranking_path(run_dir, record.system, record.phase, record.split, record.variant)
            found = read_per_query(path)
    except InputError:
        return None
    if record.measure not in found.values or not len(found):
        return None
    mean = macro_mean(found.values[record.measure], strata) if strata else found.mean(record.measure)
    return (found, strata) if abs(mean - record.value) <= SAME else None


def read_mean(
    run_dir: Path, system: str, phase: str, weights: Mapping[str, float], variant: str = EXACT
) -> tuple[PerQuery, Strata]:
    """The per-query values behind a mean, end to end.

    Args:
        run_dir: the run's folder.
        system: see :func:`colbert_lab.records.rankings.ranking_path`.
        phase: see there.
        weights: split to weight.
        variant: see there.

    Raises:
        InputError: a file of per-query values is missing or of another layout.
    """
    import numpy as np

    parts = [read_per_query(ranking_path(run_dir, system, phase, split, variant)) for split in weights]
    ids = [f"{split}/{query}" for split, part in zip(weights, parts, strict=True) for query in part.query_ids]
    values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
    strata = zip(map(len, parts), weights.values(), strict=True)
    return PerQuery(tuple(ids), values), tuple(strata)
