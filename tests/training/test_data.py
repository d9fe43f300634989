from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from colbert_lab.errors import InputError
from colbert_lab.student.student import Student, build_student
from colbert_lab.training.data import FromMicroBatch, ListMicroBatches, pick_documents
from tests.training.support import make_lists


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    return build_student(**student_settings)


def make(student: Student, **changes: Any) -> ListMicroBatches:
    settings: dict[str, Any] = {
        "batch_size": 4,
        "n_way": 4,
        "token_budget": 64,
        "seed": 1,
        "phase": "distill",
    }
    return ListMicroBatches(make_lists(), student.tokenizer, **(settings | changes))


def test_a_micro_batch_is_a_function_of_its_number(student: Student) -> None:
    forward, backward = make(student), make(student)
    for k, other in zip(range(7), reversed(range(7)), strict=True):
        backward[other]
        ahead, again = forward[k], make(student)[k]
        assert torch.equal(ahead.teacher_BK, again.teacher_BK)
        assert torch.equal(ahead.queries.input_ids_NL, again.queries.input_ids_NL)
        assert torch.equal(ahead.rows_BK, again.rows_BK)


def test_every_epoch_reads_every_list_once_in_another_order(student: Student) -> None:
    batches = make(student)
    first = [int(row) for k in range(3) for row in batches.rows(k)]
    second = [int(row) for k in range(3, 6) for row in batches.rows(k)]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_seed_and_phase_change_the_order(student: Student) -> None:
    orders = [
        [int(row) for k in range(3) for row in make(student, **changes).rows(k)]
        for changes in ({}, {"seed": 2}, {"phase": "supervised"})
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_rows_point_at_the_right_documents_and_scores(student: Student) -> None:
    batches = make(student)
    batch = batches[0]
    chosen, documents_BK, scores_BK = batches.candidates(0)
    everything = [row for chunk in batch.documents for row in chunk.input_ids_NL.tolist()]
    pad = student.tokenizer.tokenizer.pad_token_id
    for b, row in enumerate(chosen):
        raw = dict(
            zip(batches.lists.documents[row].tolist(), batches.lists.scores[row].tolist(), strict=True)
        )
        for k in range(4):
            text = batches.lists.corpus.texts[int(documents_BK[b, k])]
            ids = [t for t in everything[int(batch.rows_BK[b, k])] if t != pad]
            assert ids == student.tokenizer.ids([text], "document")[0]
            assert scores_BK[b, k] == raw[int(documents_BK[b, k])]
        assert scores_BK[b, 0] == max(raw.values())


def test_chunks_hold_each_document_once_and_hardly_pad(student: Student) -> None:
    batch = make(student, batch_size=12, n_way=6)[0]
    n_documents = sum(len(chunk.input_ids_NL) for chunk in batch.documents)
    assert n_documents == int(batch.rows_BK.unique().numel())
    assert all(chunk.input_ids_NL.numel() <= 64 or len(chunk.input_ids_NL) == 1 for chunk in batch.documents)
    widest = max(chunk.input_ids_NL.shape[1] for chunk in batch.documents)
    narrowest = min(chunk.input_ids_NL.shape[1] for chunk in batch.documents)
    assert narrowest < widest <= student.tokenizer.length("document")
    real = sum(int(chunk.attention_mask_NL.sum()) for chunk in batch.documents) + int(
        batch.queries.attention_mask_NL.sum()
    )
    assert batch.n_tokens == real
    assert batch.n_padded >= batch.n_tokens


def test_best_document_is_kept_and_the_rest_are_drawn() -> None:
    scores = np.arange(20, dtype=np.float32)
    drawn = [pick_documents(scores, 5, np.random.default_rng(n)) for n in range(200)]
    assert all(pick[0] == 19 and len(set(pick.tolist())) == 5 for pick in drawn)
    assert {int(row) for pick in drawn for row in pick} == set(range(20))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_way": 7}, r"phases\.distill\.n_way=7: lists with fewer documents: 12 \(first: q0"),
        ({"n_way": 1}, "at least 2 documents"),
        ({"batch_size": 13}, r"phases\.distill\.batch_size=13: must be between 1 and the 12 lists"),
    ],
)
def test_bad_settings(student: Student, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(student, **changes)


def test_a_document_without_scoring_token_is_named(student_settings: dict[str, Any]) -> None:
    student = build_student(**(student_settings | {"skiplist": ["[CLS]", "[SEP]", "[unused1]"]}))
    lists = make_lists()
    texts = list(lists.corpus.texts)
    texts[int(lists.documents[0][0])] = ""
    corpus = replace(lists.corpus, texts=texts)
    batches = ListMicroBatches(
        replace(lists, corpus=corpus),
        student.tokenizer,
        batch_size=12,
        n_way=6,
        token_budget=64,
        seed=0,
        phase="distill",
    )
    with pytest.raises(InputError, match=corpus.ids[int(lists.documents[0][0])]):
        batches[0]


def test_sampler_starts_where_asked_but_counts_all() -> None:
    sampler = FromMicroBatch(3, 8)
    assert list(sampler) == [3, 4, 5, 6, 7]
    assert len(sampler) == 8
