"""The evaluator against every query-document pair scored by itself in float64."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, Ranking, Role, Split, Variant
from colbert_lab.evaluation.evaluator import EXACT, Evaluator, Result
from colbert_lab.model import encode as encoding
from colbert_lab.model.encode import encode_by_length
from colbert_lab.model.student import Student
from colbert_lab.search import corpus, modes
from colbert_lab.search.corpus import CorpusEncoding, Keeping
from colbert_lab.search.mode import STORED, SearchSettings, variants_of
from colbert_lab.search.store import TokenStore, convert
from colbert_lab.settings.evaluation import MuveraSettings
from colbert_lab.text.collections.collection import build_corpus, build_split
from tests.model.test_matryoshka import cut_head
from tests.tiny import sentences
from tests.toy import new_student

MEASURES = ["ndcg@10", "mrr@10", "recall@5", "map@10"]
TREC = {"ndcg@10": "ndcg_cut_10", "recall@5": "recall_5", "map@10": "map_cut_10"}
DEPTH = 10


def make_split(name: str, n_queries: int, documents: int = 25, seed: int = 0) -> Split:
    """Random text; every query has judgments of five documents, two of them not relevant."""
    corpus = build_corpus([f"d{n}" for n in range(documents)], sentences(documents, seed=seed))
    queries = {
        f"{name}{n}": text for n, text in enumerate(sentences(n_queries, seed=seed + n_queries, high=7))
    }
    qrels = {
        query: {f"d{(5 * n + 3 * k) % documents}": (0, 2, 1, 0, 1)[k] for k in range(5)}
        for n, query in enumerate(queries)
    }
    return build_split("toy", name, corpus, queries, qrels, {})


@pytest.fixture(autouse=True, scope="module")
def _no_files_left() -> Iterator[None]:
    yield
    left = list(FOLDER.glob("*"))
    shutil.rmtree(FOLDER, ignore_errors=True)
    assert not left


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    torch.manual_seed(0)
    return new_student(**student_settings)


TEMPORARY = tempfile.TemporaryDirectory(prefix="colbert_lab_test_evaluator_")  # removed when Python ends
FOLDER = Path(TEMPORARY.name)


def make_evaluator(splits: Mapping[str, Split], **changes: Any) -> Evaluator:
    settings: dict[str, Any] = {
        "search": SearchSettings(),
        "keeping": Keeping(2**30, FOLDER, keep=False),
        "measures": MEASURES,
        "depth": DEPTH,
        "token_budget": 100,
        "precision": "32-true",
    }
    return Evaluator(splits, **(settings | changes))


def embed(student: Student, text: str, role: Role) -> torch.Tensor:
    student.model.eval()
    with torch.no_grad():
        embeddings: Embeddings = student.model(student.tokenizer([text], role))
    return embeddings.emb_NLD[0][embeddings.mask_NL[0]].double()


def brute_force(student: Student, split: Split) -> dict[str, dict[str, float]]:
    """MaxSim of every query with every document: {query id: {document id: score}}."""
    documents = {
        name: embed(student, text, "document")
        for name, text in zip(split.corpus.ids, split.corpus.texts, strict=True)
    }
    scores = {}
    for query, text in split.queries.items():
        asked = embed(student, text, "query")
        scores[query] = {name: float((asked @ m.T).amax(dim=1).sum()) for name, m in documents.items()}
    return scores


def test_a_student_is_searched_and_measured_as_by_brute_force(student: Student) -> None:
    splits = {"first": make_split("dev", 6), "second": make_split("test", 4, seed=7)}
    for result in make_evaluator(splits).evaluate_student(student, "test", progress=False):
        split = splits[result.key]
        scores = brute_force(student, split)
        orders = {query: sorted(row, key=row.__getitem__, reverse=True) for query, row in scores.items()}
        for query, order in orders.items():
            gaps = [scores[query][a] - scores[query][b] for a, b in pairwise(order)]
            assert min(gaps[:DEPTH]) > 1e-5, "too close for float32: choose another seed"
        assert list(result.ranking.query_ids) == list(split.queries)
        assert [list(row) for row in result.ranking.document_ids] == [o[:DEPTH] for o in orders.values()]
        for query, row in zip(result.ranking.query_ids, result.ranking.scores, strict=True):
            assert list(row) == pytest.approx([scores[query][d] for d in orders[query][:DEPTH]], abs=1e-5)
        qrels = {query: dict(grades) for query, grades in split.qrels.items()}
        expected = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.5", "map_cut.10"}).evaluate(
            scores
        )
        assert result.per_query.query_ids == tuple(split.queries)
        for position, query in enumerate(result.per_query.query_ids):
            for measure, name in TREC.items():
                value = result.per_query.values[measure][position]
                assert value == pytest.approx(expected[query][name], abs=1e-9), (query, measure)
            relevant = [
                rank for rank, d in enumerate(orders[query][:10], start=1) if qrels[query].get(d, 0) > 0
            ]
            first = 1 / relevant[0] if relevant else 0.0
            assert result.per_query.values["mrr@10"][position] == pytest.approx(first, abs=1e-9)


def test_results_say_which_split_and_how_it_was_searched(student: Student) -> None:
    split = make_split("dev", 3)
    (result,) = make_evaluator({"mine": split}).evaluate_student(student, "test", progress=False)
    assert result.key == "mine"
    assert result.split is split
    rules = student.tokenizer.rules.to_dict()
    assert result.protocol == {"mode": "exact", "depth": DEPTH, "encoder_precision": "32-true", **rules}
    assert result.seconds > 0


def test_only_the_asked_splits_are_searched(student: Student) -> None:
    splits = {key: make_split("dev", 2) for key in ("a", "b", "c")}
    results = make_evaluator(splits).evaluate_student(
        student, "test", {"c": [EXACT], "a": [EXACT]}, progress=False
    )
    assert [result.key for result in results] == ["c", "a"]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the number of documents of every corpus that is encoded."""
    sizes: list[int] = []

    def watched(student: Student, texts: Sequence[str], role: Role, **settings: Any) -> Any:
        if role == "document":
            sizes.append(len(texts))
        return encode_by_length(student, texts, role, **settings)

    monkeypatch.setattr(corpus, "encode_by_length", watched)
    return sizes


