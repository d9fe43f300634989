"""Where a phase gets its lists from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus
from colbert_lab.sources import sources as subject
from colbert_lab.sources.sources import (
    InstalledDocsLists,
    ScoredListFiles,
    build_scored_lists,
    describe,
    judged_split,
)
from colbert_lab.sources.triple_sources import TripleFiles
from colbert_lab.teachers.ensemble import Ensemble
from colbert_lab.teachers.scorer import indexed, rank
from colbert_lab.text import installed_docs
from colbert_lab.text.collections.beir import load_beir
from colbert_lab.text.documentation import documentation_of
from colbert_lab.text.installed_docs_build import Row
from colbert_lab.text.rows.examples import ScoredLists
from tests.teachers.support import Given, Hashed, HashedIndex, make_corpus
from tests.tiny import sentences, write_beir
from tests.toy import write_toy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    documents = {f"d{n}": text for n, text in enumerate(sentences(4))}
    queries = {"q1": "red fish", "q2": "blue bird"}
    root = write_beir(tmp_path / "toy", documents, queries, {"train": [("q1", "d1", 1)]})
    row = {"query_id": "q2", "document_ids": ["d3", "d0", "d2"], "scores": [2.5, -1, 0.25]}
    (root / "teacher.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return root


def test_ready_lists_are_read_from_a_folder(folder: Path, tmp_path: Path) -> None:
    source = ScoredListFiles(str(folder), "teacher.jsonl")
    (lists,) = source.load(tmp_path / "cache")
    assert source.teacher is None
    assert lists.name == "toy/teacher"
    assert (list(lists.query_ids), list(lists.queries)) == (["q2"], ["blue bird"])
    assert [lists.corpus.ids[row] for row in lists.documents[0]] == ["d3", "d0", "d2"]
    assert lists.scores[0].tolist() == [2.5, -1.0, 0.25]


def test_ready_lists_that_are_missing_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.scores: \S+other\.jsonl: no such file"):
        ScoredListFiles(str(folder), "other.jsonl").load(tmp_path)
    with pytest.raises(InputError, match=r"^data\.path: \S+nowhere"):
        ScoredListFiles(str(tmp_path / "nowhere"), None).load(tmp_path)


def installed(**changes: Any) -> InstalledDocsLists:
    settings: dict[str, Any] = {
        "teacher": Hashed("teacher"),
        "retrievers": {"one": Hashed("one")},
        "documents": None,
        "queries": None,
        "top": 2,
        "random": 1,
        "seed": 0,
    }
    return InstalledDocsLists(**(settings | changes))


@pytest.fixture
def small_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten documented functions: every fifth is of the test split."""
    rows = [
        Row(f"m{n}:f", f"document {n}", f"query {n}", "test" if n % 5 == 4 else "train") for n in range(10)
    ]
    monkeypatch.setattr(
        installed_docs, "load_installed_docs", lambda cache_dir: documentation_of("installed_docs", rows, {})
    )


@pytest.mark.usefixtures("small_installation")
def test_lists_over_the_installed_documentation_hold_training_text_only(tmp_path: Path) -> None:
    (lists,) = installed().load(tmp_path)
    expected = [f"m{n}:f" for n in range(10) if n % 5 != 4]
    assert list(lists.corpus.ids) == expected
    assert list(lists.query_ids) == [f"q:{name}" for name in expected]
    assert {len(row) for row in lists.documents} == {3}
    assert lists.name == "installed_docs"


@pytest.mark.usefixtures("small_installation")
def test_the_cut_keeps_the_documents_of_the_chosen_queries(tmp_path: Path) -> None:
    (lists,) = installed(documents=4, queries=3).load(tmp_path)
    assert (len(lists.corpus), len(lists)) == (4, 3)
    assert {query.removeprefix("q:") for query in lists.query_ids} <= set(lists.corpus.ids)


@pytest.mark.usefixtures("small_installation")
def test_bad_settings_of_the_installed_documentation_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.teacher: installed_docs needs a teacher"):
        installed(teacher=None).load(tmp_path)
    with pytest.raises(InputError, match=r"^data: documents=2 is too few"):
        installed(documents=2, queries=3).load(tmp_path)
    with pytest.raises(InputError, match=r"^data: queries=0"):
        installed(queries=0).load(tmp_path)


def test_the_positive_is_the_teachers_best_or_the_lists_first(folder: Path, tmp_path: Path) -> None:
    row = {"query_id": "q2", "document_ids": ["d3", "d0", "d2"], "scores": [0.5, -1, 2.25]}
    (folder / "positive.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    found, marks = {}, set()
    for positive in ("best", "first"):
        source = ScoredListFiles(str(folder), "positive.jsonl", draw="order", positive=positive)
        (lists,) = source.load(tmp_path / "cache")
        example = lists.example(0, 2, np.random.default_rng(0))
        assert example.scores is not None
        found[positive] = (list(example.document_ids), example.scores.tolist())
        marks.add(lists.fingerprint)
    assert found == {"best": (["d2", "d3"], [2.25, 0.5]), "first": (["d3", "d0"], [0.5, -1.0])}
    assert len(marks) == 2


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
    monkeypatch.setattr(subject, "queries_at_once", lambda documents: 2)
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


def test_a_folder_gives_its_own_judgments(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    found = judged_split(TripleFiles(str(toy)), tmp_path)
    assert found.fingerprint == load_beir(toy, "train").fingerprint


def test_pairs_make_a_corpus_of_their_documents(tmp_path: Path) -> None:
    rows = [("a", "one"), ("b", "two"), ("a", "two"), ("a", "one")]
    lines = [f'{{"query": "{query}", "document": "{document}"}}\n' for query, document in rows]
    (tmp_path / "pairs.jsonl").write_text("".join(lines))
    found = judged_split(TripleFiles(str(tmp_path)), tmp_path / "cache")
    assert dict(zip(found.corpus.ids, found.corpus.texts, strict=True)) == {"d0": "one", "d1": "two"}
    assert found.queries == {"q0": "a", "q1": "b"}
    assert found.qrels == {"q0": {"d0": 1, "d1": 1}, "q1": {"d1": 1}}


def test_score_lists_have_no_judgments(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    with pytest.raises(InputError, match="one source of pairs or a folder with judgments is needed, not toy"):
        judged_split(ScoredListFiles(str(toy), "lists.jsonl"), tmp_path)


def test_two_queries_of_one_id_are_refused(tmp_path: Path) -> None:
    rows = [("1", "a", "one"), ("1", "b", "two")]
    lines = [f'{{"query_id": "{i}", "query": "{query}", "document": "{d}"}}\n' for i, query, d in rows]
    (tmp_path / "pairs.jsonl").write_text("".join(lines))
    with pytest.raises(InputError, match=r"^data: \S+/train: two queries have the id 1; make the ids unique"):
        judged_split(TripleFiles(str(tmp_path)), tmp_path / "cache")
