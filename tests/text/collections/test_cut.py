import hashlib
from dataclasses import replace

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.collections.cut import cut_split, cut_together

IDS = [f"d{number}" for number in range(20)]


def make(name: str = "test", grades: dict[str, dict[str, int]] | None = None) -> Split:
    qrels = grades or {"q1": {"d3": 2, "d9": 0}, "q2": {"d5": 1}, "q3": {"d7": 1, "d8": 1, "d1": 0}}
    queries = {query: f"text of {query}" for query in qrels}
    return build_split("toy", name, build_corpus(IDS, [f"words {i}" for i in IDS]), queries, qrels, {"a": 1})


def by_hash(ids: list[str]) -> list[str]:
    return sorted(ids, key=lambda text: hashlib.sha256(text.encode()).hexdigest())


def test_nothing_to_cut_gives_the_same_object() -> None:
    split = make()
    assert cut_split(split, None, None) is split
    assert cut_split(split, 20, 3) is split


def test_relevant_then_judged_then_hashed_documents_in_corpus_order() -> None:
    cut = cut_split(make(), 8, None)
    judged = ["d3", "d5", "d7", "d8", "d9", "d1"]
    expected = {*judged, *by_hash([i for i in IDS if i not in judged])[:2]}
    assert list(cut.corpus.ids) == [i for i in IDS if i in expected]
    assert [cut.corpus.texts[0], len(cut.corpus)] == [f"words {cut.corpus.ids[0]}", 8]
    assert cut.qrels == make().qrels
    assert cut.fingerprint != make().fingerprint
    assert cut.details["a"] == 1
    assert cut.details["cut"]["documents"] == 8
    assert cut.details["cut"]["documents_before"] == 20


def test_judgments_of_cut_documents_go_but_never_relevant_ones() -> None:
    cut = cut_split(make(), 5, None)
    kept = by_hash(["d9", "d1"])[0]
    assert set(cut.corpus.ids) == {"d3", "d5", "d7", "d8", kept}
    assert cut.details["cut"]["judgments_dropped"] == 1
    assert sum(map(len, cut.qrels.values())) == 5


def test_a_query_left_without_judgments_goes() -> None:
    cut = cut_split(make(grades={"q1": {"d3": 1}, "q2": {"d4": 0}}), 1, None)
    assert list(cut.queries) == list(cut.qrels) == ["q1"]


def test_too_few_documents_says_what_works() -> None:
    with pytest.raises(
        InputError,
        match=r"documents=3 is too few.*toy/test have 4 .* set documents to 4 .*every\.queries=N",
    ):
        cut_split(make(), 3, None)
    assert len(cut_split(make(), 4, None).corpus) == 4


def test_queries_are_chosen_by_hash_and_keep_their_order() -> None:
    cut = cut_split(make(), None, 2)
    chosen = set(by_hash(["q1", "q2", "q3"])[:2])
    assert list(cut.queries) == list(cut.qrels) == [q for q in ("q1", "q2", "q3") if q in chosen]
    assert len(cut.corpus) == 20


@pytest.mark.parametrize(("documents", "queries"), [(0, None), (None, 0), (-1, None)])
def test_numbers_below_one_are_refused(documents: int | None, queries: int | None) -> None:
    with pytest.raises(InputError, match="at least 1"):
        cut_split(make(), documents, queries)


def test_together_shares_one_corpus_with_the_relevant_documents_of_all() -> None:
    first, second = make("dev", {"a": {"d0": 1}}), make("test", {"b": {"d19": 1}})
    results = cut_together([first, second], 2, [None, None])
    assert results[0].corpus is results[1].corpus
    assert list(results[0].corpus.ids) == ["d0", "d19"]
    shared = cut_together([first, second], None, [None, None])
    assert shared[0] is first
    assert shared[1].corpus is first.corpus
    assert shared[1].fingerprint == second.fingerprint


def test_together_refuses_different_corpora() -> None:
    other = replace(make("dev"), corpus=build_corpus(["x"], ["y"]))
    with pytest.raises(InputError, match="toy/test, toy/dev: splits of different corpora"):
        cut_together([make(), other], None, [None, None])