def test_a_shared_corpus_is_encoded_once(student: Student, encoded: list[int]) -> None:
    dev, test = make_split("dev", 3), make_split("test", 2)
    assert dev.corpus is not test.corpus
    shared = replace(test, corpus=dev.corpus)
    other = make_split("test", 2, documents=24)
    evaluator = make_evaluator({"dev": dev, "same object": shared, "same text": test, "other": other})
    results = {r.key: r for r in evaluator.evaluate_student(student, "test", progress=False)}
    assert encoded == [25, 24]
    assert results["same object"].ranking == results["same text"].ranking
    (alone,) = make_evaluator({"other": other}).evaluate_student(student, "test", progress=False)
    assert alone.ranking.document_ids == results["other"].ranking.document_ids


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 9}, r"evaluation\.measures: ndcg@10 looks deeper than evaluation\.depth=9"),
        ({"measures": ["recall@5", "map@11"]}, r"evaluation\.measures: map@11 looks deeper than .*depth=10"),
        ({"measures": ["ndgc@10"]}, r"evaluation\.measures: unknown measure 'ndgc@10'"),
    ],
)
def test_bad_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_evaluator({}, **changes)


def test_a_ranking_of_another_system_is_measured() -> None:
    split = make_split("dev", 2)
    first, second = split.queries
    relevant = [name for name, grade in split.qrels[first].items() if grade > 0]
    other = next(name for name in split.corpus.ids if split.qrels[first].get(name, 0) == 0)
    ranking = Ranking([first], [[other, relevant[0]]], [[2.0, 1.0]])
    result = make_evaluator({"mine": split}).evaluate_ranking("mine", ranking, {"scorer": "by hand"}, 1.5)
    assert result.per_query.query_ids == (first, second)
    assert result.per_query.values["mrr@10"].tolist() == [0.5, 0.0]
    assert result.per_query.values["recall@5"].tolist() == pytest.approx([1 / 3, 0.0])
    assert result.protocol == {"mode": "exact", "depth": DEPTH, "scorer": "by hand"}
    assert (result.key, result.split, result.ranking, result.seconds) == ("mine", split, ranking, 1.5)


