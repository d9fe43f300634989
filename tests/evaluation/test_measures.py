"""Measures: equal to trec_eval, and to slow definitions written out here."""

import math

import numpy as np
import pytest
import pytrec_eval

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import PerQuery, evaluate, measure_title, parse_measure, trec_order

KS = (1, 3, 5, 10, 100)
MEASURES = [f"{kind}@{k}" for kind in ("ndcg", "mrr", "recall", "map", "precision", "success") for k in KS]
Run = dict[str, dict[str, float]]
Grades = dict[str, dict[str, int]]


def random_case(seed: int) -> tuple[Run, Grades]:
    """Runs with many ties (also ties that only float32 sees) and graded, sometimes negative, judgments."""
    rng = np.random.default_rng(seed)
    documents = [f"d{i}" for i in range(60)] + ["é1", "Z", "a", "日本"]
    run: Run = {}
    qrels: Grades = {}
    for q in range(25):
        kept = rng.choice(len(documents), size=rng.integers(1, 50), replace=False)
        scores = rng.integers(-3, 4, size=len(kept)) + rng.choice([0.0, 1e-10, 0.1], size=len(kept))
        run[f"q{q}"] = {documents[i]: float(s) for i, s in zip(kept, scores, strict=True)}
        judged = rng.choice(len(documents), size=rng.integers(1, 20), replace=False)
        qrels[f"q{q}"] = {documents[i]: int(rng.integers(-1, 4)) for i in judged}
    return run, qrels


def as_ranking(run: Run) -> Ranking:
    """A ranking sorted by float64 score, ties in the order of the dict (not trec_eval's)."""
    lists = {q: sorted(docs.items(), key=lambda item: -item[1]) for q, docs in run.items()}
    ids = [[d for d, _ in x] for x in lists.values()]
    return Ranking(list(run), ids, [[s for _, s in x] for x in lists.values()])


def by_definition(run: dict[str, float], grades: dict[str, int], name: str) -> float:
    kind, k = parse_measure(name)
    order = sorted(run, key=lambda d: (np.float32(run[d]), d.encode()), reverse=True)[:k]
    gains = [max(grades.get(d, 0), 0) for d in order]
    relevant = sum(g > 0 for g in grades.values())
    hits = [i + 1 for i, g in enumerate(gains) if g > 0]
    if kind == "precision":
        return len(hits) / k
    if kind == "success":
        return float(bool(hits))
    if kind == "mrr":
        return 1 / hits[0] if hits else 0.0
    if relevant == 0:
        return 0.0
    if kind == "recall":
        return len(hits) / relevant
    if kind in ("map", "mapmin"):
        below = (
            relevant if kind == "map" else min(relevant, k)
        )  # the latter in sentence-transformers' evaluator
        return sum((i + 1) / rank for i, rank in enumerate(hits)) / below
    ideal = sorted((max(g, 0) for g in grades.values()), reverse=True)[:k]

    def dcg(values: list[int]) -> float:
        return sum(g / math.log2(i + 2) for i, g in enumerate(values))

    return dcg(gains) / dcg(ideal)


