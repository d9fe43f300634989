"""Mined negatives, against a plain loop over everything."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.sources.choosing import Mining, PositiveAware
from colbert_lab.sources.list_candidates import query_generator
from colbert_lab.sources.mined import Finishing, Mined
from colbert_lab.sources.mining import Miner
from colbert_lab.tasks.mine import REASONS
from colbert_lab.text.collections.collection import build_corpus, build_split
from tests.teachers.support import Given, Hashed

N_DOCUMENTS, N_QUERIES = 150, 40


@dataclass(frozen=True)
class Pairs:
    """A teacher that reads pairs, with the scores of :class:`Hashed`; counts the pairs."""

    name: str
    asked: Counter[str]

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> Tensor:
        self.asked["pairs"] += len(queries)
        index = Hashed(self.name)
        corpus = {text: build_corpus([text], [text]) for text in documents}
        return torch.cat(
            [index.index(corpus[d]).scores([q])[0] for q, d in zip(queries, documents, strict=True)]
        )


@pytest.fixture(scope="module")
def split() -> Split:
    """Queries with one to three relevant documents; every third document has a copy in another form."""
    generator = np.random.default_rng(3)
    texts = [f"Text number {row - row % 3 // 2}" + "  " * (row % 3) for row in range(N_DOCUMENTS)]
    texts[5] = " \n"
    ids = [f"d{row:03d}" for row in generator.permutation(N_DOCUMENTS)]
    able = [row for row in range(N_DOCUMENTS) if row != 5]
    qrels = {
        f"q{n}": {ids[row]: 1 for row in generator.choice(able, 1 + n % 3, replace=False)} | {ids[n]: 0}
        if n % 10
        else {ids[n]: 0}
        for n in range(N_QUERIES)
    }
    queries = {f"q{n}": f"query {n}" for n in range(N_QUERIES)}
    return build_split("toy", "train", build_corpus(ids, texts), queries, qrels, {})


def norm(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def plain_loop(split: Split, mining: Mining) -> dict[str, list[tuple[str, str]]]:
    """Query id to (document id, retriever), from the scores of everything."""
    corpus = split.corpus
    numbers = range(len(corpus))
    whole = {name: int(share * mining.negatives + 1e-9) for name, share in mining.shares.items()}
    rest = {name: share * mining.negatives - whole[name] for name, share in mining.shares.items()}
    while sum(whole.values()) < mining.negatives:
        name = max(rest, key=lambda key: round(rest[key], 9))
        whole[name] += 1
        rest[name] = -1.0
    names = list(mining.shares)
    order = sorted(((2 * i + 1) / (2 * n), names.index(name)) for name, n in whole.items() for i in range(n))
    result = {}
    for query, text in split.queries.items():
        relevant = [n for n in numbers if split.qrels[query].get(corpus.ids[n], 0) > 0]
        if not relevant:
            continue
        lists: dict[str, list[int]] = {}
        for name in names:
            dice = query_generator(mining.seed, f"{name}:{query}")
            if name == "random":
                drawn = dice.choice(len(corpus), min(mining.pool, len(corpus)), replace=False)
                lists[name] = [int(n) for n in drawn if n not in relevant]
                continue
            scores = mining.retrievers[name].index(corpus).scores([text])[0].tolist()
            ranked = sorted(numbers, key=lambda n: (scores[n], corpus.ids[n]), reverse=True)
            ranked = [n for n in ranked if n not in relevant][mining.ranks[0] - 1 : mining.ranks[1]]
            lists[name] = dice.permutation(ranked).tolist() if mining.sample == "random" else ranked
        judged = [0.0] * len(corpus)
        if mining.teacher is not None:
            judged = Hashed(mining.teacher.name).index(corpus).scores([text])[0].tolist()
        positive = min(judged[n] for n in relevant)
        bounds = mining.bounds
        able = {
            n
            for n in numbers
            if corpus.texts[n].strip()
            and norm(corpus.texts[n]) not in {norm(corpus.texts[r]) for r in relevant}
            and not (bounds.max_score is not None and judged[n] > bounds.max_score)
            and not (bounds.ratio is not None and judged[n] > bounds.ratio * positive)
            and not (bounds.margin is not None and judged[n] > positive - bounds.margin)
        }
        chosen: list[tuple[int, str]] = []

        def next_of(name: str) -> list[tuple[int, str]]:
            seen = {norm(corpus.texts[n]) for n, _ in chosen}  # noqa: B023
            fits = [n for n in lists[name] if n in able and norm(corpus.texts[n]) not in seen]  # noqa: B023
            return [(fits[0], name)] if fits else []

        for _, number in order:
            chosen += next_of(names[number])
        while len(chosen) < mining.negatives and any(next_of(name) for name in names):
            for name in names:
                if len(chosen) < mining.negatives:
                    chosen += next_of(name)
        result[query] = [(corpus.ids[n], name) for n, name in chosen]
    return result


def mined(split: Split, mining: Mining) -> tuple[Miner, pa.Table, dict[str, Counter[str]]]:
    miner = Miner(split, mining)
    tables = [miner.mine(part) for part in range(miner.parts)]
    counts = {name: Counter[str]() for name in mining.shares}
    for table in tables:
        for name, own in json.loads(table.schema.metadata[b"report"])["counts"].items():
            counts[name].update(own)
    return miner, pa.concat_tables([table.replace_schema_metadata() for table in tables]), counts


def as_pairs(miner: Miner, table: pa.Table) -> dict[str, list[tuple[str, str]]]:
    names = list(miner.mining.shares)
    return {
        row["query_id"]: [
            (miner.split.corpus.ids[n], names[source])
            for n, source in zip(row["rows"], row["sources"], strict=True)
        ]
        for row in table.to_pylist()
    }


BASE = Mining(
    {"a": Hashed("a"), "b": Hashed("b")}, {"a": 0.5, "b": 0.25, "random": 0.25}, 8, (1, 100), part=7
)
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "equal shares": {"shares": {"a": 0.5, "b": 0.5}, "negatives": 5},
    "ranks": {"ranks": (11, 30)},
    "few ranks, so that others stand in": {"ranks": (3, 4), "negatives": 12},
    "random order": {"sample": "random", "ranks": (5, 60), "seed": 7},
    "all of the corpus": {"ranks": (1, 1000), "negatives": 60},
    "beyond the corpus": {"ranks": (140, 1000), "negatives": 4, "shares": {"a": 1.0}},
    "random alone": {"retrievers": {}, "shares": {"random": 1.0}, "ranks": (1, 20)},
    "max_score": {"bounds": PositiveAware(max_score=0.4), "teacher": Hashed("t")},
    "ratio": {"bounds": PositiveAware(ratio=0.9), "teacher": Hashed("t")},
    "margin": {"bounds": PositiveAware(margin=0.2), "teacher": Hashed("t"), "ranks": (1, 40)},
    "all bounds": {
        "bounds": PositiveAware(max_score=0.6, ratio=0.7, margin=0.05),
        "teacher": Hashed("t"),
        "sample": "random",
        "ranks": (2, 60),
    },
    "scores alone": {"teacher": Hashed("t")},
}


@pytest.mark.parametrize("name", CASES)
def test_the_negatives_are_those_of_a_plain_loop(name: str, split: Split) -> None:
    mining = replace(BASE, **CASES[name])
    expected = plain_loop(split, mining)
    miner, table, counts = mined(split, mining)
    assert as_pairs(miner, table) == expected
    assert len(expected) == 36
    ready = [Counter(source for _, source in found) for found in expected.values()]
    assert {name: own["kept"] for name, own in counts.items()} == {
        name: sum(found[name] for found in ready) for name in mining.shares
    }
    assert {key for own in counts.values() for key in own} <= set(REASONS)
    for key, own in counts.items():
        listed = own.total() - own["relevant"]
        if key == "random":
            assert listed + own["relevant"] == 36 * min(mining.pool, N_DOCUMENTS)
        elif mining.ranks[1] <= N_DOCUMENTS - 3:
            assert listed == 36 * mining.ranks[1]
            assert own["out_of_range"] == 36 * (mining.ranks[0] - 1)
    if mining.teacher is None:
        assert table["scores"].null_count == len(table)
        return
    for row in table.to_pylist():
        scores = Hashed("t").index(split.corpus).scores([split.queries[row["query_id"]]])[0]
        good = [miner.row_of[document] for document in miner.relevant[row["query_id"]]]
        assert row["scores"] == scores[row["rows"]].tolist()
        assert row["positive_scores"] == scores[good].tolist()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "teacher" in case])
def test_a_teacher_of_pairs_chooses_the_same_and_scores_little(name: str, split: Split) -> None:
    asked: Counter[str] = Counter()
    mining = replace(BASE, **CASES[name])
    _, table, _ = mined(split, mining)
    _, by_pairs, _ = mined(split, replace(mining, teacher=Pairs("t", asked)))
    assert by_pairs.equals(table)
    assert asked["pairs"] < 0.5 * 36 * N_DOCUMENTS


def test_a_part_depends_on_its_own_queries_alone(split: Split) -> None:
    mining = replace(BASE, sample="random")
    _, table, _ = mined(split, mining)
    for size in (1, 1000):
        assert mined(split, replace(mining, part=size))[1].equals(table)


@pytest.fixture
def planted() -> tuple[Split, Given]:
    """The retriever's order is that of the rows: relevant, its copy, a false negative, a copy of the next, others."""
    texts = ["The Answer", "the  answer", "better answer", "Other", "other ", "", "last", "very last"]
    split = build_split(
        "toy",
        "train",
        build_corpus([f"d{n}" for n in range(8)], texts),
        {"q": "query", "none": "not judged"},
        {"q": {"d0": 1}, "none": {"d3": 0}},
        {},
    )
    return split, Given("given", (("query", (8.0, 7.0, 6.0, 5.0, 4.5, 4.0, 3.0, 2.0)),))


