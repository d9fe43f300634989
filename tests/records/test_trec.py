"""Run files and qrels files: every tool that reads them finds the numbers that are recorded."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import evaluate, trec_order
from colbert_lab.records.trec import falling, write_qrels, write_run

SOURCE = Path("test.parquet")
RULES: dict[str, Callable[[tuple[str, float]], tuple[float, list[int]]]] = {
    "smallest id first": lambda each: (-each[1], list(each[0].encode())),
    "largest id first": lambda each: (-each[1], [-byte for byte in each[0].encode()]),
}


def tied(queries: int = 30, documents: int = 20) -> tuple[Ranking, dict[str, dict[str, int]]]:
    """Rankings with a few different scores each, in trec_eval's order, and graded judgments."""
    generator = np.random.default_rng(0)
    names = [f"d{n}" for n in range(documents)]
    lists, scores, qrels = [], [], {}
    for n in range(queries):
        found = generator.choice([0.0, 0.5, 1e-20, -3.25, 17.123456], documents).tolist()
        order = trec_order(names, found)
        lists.append([names[place] for place in order])
        scores.append([found[place] for place in order])
        qrels[f"q{n}"] = {
            name: int(grade) for name, grade in zip(names, generator.integers(-1, 4, documents), strict=True)
        }
    return Ranking(list(qrels), lists, scores), qrels


def read(path: Path) -> dict[str, dict[str, float]]:
    with path.open() as file:
        found: dict[str, dict[str, float]] = pytrec_eval.parse_run(file)
    return found


def test_measures_of_the_files_are_those_of_the_ranking(tmp_path: Path) -> None:
    ranking, qrels = tied()
    ours = evaluate(ranking, qrels, ["ndcg@10", "map@10"])
    write_run(tmp_path / "run", ranking, "system", SOURCE)
    write_qrels(tmp_path / "qrels", qrels, SOURCE)
    with (tmp_path / "qrels").open() as file:
        judged = pytrec_eval.parse_qrel(file)
    assert min(grade for grades in judged.values() for grade in grades.values()) == 0
    for name, rule in RULES.items():
        # What a tool makes of equal scores changes nothing: there are none.
        ordered = {
            query: dict(sorted(found.items(), key=rule)) for query, found in read(tmp_path / "run").items()
        }
        assert [list(found) for found in ordered.values()] == [list(each) for each in ranking.document_ids], (
            name
        )
    found = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "map_cut.10"}).evaluate(
        read(tmp_path / "run")
    )
    for ours_name, theirs in (("ndcg@10", "ndcg_cut_10"), ("map@10", "map_cut_10")):
        assert [found[query][theirs] for query in ours.query_ids] == ours.values[ours_name].tolist()


def test_a_line_is_as_trec_has_it(tmp_path: Path) -> None:
    ranking = Ranking(["q1", "q2"], [["b", "a", "c"], []], [[0.3, 0.3, -1.0], []])
    write_run(tmp_path / "run", ranking, "r.bm25", SOURCE)
    assert (tmp_path / "run").read_text().splitlines() == [
        "q1 Q0 b 1 0.3 r.bm25",
        "q1 Q0 a 2 0.29999998 r.bm25",
        "q1 Q0 c 3 -1.0 r.bm25",
    ]
    write_qrels(tmp_path / "qrels", {"q1": {"a": 2, "b": 0}}, SOURCE)
    assert (tmp_path / "qrels").read_text().splitlines() == ["q1 0 a 2", "q1 0 b 0"]


def test_scores_are_lowered_where_they_have_to_be_alone() -> None:
    apart = np.array([3, 2, 1], dtype=np.float32)
    assert falling(apart).tolist() == [3, 2, 1]
    same = falling(np.array([2, 2, 2, 1, 1], dtype=np.float32))
    assert (np.diff(same) < 0).all()
    assert abs(same - np.array([2, 2, 2, 1, 1])).max() < 1e-6
    assert (same[0], same[3]) == (2, 1)


@pytest.mark.parametrize("name", ["a b", "a\tb", "a\u00a0b", "", "a\n"])
def test_ids_that_columns_cannot_hold_are_refused_by_name(name: str, tmp_path: Path) -> None:
    said = re.escape(f"1 ({name!r}); give them others")
    for ranking in (Ranking([name], [["d"]], [[1.0]]), Ranking(["q"], [[name]], [[1.0]])):
        with pytest.raises(InputError, match=said):
            write_run(tmp_path / "run", ranking, "tag", SOURCE)
    with pytest.raises(InputError, match=said):
        write_qrels(tmp_path / "qrels", {"q": {name: 1}}, SOURCE)


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="query q has a score that is no finite number"):
        write_run(tmp_path / "run", Ranking(["q"], [["d"]], [[float("inf")]]), "tag", SOURCE)
