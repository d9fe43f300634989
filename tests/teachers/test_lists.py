"""Candidate lists: what is in them, what they depend on, and that they are scored once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colbert_lab.errors import InputError
from colbert_lab.teachers import lists as subject
from colbert_lab.teachers.ensemble import Ensemble
from colbert_lab.teachers.lists import build_scored_lists, describe
from colbert_lab.teachers.scorer import indexed, rank
from colbert_lab.text.examples import ScoredLists
from colbert_lab.types import Corpus
from tests.teachers.support import Given, Hashed, HashedIndex, make_corpus

CORPUS = make_corpus(40)
QUERIES = {f"q{n}": f"query {n}" for n in range(9)}
RETRIEVERS = {"one": Hashed("one"), "two": Hashed("two")}
TEACHER = Hashed("teacher")


def build(
    cache_dir: Path, corpus: Corpus = CORPUS, queries: dict[str, str] = QUERIES, **changes: Any
) -> ScoredLists:
    settings: dict[str, Any] = {
        "teacher": TEACHER,
        "retrievers": RETRIEVERS,
        "top": 4,
        "random": 3,
        "seed": 0,
    }
    return build_scored_lists("toy", corpus, queries, cache_dir=cache_dir, **(settings | changes))


def candidates(lists: ScoredLists) -> dict[str, list[str]]:
    return {
        query: [lists.corpus.ids[row] for row in rows]
        for query, rows in zip(lists.query_ids, lists.documents, strict=True)
    }


def found(retriever: Hashed, top: int = 4) -> dict[str, set[str]]:
    ranking = rank(retriever, CORPUS, QUERIES, top)
    return {query: set(row) for query, row in zip(ranking.query_ids, ranking.document_ids, strict=True)}


def drawn(lists: ScoredLists) -> dict[str, set[str]]:
    """The random candidates: those that no retriever found."""
    one, two = (found(retriever) for retriever in RETRIEVERS.values())
    return {query: set(row) - one[query] - two[query] for query, row in candidates(lists).items()}


def test_lists_hold_the_top_of_every_retriever_and_random_others_once(tmp_path: Path) -> None:
    lists = build(tmp_path)
    one, two = (found(retriever) for retriever in RETRIEVERS.values())
    assert list(lists.query_ids) == list(QUERIES)
    assert list(lists.queries) == list(QUERIES.values())
    for query, row in candidates(lists).items():
        assert one[query] | two[query] <= set(row)
        assert len(row) == len(set(row)) == len(one[query] | two[query]) + 3
    assert any(one[query] & two[query] for query in QUERIES), "no retrievers that agree: nothing is repeated"


def test_scores_are_the_teachers_own(tmp_path: Path) -> None:
    lists = build(tmp_path)
    expected = indexed(TEACHER, CORPUS).scores(list(QUERIES.values())).numpy()
    for row, (documents, scores) in enumerate(zip(lists.documents, lists.scores, strict=True)):
        assert scores.dtype == np.float32
        assert [lists.corpus.texts[n] for n in documents] == [CORPUS.texts[n] for n in documents]
        np.testing.assert_array_equal(scores, expected[row, documents])


def test_another_query_changes_no_other_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = candidates(build(tmp_path))
    monkeypatch.setattr(subject, "QUERIES_AT_ONCE", 2)
    more = candidates(build(tmp_path, queries={"new": "query new", **QUERIES}))
    assert {query: more[query] for query in QUERIES} == first


def test_random_candidates_depend_on_query_and_seed(tmp_path: Path) -> None:
    base = drawn(build(tmp_path))
    assert len({frozenset(documents) for documents in base.values()}) == len(QUERIES)
    other_seed = drawn(build(tmp_path, seed=1))
    assert all(base[query] != other_seed[query] for query in QUERIES)


def test_candidates_do_not_depend_on_the_teacher(tmp_path: Path) -> None:
    one, other = build(tmp_path), build(tmp_path, teacher=Hashed("another"))
    assert candidates(one) == candidates(other)
    assert one.fingerprint != other.fingerprint
    assert not np.array_equal(one.scores[0], other.scores[0])


def test_the_second_call_reads_the_same_lists_without_scoring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(tmp_path)

    def refuse(*_: Any) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(HashedIndex, "scores", refuse)
    again = build(tmp_path)
    assert candidates(again) == candidates(first)
    for mine, theirs in zip(again.scores, first.scores, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (again.fingerprint, again.name, again.details) == (first.fingerprint, "toy", first.details)
    with pytest.raises(AssertionError, match="scored again"):
        build(tmp_path, seed=1)


def test_everything_that_decides_the_lists_is_in_their_identity(tmp_path: Path) -> None:
    variants = [
        build(tmp_path),
        build(tmp_path, teacher=Ensemble({"a": Hashed("a"), "b": Hashed("b")})),
        build(tmp_path, teacher=Ensemble({"a": Hashed("a"), "b": Hashed("c")})),
        build(tmp_path, retrievers={"one": Hashed("one"), "two": Hashed("three")}),
        build(tmp_path, top=5),
        build(tmp_path, random=4),
        build(tmp_path, seed=1),
        build(tmp_path, corpus=make_corpus(41)),
        build(tmp_path, queries=QUERIES | {"q0": "changed"}),
        build(tmp_path, queries={"p" + query: text for query, text in QUERIES.items()}),
    ]
    assert len({lists.fingerprint for lists in variants}) == len(variants)
    assert len(list((tmp_path / "lists").iterdir())) == len(variants)


def test_an_ensemble_is_described_by_its_members() -> None:
    """Its repr would hold a memory address, and the cache would never be found again."""
    one, same = (Ensemble({"a": Hashed("a"), "b": Hashed("b")}) for _ in range(2))
    assert describe(one) == describe(same) == "mean z-score of a=Hashed(name='a'), b=Hashed(name='b')"


def test_retrievers_or_random_candidates_alone_will_do(tmp_path: Path) -> None:
    one, two = (found(retriever, 2) for retriever in RETRIEVERS.values())
    found_only = candidates(build(tmp_path, top=2, random=0))
    assert {query: set(row) for query, row in found_only.items()} == {q: one[q] | two[q] for q in QUERIES}
    alone: tuple[dict[str, Any], ...] = ({"top": 0}, {"retrievers": {}})
    for settings in alone:
        random_only = candidates(build(tmp_path, random=5, **settings))
        assert {len(set(row)) for row in random_only.values()} == {5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top": 0, "random": 1}, r"data\.top=0 and data\.random=1 .*fewer than 2 candidate"),
        ({"top": 1, "random": 0}, r"data\.top=1 and data\.random=0 with 2 retrievers: .*fewer than 2"),
        ({"retrievers": {}, "top": 9, "random": 1}, "with 0 retrievers: .*fewer than 2"),
        ({"top": -1, "random": 9}, r"data\.top=-1: must not be below 0"),
        ({"top": 9, "random": -2}, r"data\.random=-2: must not be below 0"),
        ({"top": 20, "random": 1}, r"data\.top and data\.random ask for up to 41 of only 40 documents"),
    ],
)
def test_bad_settings_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        build(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_retrievers_that_agree_still_give_two_candidates(tmp_path: Path) -> None:
    same = Given("same", tuple((text, tuple(float(n) for n in range(40))) for text in QUERIES.values()))
    lists = build(tmp_path, retrievers={"one": same, "two": same}, top=1, random=1)
    assert {len(row) for row in lists.documents} == {2}
    assert {row[0] for row in candidates(lists).values()} == {"d39"}