SEVERAL = SearchSettings(
    variants_of(["exact", "rerank", "muvera", "muvera_rerank"], ["float32", "float16", "int8"], [1, 2]),
    rerank_depth=7,
    first_stage="by hand",
    muvera=MuveraSettings(repetitions=3, bits=2, inner_dim=4, rerank=25),
)


def first_documents(splits: Mapping[str, Split]) -> Any:
    """A first stage that finds the corpus' last documents."""

    def first_stage(key: str, depth: int) -> Ranking:
        split = splits[key]
        found = list(split.corpus.ids)[-depth:]
        return Ranking(
            list(split.queries), [found] * len(split.queries), [[1.0] * depth] * len(split.queries)
        )

    return first_stage


@pytest.fixture
def several(student: Student) -> dict[tuple[str, str], Result]:
    splits = {"dev": make_split("dev", 6), "test": make_split("test", 4)}
    evaluator = make_evaluator(splits, search=SEVERAL, first_stage=first_documents(splits))
    return {
        (result.key, result.variant.label): result
        for result in evaluator.evaluate_student(student, "test", progress=False)
    }


@pytest.mark.parametrize("memory", [2**30, 4000])
def test_a_prefix_is_searched_as_the_student_with_a_cut_head(student: Student, memory: int) -> None:
    """From one encoding, in memory and from files."""
    splits = {"dev": make_split("dev", 6)}

    def results(student: Student, dims: list[int | None]) -> dict[str, Result]:
        ways = variants_of(["exact", "muvera", "muvera_rerank"], ["float32"], [1, 2], STORED, dims)
        muvera = MuveraSettings(repetitions=3, bits=2, inner_dim=4, rerank=9)
        keeping = Keeping(memory, FOLDER, keep=False)
        evaluator = make_evaluator(splits, search=SearchSettings(ways, muvera=muvera), keeping=keeping)
        assert len(evaluator.corpora(student)) == 1
        found = evaluator.evaluate_student(student, "test", progress=False)
        return {result.variant.label: result for result in found}

    several, cut, whole = (
        results(student, [None, 6, 9]), results(cut_head(student, 6), [None]), results(student, [None]),
    )  # fmt: skip
    assert len(several) == 3 * len(cut) == 18
    for label, theirs in cut.items():
        ours = several[f"{label}.dim6"]
        assert ours.ranking.document_ids == theirs.ranking.document_ids
        np.testing.assert_allclose(ours.ranking.scores, theirs.ranking.scores, atol=1e-5)
        assert ours.index_bytes == theirs.index_bytes
        assert ours.protocol == {**theirs.protocol, "dim": 6}
        assert several[label].ranking == whole[label].ranking
        assert several[label].protocol == whole[label].protocol
    assert several["exact.dim6"].ranking.document_ids != several["exact"].ranking.document_ids


def test_all_ways_to_search_are_there_for_every_split(several: dict[tuple[str, str], Result]) -> None:
    labels = [v.label for v in SEVERAL.variants]
    assert labels[:4] == ["exact", "exact.float16", "exact.int8", "rerank"]
    assert len(set(labels)) == len(labels) == 2 * (3 * 3 + 1)
    assert list(several) == [(key, label) for key in ("dev", "test") for label in labels]


def test_reranking_everything_that_muvera_finds_is_exact_search(
    several: dict[tuple[str, str], Result],
) -> None:
    for key in ("dev", "test"):
        for kept in ("", ".float16", ".int8", ".pool2", ".float16.pool2"):
            one, other = several[key, f"exact{kept}"], several[key, f"muvera_rerank{kept}"]
            assert one.ranking.document_ids == other.ranking.document_ids
            np.testing.assert_allclose(one.ranking.scores, other.ranking.scores, atol=1e-5)
    assert several["dev", "muvera"].ranking != several["dev", "exact"].ranking


