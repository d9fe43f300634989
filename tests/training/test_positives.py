"""A query's known positives, and that they are never its negatives."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor

from colbert_lab.certify.as_trained import FULL
from colbert_lab.certify.micro_batch import MicroBatch
from colbert_lab.certify.reference import Reference
from colbert_lab.model.student import Student
from colbert_lab.text.fingerprint import text_key
from colbert_lab.text.rows.examples import Examples
from colbert_lab.text.rows.id_triples import read_id_triples
from colbert_lab.text.rows.triples import Triples, make_triples
from colbert_lab.training.module import reciprocal_ranks
from colbert_lab.training.objectives.contrastive import Contrastive, ignored
from colbert_lab.training.positives import DocumentKeys, KnownPositives, positive_keys
from colbert_lab.training.prepare import PreparedPhase, prepare_phase
from colbert_lab.training.trainer import training_module
from tests.tiny import sentences
from tests.toy import new_student
from tests.training.support import make_lists, phase_settings

WORDS = sentences(8, seed=3)
# Two positives of "one"; the second is also a listed negative of its first row, and a positive of "two".
ROWS = [
    ("one", WORDS[0], [WORDS[1], WORDS[2]]),
    ("one", WORDS[1], [WORDS[3], WORDS[4]]),
    ("two", WORDS[1], [WORDS[0], WORDS[5]]),
    ("three", WORDS[6], [WORDS[1], WORDS[7]]),
]


def triples_of(rows: list[tuple[str, str, list[str]]], **columns: list[str]) -> Triples:
    table = {
        "query": [query for query, *_ in rows],
        "document": [document for _, document, _ in rows],
        "negative": [negatives for *_, negatives in rows],
    }
    return make_triples("toy", Dataset.from_dict(table | columns), 2)


def texts_of(known: KnownPositives, query: str, texts: list[str]) -> set[str]:
    keys = known.of(query)
    assert len(set(keys)) == len(keys)
    return {text for text in texts if text_key(text) in keys}


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    torch.manual_seed(0)
    return new_student(**student_settings)


def phase_of(student: Student, sources: list[Examples], **changes: Any) -> PreparedPhase:
    objective = phase_settings().objective
    objective["distillation"]["weight"], objective["contrastive"]["weight"] = 0.0, 1.0
    objective["contrastive"]["temperature"] = 0.5
    settings = phase_settings(
        objective=objective, token_budget=1000, **({"n_way": 3, "accumulation": 1} | changes)
    )
    return prepare_phase(
        "supervised", settings, sources, student.tokenizer, seed=0, allow_flat_teacher=False,
        allow_prompt_mismatch=False,
    )  # fmt: skip


def test_positives_are_found_by_content_over_all_rows_and_sources() -> None:
    first, second = (
        triples_of(ROWS),
        triples_of([("two", WORDS[7], WORDS[:2]), ("one", WORDS[0], WORDS[2:4])]),
    )
    known = KnownPositives([first])
    assert texts_of(known, "one", WORDS) == {WORDS[0], WORDS[1]}
    assert (known.queries, known.pairs) == (1, 2)
    assert [len(known.of(query)) for query in ("one", "two", "unknown")] == [2, 0, 0]
    both = KnownPositives([first, second])
    assert texts_of(both, "two", WORDS) == {WORDS[1], WORDS[7]}
    assert (both.queries, both.pairs) == (2, 4)
    with_ids = triples_of(ROWS, query_id=["a", "b", "c", "d"])
    assert KnownPositives([with_ids.without(["b"])]).queries == 0
    assert KnownPositives([with_ids.without(["a", "c"])]).queries == 0
    left = with_ids.without(["c"])
    assert texts_of(KnownPositives([left]), "one", WORDS) == {WORDS[0], WORDS[1]}


def test_positives_of_id_triples_and_of_lists(tmp_path: Path) -> None:
    (tmp_path / "collection.tsv").write_text("".join(f"d{n}\ttext {n}\n" for n in range(5)))
    (tmp_path / "queries.tsv").write_text("q1\tone\nq2\ttwo\nq3\tone\nq4\tfour\n")
    rows = ["q1\td0\td4", "q2\td1\td4", "q1\td2\td4", "q1\td0\td3", "q3\td3\td4", "q4\td2\td4"]
    (tmp_path / "triples.tsv").write_text("\n".join(rows))
    triples = read_id_triples(tmp_path, tmp_path / "triples.tsv", 1, tmp_path / "cache")
    texts = [f"text {n}" for n in range(5)]
    known = KnownPositives([triples])
    assert texts_of(known, "one", texts) == {"text 0", "text 2", "text 3"}
    assert known.queries == 1
    fewer = KnownPositives([triples.without({"q4"}).without({"q3"})])
    assert texts_of(fewer, "one", texts) == {"text 0", "text 2"}
    lists = make_lists(n=4)
    twice = replace(lists, queries=[lists.queries[0], *lists.queries[:3]])
    best = [
        lists.corpus.texts[int(d[s.argmax()])] for d, s in zip(lists.documents, lists.scores, strict=True)
    ]
    assert texts_of(KnownPositives([twice]), lists.queries[0], best) == {best[0], best[1]}
    firsts = replace(twice, positive="first")
    wanted = {lists.corpus.texts[int(lists.documents[n][0])] for n in (0, 1)}
    assert texts_of(KnownPositives([firsts]), lists.queries[0], list(lists.corpus.texts)) == wanted


def test_two_rows_of_one_query_are_no_contrast(student: Student) -> None:
    """With nothing else in the batch the loss is 0; it would go to ln 2 if each took the other's positive for wrong."""
    rows = [("one", WORDS[0], [WORDS[2]]), ("one", WORDS[1], [WORDS[2]])]
    pairs = make_triples(
        "pairs", Dataset.from_dict({"query": ["one"] * 2, "document": [r[1] for r in rows]}), None
    )
    phase = phase_of(student, [pairs], batch_size=2, n_way=1)
    micro = MicroBatch(phase, 0, student.model, Reference(student.model), FULL, False)
    assert len(set(micro.batch.keys_N.tolist())) == 2
    assert micro.step(FULL).loss == 0.0 == micro.truth.loss


