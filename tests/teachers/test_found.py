"""A retriever returns what it found and no more, wherever its lists go; a query is no candidate of itself."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.evaluation.evaluator import Evaluator
from colbert_lab.evaluation.measures import evaluate
from colbert_lab.records.rankings import read_ranking, write_ranking
from colbert_lab.search.corpus import Keeping
from colbert_lab.search.mode import SearchSettings, variants_of
from colbert_lab.sources.choosing import Mining
from colbert_lab.sources.mining import Miner
from colbert_lab.sources.negatives import mine_triples
from colbert_lab.sources.sources import build_scored_lists
from colbert_lab.sources.to_score import retrieved
from colbert_lab.sources.triple_sources import TripleFiles
from colbert_lab.teachers.bm25 import BM25
from colbert_lab.teachers.ensemble import Ensemble
from colbert_lab.teachers.scorer import rank, rank_split
from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.collections.splits import SplitRequest, load_splits
from tests.teachers.support import Given, Hashed
from tests.tiny import write_beir
from tests.toy import new_student

TEXTS = {
    "d1": "red fish",
    "d2": "blue bird",
    "d3": "old tree",
    "d4": "blue sky",
    "d5": "a stone",
    "d6": "green frog",
}
QUERIES = {"none": "zzzz qqqq", "blue": "blue wind"}
QRELS = {"none": {"d6": 1}, "blue": {"d2": 1}}
CORPUS = build_corpus(list(TEXTS), list(TEXTS.values()))
ALL = Given(
    "all", (("zzzz qqqq", (6.0, 5.0, 4.0, 3.0, 2.0, 1.0)), ("blue wind", (6.0, 5.0, 4.0, 3.0, 2.0, 1.0)))
)


def split_of(**changes: Any) -> Split:
    return build_split("toy", "test", CORPUS, QUERIES, QRELS, {}, **changes)


def test_bm25_ranks_documents_with_a_word_of_the_query_alone() -> None:
    ranking = rank(BM25(), CORPUS, QUERIES, 6)
    assert [list(row) for row in ranking.document_ids] == [[], ["d4", "d2"]]
    assert [len(row) for row in ranking.scores] == [0, 2]


def test_an_ensemble_finds_what_any_of_its_members_finds() -> None:
    lexical = Ensemble({"one": BM25(), "two": BM25(k1=1.5)})
    assert [list(row) for row in rank(lexical, CORPUS, QUERIES, 6).document_ids] == [[], ["d4", "d2"]]
    mixed = Ensemble({"bm25": BM25(), "all": ALL})
    found = rank(mixed, CORPUS, QUERIES, 6)
    assert list(found.document_ids[0]) == list(TEXTS)  # of equal BM25, so as the other member says
    scores = mixed.index(CORPUS).scores(list(QUERIES.values()))
    assert found.scores[1] == sorted(scores[1].tolist(), reverse=True)


@pytest.mark.parametrize("candidates", [{}, {"none": ["d5", "d6"], "blue": ["d2", "d6"]}])
def test_a_query_that_finds_nothing_counts_as_0_and_is_told_once(
    candidates: dict[str, list[str]], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    split = split_of(candidates=candidates)
    scorer = BM25(k1=0.91 + 0.01 * len(candidates))  # what is told once is told once a process
    with caplog.at_level(logging.WARNING):
        ranking = rank_split(scorer, split, 10)
        assert rank_split(scorer, split, 10) == ranking
    assert [list(row) for row in ranking.document_ids] == [[], ["d2"] if candidates else ["d4", "d2"]]
    said = [record.getMessage() for record in caplog.records if "finds nothing" in record.getMessage()]
    assert len(said) == 1
    assert "finds nothing for 1 of 2 queries of toy/test" in said[0]
    assert said[0].endswith("1 (none)")
    per_query = evaluate(ranking, split.qrels, ["ndcg@10", "mrr@10", "recall@10", "f1@2"])
    assert {name: values[0] for name, values in per_query.values.items()} == dict.fromkeys(
        per_query.values, 0
    )
    assert per_query.values["recall@10"][1] == 1
    write_ranking(tmp_path / "ranking.parquet", ranking, per_query)
    again, measured = read_ranking(tmp_path / "ranking.parquet")
    assert [list(row) for row in again.document_ids] == [list(row) for row in ranking.document_ids]
    assert measured.mean("ndcg@10") == per_query.mean("ndcg@10")


def test_what_a_first_stage_does_not_find_is_not_reranked(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    split = split_of()
    evaluator = Evaluator(
        {"test": split},
        ["ndcg@10"],
        10,
        100,
        "32-true",
        SearchSettings(variants_of(["rerank"], ["float32"], [1])),
        Keeping(2**30, tmp_path, keep=False),
        lambda key, depth: rank_split(BM25(), split, depth),
    )
    (result,) = evaluator.evaluate_student(new_student(**student_settings), "test", progress=False)
    assert [sorted(row) for row in result.ranking.document_ids] == [[], ["d2", "d4"]]
    assert result.per_query.values["ndcg@10"][0] == 0


def test_mining_takes_no_document_that_is_not_found() -> None:
    miner = Miner(split_of(), Mining({"bm25": BM25()}, {"bm25": 1.0}, 3))
    table = miner.mine(0)
    assert table["rows"].to_pylist() == [[], [3]]  # d4


def test_random_documents_take_the_places_of_hard_negatives_that_are_not_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    split = split_of()
    with caplog.at_level(logging.WARNING):
        made = mine_triples(split, BM25(), 2)
    assert "finds fewer than 2 other documents of" in caplog.text
    texts = dict(zip(split.corpus.ids, split.corpus.texts, strict=True))
    rows = zip(made.table["query"][:], made.table["negative"][:], strict=True)
    negatives = {query: list(own) for query, own in rows}
    for query, relevant in split.qrels.items():
        own = negatives[split.queries[query]]
        assert len(set(own)) == 2
        assert not set(own) & {texts[document] for document, grade in relevant.items() if grade > 0}
    assert mine_triples(split, BM25(), 2).table["negative"][:] == made.table["negative"][:]
    with pytest.raises(InputError, match=r"^data\.negatives=99: .* has fewer other documents for queries"):
        mine_triples(split, BM25(), 99)


def test_random_documents_take_the_places_that_a_retriever_leaves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {"teacher": ALL, "top": 3, "random": 1, "seed": 0, "cache_dir": tmp_path}
    with caplog.at_level(logging.WARNING):
        lists = build_scored_lists("toy", CORPUS, QUERIES, retrievers={"bm25": BM25()}, **settings)
    assert [len(set(rows.tolist())) for rows in lists.documents] == [4, 4]
    assert [CORPUS.texts.index(lists.corpus.texts[n]) for n in lists.documents[1][:2]] == [3, 1]
    assert "bm25 finds fewer than 3 documents for 2 of 2 queries" in caplog.text
    # Nothing is drawn that was not drawn before where a retriever finds enough.
    full = build_scored_lists("toy", CORPUS, QUERIES, retrievers={"all": ALL}, **settings)
    assert [len(rows) for rows in full.documents] == [4, 4]


OWN = {"a": "the first argument", "b": "a reply to it", "c": "other words"}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Queries a and b are documents, as in ArguAna; the text of c's own id is another one."""
    documents = {name: f"Title. {text}" for name, text in OWN.items()} | {
        "c": "not at all", "d": "first words", "e": "the second argument",
    }  # fmt: skip
    qrels = [("a", "b", 1), ("b", "b", 1), ("c", "e", 1)]
    return write_beir(tmp_path / "own", documents, OWN, {"train": qrels, "test": qrels})


