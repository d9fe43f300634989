"""Scores of relevant documents against others, and truncation, from folders with known numbers."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.analysis.figures import plot_scores, plot_truncation
from colbert_lab.analysis.score_audit import ranked_scores, score_sentences, score_table, training_table
from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus, Ranking, Split
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.records.rankings import ranking_path, write_ranking
from colbert_lab.records.run_files import add_protocol
from colbert_lab.records.runs import Run, find_runs
from tests.records.run_folders import BASE, MEASURE, QUERIES, write_run

TEXT = Split(
    "made",
    "test",
    Corpus(("d1", "d2", "d3"), ("one", "two", "three"), "corpus"),
    dict.fromkeys(QUERIES, "text"),
    {query: {"d1": 1, "d3": 0} for query in QUERIES},
    "text",
)
CUT = {
    "query": {"texts": 40, "cut": 0.25, "cut_without_prompt": 0.125},
    "document": {"texts": 80, "cut": 0.5, "cut_without_prompt": 0.5},
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Before training d1 ties with d3 below d2; afterwards it is first; one query does not find it."""
    path = write_run(tmp_path, "a", 1, {}, {"distill": {"test": 0.0}})
    rankings = {
        ("student", "before"): (["d2", "d3", "d1"], [3.0, 1.0, 1.0]),
        ("student", "distill"): (["d1", "d2", "d3"], [9.0, 2.0, 1.0]),
        ("teacher", ""): (["d2", "d1"], [5.0, 4.0]),
    }
    for (system, phase), (documents, scores) in rankings.items():
        lists = [documents] * (len(QUERIES) - 1) + [["d2", "d3"]]
        values = [scores] * (len(QUERIES) - 1) + [[2.0, 1.0]]
        ranking = Ranking(list(QUERIES), lists, values)
        write_ranking(ranking_path(path, system, phase, "test"), ranking, PerQuery(QUERIES, {MEASURE: BASE}))
    facts = json.loads((path / "distill" / "phase.json").read_text())
    facts |= {"teacher_entropy": 0.1934, "truncation": CUT}
    (path / "distill" / "phase.json").write_text(json.dumps(facts))
    (found,) = find_runs(tmp_path, "study").runs
    return found


def test_how_well_relevant_documents_are_told_apart(run: Run) -> None:
    teacher, before, after = ranked_scores(run, "test", TEXT)
    assert [each.label for each in (teacher, before, after)] == [
        "teacher",
        "student before training",
        "after distill",
    ]
    assert (teacher.separation, before.separation, after.separation) == (0.0, 0.25, 1.0)
    assert before.holding == 7 / 8
    assert after.relevant.tolist() == [9.0] * 7
    assert len(after.others) == 16
    said = score_sentences([teacher, before, after])
    assert said[2] == (
        "after distill: a relevant document scores higher than another one of its list in 100.00% of the pairs "
        "(+75.00 points against before training)."
    )
    table = score_table([teacher, before, after], "test")
    assert table.rows[2] == ("after distill", "8", "9.000 ± 0.000", "1.500 ± 0.500", "87.5%", "100.0%")
    assert table.notes[0].startswith("Of the first 3 documents of each query.")


def test_the_unit_is_that_of_the_protocol(run: Run) -> None:
    of_mean = add_protocol(run.path, {"score": "mean_maxsim"})
    records = [replace(r, protocol_hash=of_mean) if r.phase == "distill" else r for r in run.records]
    units = [each.unit for each in ranked_scores(replace(run, records=tuple(records)), "test", TEXT)]
    assert units == ["the system's own unit", "MaxSim, sum of cosines", "MeanMaxSim, mean of cosines"]


def test_without_judgments_nothing_is_relevant(run: Run) -> None:
    every = ranked_scores(run, "test", None)
    assert [len(each.relevant) for each in every] == [0, 0, 0]
    assert score_table(every, "test").rows[1][-2:] == ("-", "-")
    assert score_sentences(every) == ["Without judgments, nothing is said about relevant documents."]
    assert len(plot_scores(every).axes) == 4
    with pytest.raises(InputError, match="no rankings of dev; it was measured on test"):
        ranked_scores(run, "dev", None)


def test_what_training_was_given(run: Run) -> None:
    table = training_table(run)
    assert table.rows == (("distill", "0.193", "40", "25.0%", "12.5%", "80", "50.0%", "50.0%"),)
    assert table.columns[2] == "queries: looked at"


def test_the_score_figure(run: Run) -> None:
    figure = plot_scores(ranked_scores(run, "test", TEXT))
    figure.savefig(io.BytesIO(), format="png")  # lays it out
    panels = [panel for panel in figure.axes if panel.get_visible()]
    assert [panel.get_xlabel() for panel in panels] == [
        "score (the system's own unit)", "score (MaxSim, sum of cosines)", "score (MaxSim, sum of cosines)",
    ]  # fmt: skip
    assert panels[0].get_ylabel() == "share of these documents (%)"
    assert panels[1].get_ylim() == panels[2].get_ylim()
    others, relevant = panels[2].patches
    assert [float(np.sum(each.get_data().values)) for each in (others, relevant)] == pytest.approx([100, 100])  # type: ignore[attr-defined]
    (legend,) = figure.legends
    assert not any(legend.get_window_extent().overlaps(panel.get_window_extent()) for panel in panels)


def test_the_truncation_figure(run: Run) -> None:
    figure = plot_truncation(run)
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == [
        "distill: queries",
        "distill: documents",
    ]
    assert [bar.get_width() for bar in panel.patches] == [25.0, 12.5, 50.0, 50.0]  # type: ignore[attr-defined]
    assert panel.get_xlabel() == "training texts that lose tokens (%)"
    (run.path / "distill" / "phase.json").unlink()
    with pytest.raises(InputError, match=r"no phase\.json says how many texts are cut"):
        plot_truncation(run)