def test_the_loss_leaves_out_positives_that_are_listed_or_in_the_batch(
    student: Student, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        phase = phase_of(student, [triples_of(ROWS)], batch_size=4)
    assert "1 queries have several positives, 2 together" in caplog.text
    assert (
        "list a positive of the query as its negative, which is left out of the contrast: 1 (0)"
        in caplog.text
    )
    micro = MicroBatch(phase, 0, student.model, Reference(student.model), FULL, False)
    queries = [example.query for example in micro.examples]
    total = 0.0
    texts = list(dict.fromkeys(text for example in micro.examples for text in example.documents))
    good = {"one": {WORDS[0], WORDS[1]}, "two": {WORDS[1]}, "three": {WORDS[6]}}
    assert micro.truth.matrix is not None
    for b, example in enumerate(micro.examples):
        scores = dict(zip(texts, (micro.truth.matrix[b] / 0.5).tolist(), strict=True))
        counted = [t for t in texts if t == example.documents[0] or t not in good[example.query]]
        assert len(counted) == len(texts) - len(good[example.query]) + 1
        total += math.log(sum(math.exp(scores[t]) for t in counted)) - scores[example.documents[0]]
    assert sorted(queries) == ["one", "one", "three", "two"]
    assert micro.truth.loss == pytest.approx(total / 4, rel=1e-6)
    assert micro.step(FULL).loss == pytest.approx(total / 4, rel=1e-4)

    wanted = [[text not in good[example.query] for text in example.documents] for example in micro.examples]
    assert micro.batch.negative_BK.tolist() == wanted
    module = training_module(phase, student.model, recompute=False).eval()
    module.training_step(micro.batch, 0)
    ranks = []
    for example, scores in zip(micro.examples, micro.truth.lists.tolist(), strict=True):
        others = [s for t, s in zip(example.documents, scores, strict=True) if t not in good[example.query]]
        ranks.append(1 + sum(other > scores[0] for other in others))
    assert float(module.means["list_mrr"].compute()) == pytest.approx(np.mean([1 / rank for rank in ranks]))  # type: ignore[operator]
    assert len(set(ranks)) > 1


def test_processes_leave_out_what_one_process_leaves_out(student: Student) -> None:
    batches = phase_of(student, [triples_of(ROWS)], batch_size=4).batches
    generator = torch.Generator().manual_seed(0)
    values = {
        text_key(text): torch.rand(4, generator=generator) for text in WORDS
    }  # a row a query of the batch
    settings = Contrastive(0.5)

    def loss(shares: list[Any]) -> Tensor:
        keys_N = torch.cat([batch.keys_N for batch in shares])
        first, row, losses = 0, 0, []
        for batch in shares:
            b = len(batch.rows_BK)
            scores_BN = torch.stack([values[int(key)][row : row + b] for key in keys_N], dim=1)
            rows_BK = batch.rows_BK + first
            out = ignored(keys_N, rows_BK, None, None, positives=batch.positives)
            losses.append(settings(scores_BN, rows_BK[:, 0], out))
            first, row = first + len(batch.keys_N), row + b
        return torch.stack(losses).mean()

    whole = loss([batches[0]])
    torch.testing.assert_close(loss([batches.share(rank, 2)[0] for rank in range(2)]), whole)
    torch.testing.assert_close(loss([batches.share(rank, 4)[0] for rank in range(4)]), whole)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 1, "steps": None}, "epochs=1 of 7 rows are 7, and 3 of them are not trained on"),
        ({"epochs": 2, "steps": None}, "epochs=2 of 7 rows are 14, and 6 of them are not trained on"),
        (
            {"epochs": 7, "steps": None, "accumulation": 2},
            "of 7 rows are 49, and 25 of them are not trained on",
        ),
        ({"steps": 5}, "an epoch leaves out 3 of 7 rows, others each time, which fill no micro-batch of 4"),
        ({"steps": 5, "batch_size": 7}, None),
        ({"epochs": 2, "steps": None, "batch_size": 7, "accumulation": 2}, None),
    ],
)
def test_rows_that_are_not_trained_on_are_counted(
    student: Student, changes: dict[str, Any], said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = make_triples("pairs", Dataset.from_dict({"query": WORDS[:7], "document": WORDS[1:8]}), None)
    with caplog.at_level(logging.INFO):
        phase_of(student, [pairs], **({"n_way": 1, "batch_size": 4} | changes))
    if said is None:
        assert "not trained on" not in caplog.text
        assert "leaves out" not in caplog.text
    else:
        assert said in caplog.text


def test_documents_among_some_keys() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        keys = generator.integers(-5, 5, 12)
        lists = [generator.integers(-9, 9, size).tolist() for size in (4, 0, 9, 1)]
        rows = [row for row, own in enumerate(lists) for _ in own]
        wanted = DocumentKeys(torch.tensor([*chain(*lists)]), torch.tensor(rows), len(lists))
        assert wanted.among(torch.from_numpy(keys)).tolist() == [
            [key in own for key in keys.tolist()] for own in lists
        ]
        equal = torch.from_numpy(generator.integers(-9, 9, (3, 4)))
        assert DocumentKeys.of_lists(equal).among(torch.from_numpy(keys)).tolist() == [
            [key in own for key in keys.tolist()] for own in equal.tolist()
        ]


def test_a_query_of_many_positives_costs_those_beside_it_nothing() -> None:
    """Padded to the longest, a query of 5,000 positives and 64 beside it would hold 325,000 keys."""
    many = {"query": ["often"] * 5000 + [f"query {n}" for n in range(64)]}
    many["document"] = [f"text {n}" for n in range(len(many["query"]))]
    pairs = make_triples("pairs", Dataset.from_dict(many), None)
    examples = [pairs.example(row, 1, np.random.default_rng(0)) for row in (7, *range(5000, 5064))]
    found = positive_keys(examples, KnownPositives([pairs]))
    assert found.rows.tolist() == [0] * 5001 + [*range(1, 65)]
    keys_N = torch.tensor([text_key(text) for text in many["document"]])
    assert found.among(keys_N).sum(dim=1).tolist() == [5000] + [1] * 64


def test_the_rank_of_the_positive_in_its_list() -> None:
    """Column 0 is the positive, whatever the sign of the scores; what is no negative is not ranked against it."""
    scores = torch.tensor([[-1.0, -2.0, -3.0], [0.5, 0.7, 0.9], [0.0, 0.0, -1.0], [1.0, 3.0, 2.0]])
    negative = torch.tensor([[False, True, True]] * 3 + [[False, False, True]])
    assert reciprocal_ranks(scores, negative).tolist() == pytest.approx([1, 1 / 3, 1 / 2, 1 / 2])
