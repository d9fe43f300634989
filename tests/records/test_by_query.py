"""The values of each query behind a record or a mean of splits."""

from pathlib import Path

import numpy as np
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.records.by_query import read_mean
from colbert_lab.records.means import macro_mean
from colbert_lab.records.rankings import ranking_path, write_ranking


def test_the_values_behind_a_mean_are_read_split_after_split(tmp_path: Path) -> None:
    lists = {"a": [0.0, 1.0], "b": [0.5, 0.5, 0.2]}
    for split, values in lists.items():
        ids = tuple(f"q{n}" for n in range(len(values)))
        ranking = Ranking(ids, [["d"]] * len(ids), [[1.0]] * len(ids))
        per_query = PerQuery(ids, {"ndcg@10": np.array(values)})
        write_ranking(ranking_path(tmp_path, "student", "before", split), ranking, per_query)
    found, strata = read_mean(tmp_path, "student", "before", {"b": 0.5, "a": 0.5})
    assert found.query_ids == ("b/q0", "b/q1", "b/q2", "a/q0", "a/q1")
    assert strata == ((3, 0.5), (2, 0.5))
    assert macro_mean(found.values["ndcg@10"], strata) == pytest.approx(0.5 * 0.4 + 0.5 * 0.5)
    with pytest.raises(InputError, match=r"c\.parquet"):
        read_mean(tmp_path, "student", "before", {"a": 0.5, "c": 0.5})
