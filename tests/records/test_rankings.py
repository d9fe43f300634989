"""Per-query files."""

from pathlib import Path

import numpy as np
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import PerQuery, evaluate
from colbert_lab.records.rankings import ranking_path, read_per_query, read_ranking, write_ranking

QRELS = {"q1": {"a": 1}, "missing": {"a": 1}, "q3": {"c": 2, "d": 1}, "empty": {"a": 1}}
RANKING = Ranking(
    ["q3", "stray", "q1", "empty"],
    [["c", "é", "d"], ["a"], ["b", "a"], []],
    [[3.5, 0.1, -1.0], [0.3], [2.0, 1.0], []],
)


def by_query(ranking: Ranking) -> dict[str, tuple[list[str], list[float]]]:
    lists = zip(ranking.query_ids, ranking.document_ids, ranking.scores, strict=True)
    return {query: (list(docs), [float(np.float32(s)) for s in scores]) for query, docs, scores in lists}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "before" / "rankings" / "test.parquet"
    per_query = evaluate(RANKING, QRELS, ["ndcg@10", "mrr@1"])
    write_ranking(path, RANKING, per_query)
    ranking, read = read_ranking(path)
    assert by_query(ranking) == by_query(RANKING)
    assert ranking.query_ids == ["q1", "q3", "empty", "stray"]
    for found in (read, read_per_query(path)):
        assert found.query_ids == per_query.query_ids
        assert found.unjudged == 1
        assert list(found.values) == ["ndcg@10", "mrr@1"]
        for name, values in per_query.values.items():
            assert found.values[name].dtype == np.float64
            np.testing.assert_array_equal(found.values[name], values)
    again = evaluate(ranking, QRELS, ["ndcg@10"])
    np.testing.assert_array_equal(again.values["ndcg@10"], per_query.values["ndcg@10"])


def test_columns_and_types(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    write_ranking(path, RANKING, evaluate(RANKING, QRELS, ["ndcg@10"]))
    schema = pq.read_schema(path)
    assert schema.names == ["query_id", "document_ids", "scores", "ndcg@10"]
    assert [str(t) for t in schema.types] == [
        "string",
        "list<element: string>",
        "list<element: float>",
        "double",
    ]
    assert [child.name for child in tmp_path.iterdir()] == ["x.parquet"]


def test_no_measures_and_numpy_scores(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    ranking = Ranking(["q"], [["a", "b"]], [np.array([2, 1], dtype=np.float32)])  # type: ignore[list-item]
    write_ranking(path, ranking, PerQuery(("q",), {}))
    assert by_query(read_ranking(path)[0]) == by_query(ranking)
    assert read_per_query(path).values == {}


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(InputError, match=r"x\.parquet"):
        read_ranking(path)
    write_ranking(path, RANKING, evaluate(RANKING, QRELS, ["ndcg@10"]))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"x\.parquet"):
        read_per_query(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"other": [1]}), path)
    with pytest.raises(InputError, match="not a ranking file"):
        read_ranking(path)


def test_places() -> None:
    run = Path("run")
    assert ranking_path(run, "student", "distill", "test") == Path("run/distill/rankings/test.parquet")
    assert ranking_path(run, "bm25", "", "dev") == Path("run/baselines/rankings/dev.bm25.parquet")