@pytest.mark.parametrize("seed", range(4))
def test_equals_definitions(seed: int) -> None:
    run, qrels = random_case(seed)
    result = evaluate(as_ranking(run), qrels, MEASURES)
    assert result.query_ids == tuple(qrels)
    for name in MEASURES:
        expected = [by_definition(run[q], qrels[q], name) for q in qrels]
        np.testing.assert_allclose(result.values[name], expected, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("seed", range(4))
def test_equals_pytrec_eval(seed: int) -> None:
    run, qrels = random_case(seed)
    result = evaluate(as_ranking(run), qrels, MEASURES)
    names = {"ndcg": "ndcg_cut", "recall": "recall", "map": "map_cut", "precision": "P", "success": "success"}
    every = {f"{n}.{k}" for n in names.values() for k in KS}
    direct = pytrec_eval.RelevanceEvaluator(qrels, every).evaluate(run)
    for kind, trec in names.items():
        for k in KS:
            expected = [direct[q][f"{trec}_{k}"] for q in qrels]
            np.testing.assert_allclose(result.values[f"{kind}@{k}"], expected, rtol=0, atol=1e-9)
    whole = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)
    long = evaluate(as_ranking(run), qrels, ["mrr@1000"]).values["mrr@1000"]
    np.testing.assert_allclose(long, [whole[q]["recip_rank"] for q in qrels], rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_map_of_the_cards(seed: int) -> None:
    run, qrels = random_case(seed)
    names = [f"mapmin@{k}" for k in KS]
    found = evaluate(as_ranking(run), qrels, names)
    for name in names:
        expected = [by_definition(run[q], qrels[q], name) for q in found.query_ids]
        assert found.values[name].tolist() == pytest.approx(expected, abs=1e-6)


def test_maps_of_more_relevant_documents_than_the_cutoff() -> None:
    ids = [f"d{n:03}" for n in range(150)]
    ranking = Ranking(["q"], [ids[:100]], [[float(-n) for n in range(100)]])
    found = evaluate(ranking, {"q": dict.fromkeys(ids, 1)}, ["map@100", "mapmin@100"])
    assert found.mean("map@100") == pytest.approx(2 / 3)
    assert found.mean("mapmin@100") == pytest.approx(1.0)
    assert measure_title("mapmin@100") == "MAPmin@100"


def test_full_qrels_not_the_retrieved_list() -> None:
    """One of three relevant documents, at rank 1: the measures know of the two that are missing."""
    result = evaluate(Ranking(["q"], [["a", "x"]], [[2.0, 1.0]]), {"q": {"a": 1, "b": 1, "c": 1}}, MEASURES)
    assert result.mean("ndcg@10") == pytest.approx(0.469, abs=5e-4)
    assert result.mean("recall@10") == pytest.approx(1 / 3)


def test_missing_query_counts_as_zero_and_unjudged_query_does_not_count() -> None:
    ranking = Ranking(["q2", "stray"], [["a"], ["a"]], [[1.0], [1.0]])
    result = evaluate(ranking, {"q1": {"a": 1}, "q2": {"a": 1}, "none": {}}, ["ndcg@10", "mrr@5"])
    assert result.query_ids == ("q1", "q2")
    assert result.unjudged == 1
    assert len(result) == 2
    for name in ("ndcg@10", "mrr@5"):
        assert result.values[name].tolist() == [0.0, 1.0]
        assert result.values[name].dtype == np.float64
        assert result.mean(name) == 0.5


def test_empty_lists_and_no_judgments() -> None:
    empty = evaluate(Ranking(["q"], [[]], [[]]), {"q": {"a": 1}}, ["recall@5", "mrr@5"])
    assert [empty.mean("recall@5"), empty.mean("mrr@5")] == [0.0, 0.0]
    assert math.isnan(PerQuery((), {"mrr@5": np.zeros(0)}).mean("mrr@5"))
    nothing = evaluate(Ranking([], [], []), {}, ["ndcg@5", "mrr@5"])
    assert nothing.query_ids == ()
    assert math.isnan(nothing.mean("ndcg@5"))
    unjudged_relevant = evaluate(Ranking(["q"], [["a"]], [[1.0]]), {"q": {"a": 0}}, MEASURES)
    assert all(unjudged_relevant.mean(name) == 0.0 for name in MEASURES)


def test_ties_of_float32_are_broken_by_id() -> None:
    """Scores that differ in float64 alone are equal to trec_eval, so MRR's cutoff must see a tie."""
    ranking = Ranking(["q"], [["a", "b"]], [[1.0 + 1e-10, 1.0]])
    assert evaluate(ranking, {"q": {"a": 1}}, ["mrr@1", "ndcg@1"]).mean("mrr@1") == 0.0
    assert evaluate(ranking, {"q": {"b": 1}}, ["mrr@1", "ndcg@1"]).mean("ndcg@1") == 1.0
    assert trec_order(["a", "é", "b"], [0.5, 0.5, 0.5]) == [1, 2, 0]
    assert trec_order(["a", "b", "c"], [-np.inf, 1.0, 2.0]) == [2, 1, 0]


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "ndcg@-1", "ndcg@x", "NDCG@10", "foo@10", "", "ndcg@1.5"])
def test_unknown_measure(name: str) -> None:
    with pytest.raises(InputError, match=r"evaluation\.measures.*ndcg@k, mrr@k, recall@k"):
        evaluate(Ranking([], [], []), {}, [name])