def test_excluded_documents_take_no_place_among_those_that_muvera_hands_on(student: Student) -> None:
    split = make_split("dev", 3)
    search = SearchSettings(
        variants_of(["muvera", "muvera_rerank"], ["float32"], [1]),
        muvera=MuveraSettings(repetitions=3, bits=2, inner_dim=4, rerank=5),
    )

    def rankings(split: Split) -> list[Ranking]:
        found = make_evaluator({"dev": split}, search=search).evaluate_student(student, "", progress=False)
        return [result.ranking for result in found]

    nearest, _ = rankings(split)
    gone = {query: found[:4] for query, found in zip(split.queries, nearest.document_ids, strict=True)}
    left, reranked = rankings(replace(split, excluded=gone))
    for query, before, after, scored in zip(
        split.queries, nearest.document_ids, left.document_ids, reranked.document_ids, strict=True
    ):
        assert list(after)[: DEPTH - 4] == list(before)[4:DEPTH]
        assert len(scored) == min(5, DEPTH)
        assert set(scored) == set(after[:5])
        assert not set(scored) & set(gone[query])


def test_reranking_keeps_to_the_first_stage(several: dict[tuple[str, str], Result], student: Student) -> None:
    result = several["dev", "rerank"]
    scores = brute_force(student, result.split)
    last = list(result.split.corpus.ids)[-7:]
    for query, documents in zip(result.ranking.query_ids, result.ranking.document_ids, strict=True):
        assert list(documents) == sorted(last, key=scores[query].__getitem__, reverse=True)
    assert result.protocol["rerank_depth"] == 7
    assert result.protocol["first_stage"] == "by hand"


def test_sizes_and_protocols_tell_the_ways_apart(several: dict[tuple[str, str], Result]) -> None:
    sizes = {label: several["dev", label].index_bytes for _, label in several}
    assert sizes["exact"] is not None
    assert sizes["exact.int8"] is not None
    assert sizes["exact.float16"] is not None
    assert sizes["exact.pool2"] is not None
    documents = 4 * 25  # lengths
    dim = 16
    tokens = (sizes["exact"] - documents) // (4 * dim)
    assert sizes["exact.float16"] == documents + 2 * dim * tokens
    assert sizes["exact.int8"] == documents + (dim + 2) * tokens
    assert sizes["exact.pool2"] < 0.75 * sizes["exact"]
    assert sizes["muvera"] == 25 * 4 * 3 * 2**2 * 4
    assert sizes["muvera_rerank"] == sizes["muvera"] + sizes["exact"]
    protocols = [repr(sorted(r.protocol.items(), key=str)) for (k, _), r in several.items() if k == "dev"]
    assert len(set(protocols)) == len(protocols)


def test_a_corpus_beyond_the_memory_is_searched_from_files(
    student: Student, encoded: list[int], tmp_path: Path
) -> None:
    splits = {"dev": make_split("dev", 3)}
    (small,) = make_evaluator(splits).evaluate_student(student, "test", progress=False)
    assert encoded == [25]
    keeping = Keeping(4 * 10 * corpus.document_bytes(student), tmp_path, keep=True)
    (files,) = make_evaluator(splits, keeping=keeping).evaluate_student(student, "test", progress=False)
    assert encoded == [25, 10, 10, 5]
    assert files.ranking == small.ranking
    (again,) = make_evaluator(splits, keeping=keeping).evaluate_student(student, "test", progress=False)
    assert encoded == [25, 10, 10, 5]
    assert again.ranking == small.ranking
    shutil.rmtree(sorted(tmp_path.glob("*/10-*"))[1])  # as if the process had been killed
    (resumed,) = make_evaluator(splits, keeping=keeping).evaluate_student(student, "test", progress=False)
    assert encoded == [25, 10, 10, 5, 10]
    assert resumed.ranking == small.ranking
    with torch.no_grad():
        next(student.model.parameters()).add_(0.01)
    list(make_evaluator(splits, keeping=keeping).evaluate_student(student, "test", progress=False))
    assert encoded[5:] == [10, 10, 5]  # another student


