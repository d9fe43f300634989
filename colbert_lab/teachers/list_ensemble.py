"""Ensembles of score lists: several systems' scores of the same queries as one teacher.

``zscore``: a member's score s of a document becomes ``(s - mean) / deviation`` over the member's list of the query
(a list of equal scores becomes zeros). ``rank``: it becomes ``1 - (r - 1) / (n - 1)`` with r its rank among the n
documents of the list (1 is best; equal scores share their mean rank), so that the best is 1 and the last 0. The
ensemble's score is the mean over the members.

Documents that a member lacks: with ``drop``, only documents that all members score are kept, and means, deviations
and ranks are over those. With ``lowest``, every document that any member scores is kept, and a member that lacks it
gives it the lowest value of its list of the query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from colbert_lab.errors import InputError, some_ids
from colbert_lab.teachers.score_files import KEY, Scored

MISSING = ("drop", "lowest")


def combine(members: Mapping[str, Mapping[str, Scored]], how: str, missing: str) -> dict[str, Scored]:
    """Combine the scores of several systems.

    Args:
        members: name to the member's scores by query.
        how: ``zscore`` or ``rank``.
        missing: ``drop`` or ``lowest``.

    Returns:
        Query id to scores, best first, equal scores by document id descending; queries in the order of the first
        member.

    Raises:
        InputError: an unknown setting, a query that not every member has, or fewer than 2 documents left for one.
    """
    if how not in NORMALISED:
        raise InputError(f"score.combine={how}: must be one of {', '.join(NORMALISED)}")
    if missing not in MISSING:
        raise InputError(f"score.missing={missing}: must be one of {', '.join(MISSING)}")
    first, *others = members
    for other in others:
        for one, two in ((first, other), (other, first)):
            lacking = [query for query in members[one] if query not in members[two]]
            if lacking:
                raise InputError(
                    f"{KEY}: queries of {one} that {two} does not score: {some_ids(lacking)}; every file must score "
                    "the same queries"
                )
    combined = {
        query: _combined([member[query] for member in members.values()], NORMALISED[how], missing)
        for query in members[first]
    }
    short = [query for query, scored in combined.items() if len(scored.documents) < 2]
    if short:
        raise InputError(
            f"{KEY}: queries with fewer than 2 documents that all files score: {some_ids(short)}; "
            "score.missing=lowest keeps documents that some of them lack"
        )
    return combined


def _combined(
    lists: Sequence[Scored], normalised: Callable[[np.ndarray], np.ndarray], missing: str
) -> Scored:
    known = [dict(zip(scored.documents, scored.scores.tolist(), strict=True)) for scored in lists]
    documents = list(dict.fromkeys(document for scored in lists for document in scored.documents))
    if missing == "drop":
        documents = [document for document in documents if all(document in scores for scores in known)]
        known = [{document: scores[document] for document in documents} for scores in known]
    if not documents:
        return Scored([], np.empty(0))
    values = []
    for scores in known:
        of_document = dict(zip(scores, normalised(np.array(list(scores.values()))).tolist(), strict=True))
        lowest = min(of_document.values())
        values.append([of_document.get(document, lowest) for document in documents])
    means = np.mean(values, axis=0).tolist()
    order = sorted(zip(means, documents, strict=True), reverse=True)
    return Scored([document for _, document in order], np.array([mean for mean, _ in order]))


def _zscores(scores: np.ndarray) -> np.ndarray:
    if scores.min() == scores.max():  # the rounded mean of equal numbers need not be that number
        return np.zeros(len(scores))
    return np.asarray((scores - scores.mean()) / scores.std())


def _rank_values(scores: np.ndarray) -> np.ndarray:
    return np.asarray(1 - (rankdata(-scores) - 1) / max(len(scores) - 1, 1))


NORMALISED: dict[str, Callable[[np.ndarray], np.ndarray]] = {"zscore": _zscores, "rank": _rank_values}
"""How a member's scores are made comparable, by the name in ``score.combine``."""
