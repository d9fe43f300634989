"""Training queries that are queries of evaluation splits: found, and left out or refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import Split
from colbert_lab.settings import Settings
from colbert_lab.text.collections.splits import SplitRequest, is_dev, is_held_out_split
from colbert_lab.text.fingerprint import fingerprint, normalised, overlapping_queries
from colbert_lab.text.passes import MANY, kept_pass
from colbert_lab.text.rows.examples import Examples
from colbert_lab.text.rows.triples import Triples

log = logging.getLogger(__name__)


def overlaps(source: Examples, splits: Mapping[str, Split]) -> dict[str, list[str]]:
    """The training queries that are queries of evaluation splits, by split; kept where there are many.

    Args:
        source: the training data.
        splits: the evaluation splits.
    """
    keys = list(splits)
    asked = [fingerprint(sorted(split.queries.values())) for split in splits.values()]

    def find() -> dict[str, np.ndarray]:
        if isinstance(source, Triples):
            found = source.queries_among(
                {key: set(map(normalised, split.queries.values())) for key, split in splits.items()}
            )
        else:
            title = f"comparing queries of {source.name}"
            bar = progress_bar(source.training_queries(), desc=title, unit="query", unit_scale=True)
            found = overlapping_queries(bar, splits)
        return {str(number): np.array(found[key], dtype=str) for number, key in enumerate(keys)}

    ids = getattr(source, "ids_fingerprint", None)  # ids are what is found
    decides = None if ids is None or len(source) < MANY else [source.fingerprint, ids, *asked]
    kept = kept_pass("overlaps", decides, find)
    return {key: kept[str(number)].tolist() for number, key in enumerate(keys)}


def kept_apart(
    settings: Settings, source: Examples, splits: dict[str, Split], requests: Mapping[str, SplitRequest]
) -> Examples:
    """The rows that may be trained on beside these evaluation splits.

    Args:
        settings: of the run.
        source: the training data.
        splits: the evaluation splits; one that cannot be kept apart is taken out.
        requests: what the config asks for of each.

    Raises:
        InputError: training queries are in a split, and the config does not say what to do about it.
    """
    for key, found in overlaps(source, splits).items():
        if not found:
            continue
        split = splits[key]
        if is_held_out_split(split):
            source = source.without(set(found))
            log.info("evaluation.splits.%s: %d held-out queries left out of training", key, len(found))
        elif key in requests and requests[key].split == "auto" and is_dev(split):
            del splits[key]
            log.warning(
                "evaluation.splits.%s: its queries are trained on (%s), so selection is off",
                key,
                some_ids(found),
            )
        elif settings.drop_contamination:
            source = source.without(set(found))
            log.warning(
                "evaluation.splits.%s: %s training queries of %s are in it and are left out",
                key, some_ids(found), source.name,
            )  # fmt: skip
        elif settings.allow_contamination:
            log.warning("evaluation.splits.%s: %s training queries are in it", key, some_ids(found))
        else:
            raise InputError(
                f"evaluation.splits.{key}: {some_ids(found)} training queries of {source.name} are in it; choose "
                "another split or data, leave them out with drop_contamination=true, or set allow_contamination=true"
            )
    return source