def test_a_killed_encoding_in_memory_goes_on_with_its_batches(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "SAVE_SECONDS", 0.0)
    texts = build_corpus([f"d{n}" for n in range(25)], sentences(25, low=3, high=12))
    keeping = Keeping(25 * corpus.document_bytes(student), tmp_path / "run", keep=False, own=True)
    computed: list[int] = []

    def made(where: Keeping, last: int = 99) -> CorpusEncoding:
        def stop(*_: Any) -> None:
            if len(computed) == last:
                raise RuntimeError("killed")
            computed.append(1)

        computed.clear()
        hook = student.model.register_forward_pre_hook(stop)
        found = CorpusEncoding(student, texts, where, token_budget=40, precision="32-true")
        try:
            stores.append(found.run())
        finally:
            hook.remove()
        return found

    stores: list[TokenStore] = []
    assert made(replace(keeping, memory=2**30)).partial is None
    batches = len(computed)
    with pytest.raises(RuntimeError, match="killed"):
        made(keeping, last=3)
    resumed = made(keeping)
    assert len(computed) == batches - 3 > 3
    whole, again = (store.shards[0] for store in stores)
    assert torch.equal(whole.rows_C, again.rows_C)
    assert np.array_equal(whole.arrays["values"], again.arrays["values"])
    assert not stores[1].in_files
    corpus.release(stores[1], keeping, resumed.partial)
    assert list(tmp_path.iterdir()) == []


def test_storages_and_pooling_of_a_corpus_in_files_are_in_files(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"dev": make_split("dev", 3)}
    search = SearchSettings(variants_of(["exact"], ["float32", "float16", "int8"], [1, 2]))
    kept: list[bool] = []

    def watched(*given: Any) -> Any:
        store = convert(*given)
        kept.append(store.in_files)
        return store

    monkeypatch.setattr(modes, "convert", watched)
    found = []
    whole = 25 * corpus.document_bytes(student)
    for memory in (2**30, whole, 4 * 5 * corpus.document_bytes(student)):
        evaluator = make_evaluator(splits, search=search, keeping=Keeping(memory, tmp_path, keep=False))
        found.append(list(evaluator.evaluate_student(student, "test", progress=False)))
    # The embeddings alone fit the second memory, not all their copies beside them.
    assert kept[:5] + kept[10:] == [False] * 5 + [True] * 5
    assert True in kept[5:10]
    for small, files in [*zip(found[0], found[1], strict=True), *zip(found[0], found[2], strict=True)]:
        assert files.ranking.document_ids == small.ranking.document_ids
        np.testing.assert_allclose(files.ranking.scores, small.ranking.scores, atol=1e-5)
        assert files.index_bytes == small.index_bytes
    assert list(tmp_path.iterdir()) == []


def test_float16_alone_is_never_kept_as_float32(student: Student) -> None:
    splits = {"dev": make_split("dev", 3)}
    search = SearchSettings((Variant("exact", "float16"),))
    (result,) = make_evaluator(splits, search=search).evaluate_student(student, "test", progress=False)
    both = SearchSettings((Variant(), Variant("exact", "float16")))
    _, other = make_evaluator(splits, search=both).evaluate_student(student, "test", progress=False)
    assert result.ranking == other.ranking
    assert result.index_bytes == other.index_bytes


def test_pooled_float16_does_not_depend_on_what_else_is_measured(student: Student) -> None:
    splits = {"dev": make_split("dev", 3)}
    pooled = Variant("exact", "float16", 2)
    alone, beside = (
        list(
            make_evaluator(splits, search=SearchSettings(search)).evaluate_student(
                student, "test", progress=False
            )
        )
        for search in ((pooled,), (Variant(), pooled))
    )
    assert alone[-1].ranking == beside[-1].ranking


def test_every_way_to_search_has_the_mean_where_the_student_has_it_and_the_same_order(
    several: dict[tuple[str, str], Result], student: Student
) -> None:
    splits = {"dev": make_split("dev", 6)}
    mean = replace(student, tokenizer=student.tokenizer.with_rules(score="mean_maxsim"))
    evaluator = make_evaluator(splits, search=SEVERAL, first_stage=first_documents(splits))
    lengths = [len(embed(student, text, "query")) for text in splits["dev"].queries.values()]
    assert len(set(lengths)) > 1
    for result in evaluator.evaluate_student(mean, "test", progress=False):
        sums = several["dev", result.variant.label]
        assert result.ranking.document_ids == sums.ranking.document_ids
        for n, row, other in zip(lengths, result.ranking.scores, sums.ranking.scores, strict=True):
            assert row == [score / n for score in other]
        for measure, values in sums.per_query.values.items():
            assert result.per_query.values[measure].tolist() == values.tolist()
        assert result.protocol == {**sums.protocol, "score": "mean_maxsim"}