def test_a_planted_copy_and_a_planted_false_negative_are_left_out_and_counted(
    planted: tuple[Split, Given],
) -> None:
    split, scores = planted
    teacher = Given("teacher", (("query", (8.0, 1.0, 7.7, 2.0, 2.0, 1.0, 3.0, 4.0)),))
    mining = Mining({"g": scores}, {"g": 1.0}, 3, (1, 6), teacher=teacher, bounds=PositiveAware(ratio=0.95))
    miner, table, counts = mined(split, mining)
    assert as_pairs(miner, table) == {"q": [("d3", "g"), ("d6", "g")]}
    assert table["scores"].to_pylist() == [[2.0, 3.0]]
    assert table["positive_scores"].to_pylist() == [[8.0]]
    assert +counts["g"] == {
        "relevant": 1, "copy_of_relevant": 1, "ratio": 1, "kept": 2, "copy": 1, "empty": 1,
    }  # fmt: skip
    without = replace(mining, teacher=None, bounds=PositiveAware())
    assert as_pairs(*mined(split, without)[:2]) == {"q": [("d2", "g"), ("d3", "g"), ("d6", "g")]}
    assert Mined(miner, table, "keep").counts == {
        "queries": 1,
        "queries_without_relevant_document": 1,
        "queries_short": 1,
        "queries_short_left_out": 0,
        "fewest_negatives": 2,
        "negatives": 2,
        "negatives_per_query": {"2": 1},
    }