@pytest.mark.parametrize(
    ("ranking", "message"),
    [
        (Ranking(["q"], [["a"]], [[float("nan")]]), "NaN: 1 .q."),
        (Ranking(["q"], [["a", "b"]], [[1.0, 2.0]]), "increase"),
        (Ranking(["q"], [["a", "a"]], [[1.0, 1.0]]), "more than once"),
        (Ranking(["q", "q"], [["a"], ["a"]], [[1.0], [1.0]]), "listed twice"),
        (Ranking(["q"], [["a"]], [[1.0, 0.0]]), "1 documents and 2 scores"),
        (Ranking(["q"], [], []), "do not belong together"),
    ],
)
def test_bad_rankings(ranking: Ranking, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(ranking, {"q": {"a": 1}}, ["ndcg@10"])


def test_names() -> None:
    assert parse_measure("ndcg@10") == ("ndcg", 10)
    assert [measure_title(m) for m in ("ndcg@10", "mrr@5", "recall@100", "other")] == [
        "nDCG@10",
        "MRR@5",
        "Recall@100",
        "other",
    ]


def test_f1_and_accuracy_by_hand() -> None:
    """Two relevant documents; q1 finds one at rank 2, q2 none, q3 both among the first three."""
    qrels = {query: {"a": 1, "b": 2, "c": 0} for query in ("q1", "q2", "q3")}
    lists = [["c", "a", "x", "y"], ["c", "x", "y", "z"], ["a", "c", "b", "x"]]
    ranking = Ranking(["q1", "q2", "q3"], lists, [[4.0, 3.0, 2.0, 1.0]] * 3)
    result = evaluate(ranking, qrels, ["f1@1", "f1@2", "f1@3", "f1@10", "accuracy@1", "accuracy@2"])
    # q1: P@2 = R = 1/2; P@3 = 1/3, P@10 = 1/10. q3: P@2 = R = 1/2; P@3 = 2/3, P@10 = 2/10, R = 1.
    expected = {
        "f1@1": [0.0, 0.0, 2 * 1 * 0.5 / 1.5],
        "f1@2": [0.5, 0.0, 0.5],
        "f1@3": [2 * (1 / 3) * 0.5 / (1 / 3 + 0.5), 0.0, 0.8],
        "f1@10": [2 * 0.1 * 0.5 / 0.6, 0.0, 2 * 0.2 / 1.2],
        "accuracy@1": [0.0, 0.0, 1.0],
        "accuracy@2": [1.0, 0.0, 1.0],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(result.values[name], values, rtol=0, atol=1e-12, err_msg=name)
    assert [measure_title(name) for name in ("f1@10", "accuracy@1")] == ["F1@10", "Accuracy@1"]


@pytest.mark.parametrize("seed", range(2))
def test_accuracy_is_success_and_f1_the_harmonic_mean(seed: int) -> None:
    run, qrels = random_case(seed)
    names = [f"{kind}@{k}" for kind in ("accuracy", "success", "f1", "precision", "recall") for k in KS]
    values = evaluate(as_ranking(run), qrels, names).values
    for k in KS:
        np.testing.assert_array_equal(values[f"accuracy@{k}"], values[f"success@{k}"])
        pairs = zip(values[f"precision@{k}"].tolist(), values[f"recall@{k}"].tolist(), strict=True)
        expected = [2 / (1 / p + 1 / r) if p and r else 0.0 for p, r in pairs]
        np.testing.assert_allclose(values[f"f1@{k}"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("qrels", "ids", "message"),
    [
        ({"q": {"d": 2**31}}, ["d"], r"^qrels: the grade of query q and document d is above 1000000"),
        ({"q": {"d": 2**63 - 1}}, ["d"], r"^qrels: the grade of query q"),
        ({"q": {"d\ud83d": 1}}, ["d"], r"^qrels: an id holds half of a character: '\\ud83d'"),
        ({"q": {"d": 1}}, ["d\udc00"], r"^ranking: an id holds half of a character"),
        ({"q": {"d\0": 1}}, ["d"], r"^qrels: an id holds a NUL character"),
    ],
)
def test_what_would_end_in_a_crash_of_trec_eval_is_named(
    qrels: dict[str, dict[str, int]], ids: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(Ranking(["q"], [ids], [[1.0]]), qrels, ["ndcg@10"])