def test_evaluation_says_which_queries_are_documents(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    def load(**protocol: bool) -> str:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            load_splits(
                {"test": SplitRequest("beir", "test", str(own), protocol=protocol)},
                documents=None,
                cache_dir=own,
            )
        return caplog.text

    # The judgments want b's own document.
    said = load()
    assert (
        "2 queries have a document of their own id, and 1 of these documents hold the query's text: 2 (a, c)"
        in said
    )
    assert said.count("exclude_same_id=true") == 1
    qrels = own / "qrels" / "test.tsv"
    qrels.write_text(qrels.read_text().replace("b\tb\t1\n", ""))
    assert "exclude_same_id" not in load(exclude_same_id=True)


def test_a_query_is_no_negative_and_no_candidate_of_itself(own: Path, tmp_path: Path) -> None:
    source = TripleFiles(str(own))
    made = retrieved(
        source, tmp_path, retrievers={"one": Hashed("one")}, top=4, random=1, positives=True, seed=0
    )
    lists = {
        q: {made.corpus.ids[n] for n in rows}
        for q, rows in zip(made.query_ids, made.rows(range(3)), strict=True)
    }
    assert lists == {"a": set("bcde"), "b": set("abcde"), "c": set("abde")}
    split = source.judged(tmp_path)
    miner = Miner(split, Mining({"one": Hashed("one")}, {"one": 0.5, "random": 0.5}, 5))
    mined = dict(zip(miner.queries, miner.mine(0)["rows"].to_pylist(), strict=True))
    assert {q: {split.corpus.ids[n] for n in rows} for q, rows in mined.items()} == {
        "a": set("cde"), "b": set("acde"), "c": set("abd"),
    }  # fmt: skip
    triples = mine_triples(split, Hashed("one"), 3)
    texts = dict(zip(split.corpus.texts, split.corpus.ids, strict=True))
    negatives = [{texts[t] for t in row} for row in triples.table["negative"][:]]
    assert negatives[0] == set("cde")
    assert "c" not in negatives[2]


def test_a_document_that_is_the_querys_text_is_no_negative_either() -> None:
    corpus = build_corpus(["x", "y", "z"], ["Red  fish!", "a red fish swims", "blue"])
    split = build_split("toy", "train", corpus, {"q": "red fish"}, {"q": {"y": 1}}, {})
    miner = Miner(split, Mining({"bm25": BM25()}, {"bm25": 1.0}, 2))
    table = miner.mine(0)
    assert table["rows"].to_pylist() == [[]]
    assert b"copy_of_query" in table.schema.metadata[b"report"]
    scores = Given("given", (("red fish", (3.0, 2.0, 1.0)),))
    assert mine_triples(split, scores, 1).table["negative"][:] == [["blue"]]