def test_the_lowest_of_several_positives_counts(planted: tuple[Split, Given]) -> None:
    split, scores = planted
    two = build_split("toy", "train", split.corpus, {"q": "query"}, {"q": {"d0": 1, "d7": 1}}, {})
    teacher = Given("teacher", (("query", (8.0, 1.0, 7.7, 2.0, 2.0, 1.0, 3.0, 2.5)),))
    mining = Mining({"g": scores}, {"g": 1.0}, 5, teacher=teacher, bounds=PositiveAware(margin=0))
    miner, table, _ = mined(two, mining)
    assert as_pairs(miner, table) == {"q": [("d3", "g")]}  # 3.0 is below 8.0, and above 2.5


def test_a_ratio_of_a_positive_below_zero_is_a_bound_below_it(planted: tuple[Split, Given]) -> None:
    split, scores = planted
    teacher = Given("teacher", (("query", (-1.0, -0.9, -0.6, -3.0, -4.0, -7.0, -9.0, -9.0)),))
    mining = Mining({"g": scores}, {"g": 1.0}, 3, teacher=teacher, bounds=PositiveAware(ratio=0.5))
    miner, table, counts = mined(split, mining)
    assert [document for document, _ in as_pairs(miner, table)["q"]] == ["d3", "d6", "d7"]
    assert counts["g"]["ratio"] == 1  # d2, above the positive and below -0.5, half of it


def test_scores_that_are_no_numbers_stop_it(planted: tuple[Split, Given]) -> None:
    split, scores = planted
    broken = Given("broken", (("query", (float("nan"), *range(7))),))
    with pytest.raises(
        InputError, match=r"^mine\.retrievers\.g: Given: scores .* 1 queries \(first: 'query'\)"
    ):
        mined(split, Mining({"g": broken}, {"g": 1.0}))
    with pytest.raises(
        InputError, match=r"^mine\.filter\.teacher: Given: scores .* 1 queries \(first: 'query'\)"
    ):
        mined(split, Mining({"g": scores}, {"g": 1.0}, teacher=broken))


