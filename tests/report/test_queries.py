"""Wins and losses with texts and rankings."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.records.rankings import ranking_path
from colbert_lab.report.headline import headline
from colbert_lab.report.queries import EXCERPT, Queries, _found_at, queries_of
from tests.report.support import DOCUMENTS, TEXTS, compared, one_run


def found_in(*folders: Path, most: int = 3) -> Queries:
    found = queries_of(headline(compared(*folders)), most)
    assert isinstance(found, Queries), found
    return found


def test_the_largest_wins_and_losses_have_texts_and_both_rankings(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    (run / "distill" / "student").mkdir()
    found = found_in(run)
    assert [(each.id, round(each.difference, 9)) for each in found.wins] == [
        ("q0", 0.3),
        ("q1", 0.2),
        ("q3", 0.2),
    ]
    assert [(each.id, round(each.difference, 9)) for each in found.losses] == [("q7", -0.2)]
    assert found.sentences[3].startswith(
        "A wins 6 queries (75.0%) (by +0.1667 on average), ties are 1 query (12.5%)"
    )
    first = found.wins[0]
    assert first.text == TEXTS["q0"]
    assert [round(value, 9) for value in first.values] == [0.3, 0.0]
    assert [[(each.id, each.relevant) for each in listed] for listed in first.lists] == [
        [("d0", True), ("d1", False), ("d2", False), ("d3", False), ("d4", False)],
        [("d1", False), ("d2", False), ("d0", True), ("d3", False), ("d4", False)],
    ]
    assert first.lists[0][0].text == DOCUMENTS["d0"]
    assert first.found_at == ("at rank 1", "at rank 3")
    assert shlex.split(first.explain) == [
        *("python", "-m", "colbert_lab", "task=explain", f"student.checkpoint={run}/distill/student"),
        *(f"query={TEXTS['q0']}", f"document={DOCUMENTS['d0']}"),
    ]
    assert found.has_texts


@pytest.mark.parametrize(
    ("relevant", "told"),
    [
        (("b",), "at rank 2"),
        (("d", "b"), "at ranks 2, 4"),
        (("a", "x", "y"), "at rank 1, 2 not among the first 4"),
        (("x",), "not among the first 4"),
        ((), ""),
    ],
)
def test_it_is_told_where_all_relevant_documents_are(relevant: tuple[str, ...], told: str) -> None:
    assert _found_at(list("abcd"), relevant) == told


def test_without_texts_there_are_ids_alone(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    shutil.rmtree(run / "texts")
    found = found_in(run)
    assert not found.has_texts
    assert (found.wins[0].text, found.wins[0].explain, found.wins[0].found_at) == ("", "", ("", ""))
    assert [each.id for each in found.wins[0].lists[0]] == ["d0", "d1", "d2", "d3", "d4"]


def test_long_documents_are_cut_on_the_page(tmp_path: Path) -> None:
    long = {**TEXTS, "q0": "q" * 900}
    found = found_in(one_run(tmp_path, long))
    assert found.wins[0].text == "q" * 900
    assert all(len(each.text) <= EXCERPT for each in found.wins[0].lists[0])


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    ranking_path(run, "student", "before", "test").unlink()
    told = queries_of(headline(compared(run)), 3)
    assert isinstance(told, str)
    assert told.startswith("No wins and losses: ")
