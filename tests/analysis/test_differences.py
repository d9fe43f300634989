"""Wins and losses by query, from folders with known numbers."""

import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.analysis.configurations import Configuration, group
from colbert_lab.analysis.difference_views import (
    contest_sentences,
    difference_sentences,
    difference_table,
    plot_differences,
)
from colbert_lab.analysis.differences import Differences, contest, query_differences, side
from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus, Ranking, Split
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.records.rankings import ranking_path, write_ranking
from colbert_lab.records.runs import find_runs
from tests.records.run_folders import BASE, MEASURE, QUERIES, write_run

GAINS = (0.3, 0.1, 0.0, 0.0, -0.2, 0.0, 0.0, 0.3)
TEXT = Split(
    "made",
    "test",
    Corpus(("d1", "d2", "d3"), ("one | *two*", "red\nfish", "a bird"), "corpus"),
    {query: f"what is {query}" for query in QUERIES},
    {query: {"d1": 1, "d3": 0} for query in QUERIES},
    "text",
)


def rank(path: Path, gain: tuple[float, ...] | float, documents: list[str]) -> None:
    """The same values with a ranking of these documents for every query."""
    lists = Ranking(list(QUERIES), [documents] * len(QUERIES), [[3.0, 2.0, 1.0]] * len(QUERIES))
    values = PerQuery(QUERIES, {MEASURE: BASE + np.asarray(gain)})
    write_ranking(ranking_path(path, "student", "distill", "test"), lists, values)


@pytest.fixture
def study(tmp_path: Path) -> list[Configuration]:
    """``new`` puts the relevant document d1 first, ``old`` puts d3 first."""
    for value, gain, documents in (("new", GAINS, ["d1", "d2", "d3"]), ("old", 0.0, ["d3", "d2", "d1"])):
        for seed in (1, 2):
            path = write_run(tmp_path, value[0], seed, {"n": value}, {"distill": {"test": gain}})
            rank(path, gain, documents)
    return group(find_runs(tmp_path, "study").runs)


@pytest.fixture
def found(study: list[Configuration]) -> Differences:
    return query_differences(side(study, {"n": "new"}), side(study, {"n": "old"}), "test", MEASURE)


def test_wins_ties_and_losses(found: Differences) -> None:
    assert found.counts == (3, 4, 1)
    assert found.values.tolist() == pytest.approx(list(GAINS))
    assert [found.query_ids[k] for k in found.largest(2)] == ["q0", "q7"]  # equal ones by id
    assert [found.query_ids[k] for k in found.largest(5, wins=False)] == ["q4"]
    said = difference_sentences(found)
    assert said[0] == "A is n=new after distill: 0.4125 in nDCG@10 on test."
    assert said[2].startswith("A minus B: +0.0625 [-")
    assert said[3] == (
        "A wins 3 queries (37.5%) (by +0.2333 on average), ties are 4 queries (50.0%), and A loses 1 query "
        "(12.5%) (by -0.2000 on average)."
    )
    assert "first seed" in said[4]


def test_the_table_shows_texts_ranks_and_judgments(found: Differences) -> None:
    table = difference_table(found, 2, TEXT)
    assert [row[0] for row in table.rows] == [
        "**largest wins of A**", "what is q0", "what is q7", "**largest losses of A**", "what is q4",
    ]  # fmt: skip
    _, one, other, gap, ours, theirs = table.rows[1]
    assert (one, other, gap) == ("0.3000", "0.0000", "+0.3000")
    assert ours == "1. d1 ✓<br>2. d2<br>(✓ at 1)"
    assert theirs == "1. d3<br>2. d2<br>(✓ at 3)"
    without = difference_table(found, 1)
    assert without.rows[1][0] == "q0"
    assert without.rows[1][4] == "1. d1<br>2. d2"


def test_the_documents_that_a_win_is_about(found: Differences) -> None:
    met = contest(found, found.largest(1)[0], TEXT)
    assert met is not None
    assert (met.query_id, met.relevant, met.rival, met.better) == ("q0", "d1", "d3", True)
    assert contest_sentences(found, met, TEXT) == [
        "Query: what is q0",
        r"Relevant (rank 1 for A, rank 3 for B): d1: one | \*two\*",
        "Not relevant (rank 3 for A, rank 1 for B): d3: a bird",
    ]
    lost = contest(found, found.largest(1, wins=False)[0], TEXT)
    assert lost is not None
    assert (lost.relevant, lost.rival, lost.better) == ("d1", "d2", False)


def test_a_student_against_itself_before_training(study: list[Configuration]) -> None:
    one, before = side(study, {"n": "new"}), side(study, {"n": "new"}, "before")
    assert before.label == "n=new before training"
    assert query_differences(one, before, "test", MEASURE).counts == (3, 4, 1)
    with pytest.raises(InputError, match="n=new after distill is both students"):
        query_differences(one, one, "test", MEASURE)
    with pytest.raises(InputError, match="phase=polish: must be one of before, distill"):
        side(study, None, "polish")


def test_what_cannot_be_paired_is_refused(tmp_path: Path, study: list[Configuration]) -> None:
    write_run(tmp_path, "x", 1, {"n": "x"}, {"distill": {"test": 0.1}}, time=9.0, fingerprint="newer")
    every = group(find_runs(tmp_path, "study").runs)
    one = side(every, {"n": "new"})
    with pytest.raises(
        InputError, match=r"test is another text for each of them \(fingerprints text and newer"
    ):
        query_differences(one, side(every, {"n": "x"}), "test", MEASURE)
    with pytest.raises(InputError, match="n=new after distill was not measured on dev"):
        query_differences(one, side(every, {"n": "old"}), "dev", MEASURE)
    for path in tmp_path.glob("study/o*/distill/rankings/test.parquet"):
        path.unlink()
    with pytest.raises(InputError, match="n=old after distill: no values of ndcg@10 by query on test"):
        query_differences(one, side(every, {"n": "old"}), "test", MEASURE)


def test_the_figure(found: Differences) -> None:
    figure = plot_differences(found)
    figure.savefig(io.BytesIO(), format="png")  # lays it out
    (panel,) = figure.axes
    assert panel.get_ylabel() == "nDCG@10, A minus B"
    assert panel.get_xlabel() == "queries of test, the largest win first (rank)"
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[:3] == ["A wins: 3", "A loses: 1", "ties: 4"]
    assert not legend.get_window_extent().overlaps(panel.get_window_extent())