def test_a_row_of_triples_for_each_relevant_document_with_its_own_score(split: Split) -> None:
    miner, table, _ = mined(split, replace(BASE, teacher=Hashed("t")))
    kept = Mined(miner, table, "keep")
    rows = list(kept.triples())
    texts = dict(zip(split.corpus.ids, split.corpus.texts, strict=True))
    assert [(row["query_id"], row["document_id"]) for row in rows] == [
        (query, document) for query in split.queries for document in miner.relevant.get(query, [])
    ]
    assert len(rows) == kept.rows["triples"] > kept.rows["lists"] == 36
    for row in rows:
        scores = Hashed("t").index(split.corpus).scores([row["query"]])[0].tolist()
        assert row["query"] == split.queries[row["query_id"]]
        assert row["document"] == texts[row["document_id"]]
        assert row["positive_score"] == scores[miner.row_of[row["document_id"]]]
        assert row["negative"] == [texts[document] for document in row["negative_ids"]]
        assert row["negative_scores"] == [scores[miner.row_of[document]] for document in row["negative_ids"]]


def test_queries_that_are_short(split: Split) -> None:
    mining = replace(BASE, bounds=PositiveAware(ratio=0.3), teacher=Hashed("t"), ranks=(1, 60))
    miner, table, _ = mined(split, mining)
    lengths = Counter(map(len, table["rows"].to_pylist()))
    assert lengths[0] > 0
    assert lengths[8] > 0
    assert len(lengths) > 3
    kept = Mined(miner, table, "keep")
    assert kept.counts["queries"] == kept.rows["lists"] == 36 - lengths[0]
    assert kept.counts["queries_short"] == 36 - lengths[8]
    assert kept.counts["queries_short_left_out"] == lengths[0]
    assert kept.counts["fewest_negatives"] == min(n for n in lengths if n)
    dropped = Mined(miner, table, "drop")
    assert dropped.counts["queries"] == lengths[8]
    assert dropped.counts["fewest_negatives"] == 8
    assert all(len(row["negative"]) == 8 for row in dropped.triples())
    with pytest.raises(InputError, match=rf"^mine\.short=error: .* negatives: {36 - lengths[8]} \(first: q"):
        Mined(miner, table, "error")
    none, empty, _ = mined(split, replace(mining, bounds=PositiveAware(max_score=-1)))
    with pytest.raises(InputError, match=r"^mine: no query is left: 36 of 36 have fewer .* 36 have none"):
        Mined(none, empty, "keep")


def test_a_query_or_positive_without_text_is_an_error(split: Split) -> None:
    mining = Mining({"a": Hashed("a")}, {"a": 1.0})
    empty = split.corpus.ids[5]
    texts = dict(split.queries) | {"q1": " "}
    blank = build_split("toy", "train", split.corpus, texts, split.qrels, {})
    with pytest.raises(InputError, match=r"^data: queries without text: 1 \(q1\)"):
        Miner(blank, mining)
    judged = dict(split.qrels) | {"q2": {empty: 1}}
    with pytest.raises(InputError, match=rf"^data: relevant documents without text: 1 \({empty}\)"):
        Miner(build_split("toy", "train", split.corpus, split.queries, judged, {}), mining)
    nothing = build_split("toy", "train", split.corpus, {"q0": "text"}, {"q0": {empty: 0}}, {})
    with pytest.raises(InputError, match=r"^data: no query of toy/train has a relevant document"):
        Miner(nothing, mining)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranks": (0, 5)}, r"^mine\.ranks=\[0,5\]"),
        ({"ranks": (6, 5)}, r"^mine\.ranks=\[6,5\]"),
        ({"bounds": PositiveAware(margin=1)}, r"^mine\.filter\.margin: has no effect without a teacher"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(BASE, **change)


def test_a_teacher_of_pairs_is_no_retriever() -> None:
    pairs: Any = Pairs("cross", Counter())
    with pytest.raises(InputError, match=r"^mine\.retrievers\.b: cross reads pairs and cannot search"):
        replace(BASE, retrievers={"a": Hashed("a"), "b": pairs})


def test_what_becomes_of_the_negatives_is_checked() -> None:
    Finishing("lists", "drop").check(scored=True)
    for finishing, message in ((Finishing("lists"), r"^mine\.output=lists: lists hold a teacher's scores"),):
        with pytest.raises(InputError, match=message):
            finishing.check(scored=False)


def test_the_identity_tells_settings_and_data_apart(split: Split) -> None:
    def identity(**change: Any) -> str:
        return json.dumps(Miner(split, replace(BASE, **change)).identity())

    changes: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"part": 8},
        {"retrievers": {"a": Hashed("c"), "b": Hashed("b")}},
    ]
    assert len({identity(**change) for change in changes}) == len(changes)
    certain = {"shares": {"a": 0.5, "b": 0.5}}
    assert identity(**certain) == identity(**certain, seed=1)
