"""What is scored: the lists of a source, or what retrievers find for its queries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.sources.sources import InstalledDocsLists, ScoredListFiles
from colbert_lab.sources.to_score import ToScore, has_lists, lists_of, retrieved, texts_of
from colbert_lab.sources.triple_sources import InstalledDocsTriples, Mixture, TripleFiles
from tests.teachers.support import Hashed
from tests.tiny import write_beir
from tests.toy import write_toy

TRIPLES = [
    {"query": "red fish", "document": "a red fish", "negative": ["blue sky", "a bird", "old tree"]},
    {"query": "blue sky", "document": "the blue sky", "negative": ["a bird"]},
    {"query": "red fish", "document": "fish are red", "negative": ["blue sky", "a red fish"]},
]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy")


def write_triples(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def texts(made: ToScore) -> dict[str, list[str]]:
    """The texts of each query's list."""
    lists = made.rows(range(len(made)))
    return {
        query: [made.corpus.texts[row] for row in rows]
        for query, rows in zip(made.queries, lists, strict=True)
    }


def found(toy: Path, retrievers: Mapping[str, Any] | None = None, **changes: Any) -> ToScore:
    settings: dict[str, Any] = {"top": 5, "random": 3, "positives": True, "seed": 0}
    settings["retrievers"] = {"one": Hashed("one")} if retrievers is None else retrievers
    return retrieved(TripleFiles(str(toy)), toy, **(settings | changes))


def test_score_lists_keep_their_documents(toy: Path, tmp_path: Path) -> None:
    made = lists_of(ScoredListFiles(str(toy), "lists.jsonl"), tmp_path)
    rows = [json.loads(line) for line in (toy / "lists.jsonl").read_text().splitlines()]
    lists = made.rows(range(len(made)))
    assert list(made.query_ids) == [row["query_id"] for row in rows]
    assert [[made.corpus.ids[n] for n in own] for own in lists] == [row["document_ids"] for row in rows]


def test_triples_give_the_positives_first_then_the_negatives(tmp_path: Path) -> None:
    folder = write_triples(tmp_path / "t", TRIPLES)
    made = lists_of(TripleFiles(str(folder), negatives=5), tmp_path)
    assert texts(made) == {
        "red fish": ["a red fish", "fish are red", "blue sky", "a bird", "old tree"],
        "blue sky": ["the blue sky", "a bird"],
    }
    assert list(made.query_ids) == ["q0", "q1"]
    assert len(set(made.corpus.texts)) == len(made.corpus)
    fewer = lists_of(TripleFiles(str(folder), negatives=1), tmp_path)
    assert texts(fewer)["red fish"] == ["a red fish", "fish are red", "blue sky"]
    assert fewer.fingerprint != made.fingerprint


def test_triples_keep_the_ids_of_their_queries(tmp_path: Path) -> None:
    rows = [row | {"query_id": 7 + n % 2} for n, row in enumerate(TRIPLES)]
    made = lists_of(TripleFiles(str(write_triples(tmp_path / "t", rows)), negatives=5), tmp_path)
    assert list(made.query_ids) == ["7", "8"]
    rows[2]["query_id"] = 8
    with pytest.raises(InputError, match="two queries have the id 8"):
        lists_of(TripleFiles(str(write_triples(tmp_path / "u", rows)), negatives=5), tmp_path)


def test_a_negative_that_is_the_positive_is_no_list(tmp_path: Path) -> None:
    rows = [{"query": "red", "document": "a fish", "negative": ["a fish"]}]
    with pytest.raises(InputError, match=r"copies of their positive: 1 \(q0\)"):
        lists_of(TripleFiles(str(write_triples(tmp_path / "t", rows)), negatives=5), tmp_path)


def test_pairs_and_several_sources_are_no_lists(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"score\.candidates=source: toy/train has neither lists"):
        lists_of(TripleFiles(str(toy)), tmp_path)
    one = ScoredListFiles(str(toy), "lists.jsonl")
    with pytest.raises(InputError, match="one source at a time, not toy/lists, toy/lists"):
        lists_of(Mixture({"a": one, "b": one}), tmp_path)


def test_which_sources_have_lists() -> None:
    assert has_lists(ScoredListFiles("x", None))
    assert has_lists(TripleFiles("x", negatives=3))
    assert not has_lists(TripleFiles("x"))
    assert not has_lists(InstalledDocsTriples(None, None))
    assert not has_lists(InstalledDocsLists(None, {}, None, None, 1, 1, 0))


def test_candidates_hold_the_relevant_documents_the_best_and_random_ones(toy: Path) -> None:
    made, without = found(toy), found(toy, positives=False)
    ids = made.corpus.ids
    lists, plain = made.rows(range(len(made))), without.rows(range(len(made)))
    assert list(made.query_ids) == [f"q{n}" for n in range(40)]
    for n, rows in enumerate(lists):
        assert ids[rows[0]] == f"d{n}"
        assert len(rows) == len(set(rows.tolist()))
        assert set(plain[n].tolist()[:5]) <= set(rows.tolist())
    assert any(f"d{n}" not in [ids[row] for row in rows] for n, rows in enumerate(plain))


def test_a_part_has_the_lists_of_the_whole(toy: Path) -> None:
    made = found(toy)
    whole = [rows.tolist() for rows in made.rows(range(40))]
    parts = [
        rows.tolist() for start in range(0, 40, 7) for rows in made.rows(range(start, min(start + 7, 40)))
    ]
    assert parts == whole
    assert [rows.tolist() for rows in found(toy, seed=1).rows(range(40))] != whole


def test_numbers_that_do_not_fit_name_their_key(toy: Path) -> None:
    with pytest.raises(InputError, match=r"score\.top and score\.random ask for up to 61 of only 60"):
        found(toy, top=58)
    with pytest.raises(InputError, match=r"score\.top=5 and score\.random=1 with 0 retrievers"):
        found(toy, retrievers={}, random=1)


def test_empty_texts_are_named(tmp_path: Path) -> None:
    judged = {"train": [("q1", "d1", 1), ("q2", "d2", 1)]}
    documents = {"d1": "red fish", "d2": "blue sky", "d3": " "}
    folder = write_beir(tmp_path / "a", documents, {"q1": "red", "q2": "blue"}, judged)
    with pytest.raises(InputError, match=r"documents of a/train without text: 1 \(d3\)"):
        found(folder, top=2, random=0)
    folder = write_beir(tmp_path / "b", documents | {"d3": "x"}, {"q1": "red", "q2": " "}, judged)
    with pytest.raises(InputError, match=r"queries of b/train without text: 1 \(q2\)"):
        found(folder, top=2, random=0)
    (tmp_path / "a" / "lists.jsonl").write_text(
        '{"query_id": "q1", "document_ids": ["d1", "d3"], "scores": [1, 2]}\n'
    )
    with pytest.raises(InputError, match=r"lists\.jsonl line 1: lists with an empty .*d3"):
        lists_of(ScoredListFiles(str(tmp_path / "a"), "lists.jsonl"), tmp_path)


def test_texts_are_those_of_all_queries(toy: Path, tmp_path: Path) -> None:
    name, corpus, queries = texts_of(TripleFiles(str(toy)), tmp_path)
    assert (name, len(corpus), len(queries)) == ("toy", 60, 52)
    name, corpus, queries = texts_of(ScoredListFiles(str(toy), "lists.jsonl"), tmp_path)
    assert (name, len(corpus), len(queries)) == ("toy/lists", 60, 40)
    with pytest.raises(InputError, match=r"data\.split: has no effect with score\.files"):
        texts_of(TripleFiles(str(toy), split="test"), tmp_path)
