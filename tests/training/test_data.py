import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.model.sending import Sent
from colbert_lab.model.student import Student
from colbert_lab.text.fingerprint import text_key
from colbert_lab.training.data import MicroBatches, PhaseData
from colbert_lab.training.sampler import FromMicroBatch, SourceSampler
from tests.toy import new_student
from tests.training.support import make_lists


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    return new_student(**student_settings)


def make(student: Student, **changes: Any) -> MicroBatches:
    settings: dict[str, Any] = {
        "batch_size": 4,
        "n_way": 4,
        "token_budget": 64,
        "seed": 1,
        "phase": "distill",
    }
    return MicroBatches([make_lists()], student.tokenizer, **(settings | changes))


def test_a_micro_batch_is_a_function_of_its_number(student: Student) -> None:
    forward, backward = make(student), make(student)
    for k, other in zip(range(7), reversed(range(7)), strict=True):
        backward[other]
        ahead, again = forward[k], make(student)[k]
        assert ahead.teacher_BK is not None
        assert again.teacher_BK is not None
        assert torch.equal(ahead.teacher_BK, again.teacher_BK)
        assert torch.equal(ahead.queries.input_ids_NL, again.queries.input_ids_NL)
        assert torch.equal(ahead.rows_BK, again.rows_BK)


def test_every_epoch_reads_every_list_once_in_another_order(student: Student) -> None:
    batches = make(student)
    first = [example.query_id for k in range(3) for example in batches.examples(k)]
    second = [example.query_id for k in range(3, 6) for example in batches.examples(k)]
    assert sorted(first) == sorted(second) == sorted(f"q{n}" for n in range(12))
    assert first != second


def test_seed_and_phase_change_the_order(student: Student) -> None:
    orders = [
        [example.query_id for k in range(3) for example in make(student, **changes).examples(k)]
        for changes in ({}, {"seed": 2}, {"phase": "supervised"})
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_rows_point_at_the_right_documents_and_scores(student: Student) -> None:
    batches = make(student)
    batch = batches[0]
    assert batch.teacher_BK is not None
    everything = [row for chunk in batch.documents for row in chunk.input_ids_NL.tolist()]
    pad = student.tokenizer.tokenizer.pad_token_id
    lists = make_lists()
    for b, example in enumerate(batches.examples(0)):
        row = lists.query_ids.index(example.query_id)
        texts = [lists.corpus.texts[int(n)] for n in lists.documents[row]]
        raw = dict(zip(texts, lists.scores[row].tolist(), strict=True))
        for k in range(4):
            ids = [t for t in everything[int(batch.rows_BK[b, k])] if t != pad]
            assert ids == student.tokenizer.ids([example.documents[k]], "document")[0]
            assert batch.teacher_BK[b, k] == raw[example.documents[k]]
            assert batch.keys_N[batch.rows_BK[b, k]] == text_key(example.documents[k])
        assert batch.teacher_BK[b, 0] == max(raw.values())


def test_processes_share_what_one_process_reads(student: Student) -> None:
    whole = make(student)
    for k in range(4):
        halves = [whole.share(rank, 2).examples(k) for rank in range(2)]
        alone = whole.examples(k)
        together = [*halves[0], *halves[1]]
        assert [e.query_id for e in together] == [e.query_id for e in alone]
        assert [e.documents for e in together] == [e.documents for e in alone]


def test_no_row_is_left_out_where_processes_cannot_share_a_batch(student: Student) -> None:
    with pytest.raises(InputError, match=r"phases\.distill\.batch_size=4: 3 processes cannot share it"):
        make(student).share(0, 3)


def test_a_batch_has_one_source_and_sources_come_by_size() -> None:
    sampler = SourceSampler([40, 20, 9], 4, None, 7)
    assert sampler.per_epoch == 10 + 5 + 2
    for epoch in range(2):
        drawn = [sampler.rows(epoch * 17 + k) for k in range(17)]
        for source, size in enumerate((40, 20, 9)):
            rows = [int(row) for found, chosen in drawn if found == source for row in chosen]
            assert len(rows) == size // 4 * 4
            assert len(set(rows)) == len(rows)


def test_weights_decide_how_often_a_source_comes() -> None:
    sampler = SourceSampler([400, 400], 4, [3.0, 1.0], 7)
    drawn = [sampler.rows(k)[0] for k in range(200)]
    assert 0.65 < drawn.count(0) / 200 < 0.85
    again = SourceSampler([400, 400], 4, [3.0, 1.0], 7)
    backward = [again.rows(k)[0] for k in reversed(range(200))]
    assert drawn == backward[::-1]


def test_a_source_that_is_used_up_begins_again_in_another_order() -> None:
    sampler = SourceSampler([8, 400], 4, [9.0, 1.0], 7)
    mine = [sampler.rows(k)[1].tolist() for k in range(60) if sampler.rows(k)[0] == 0]
    passes = [sorted(mine[n] + mine[n + 1]) for n in range(0, len(mine) - 1, 2)]
    assert all(rows == list(range(8)) for rows in passes)
    assert len({tuple(rows) for rows in mine}) > 2


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
    lists = replace(make_lists(documents=60, length=20), scores=[np.arange(20, dtype=np.float32)] * 12)
    drawn = [lists.example(0, 5, np.random.default_rng(n)) for n in range(200)]
    for example in drawn:
        assert example.scores is not None
        assert example.scores[0] == 19
        assert len(set(example.scores.tolist())) == 5
    seen = {score for example in drawn if example.scores is not None for score in example.scores.tolist()}
    assert seen == set(range(20))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_way": 7}, r"phases\.distill\.n_way=7: random has rows of only 6 documents"),
        ({"batch_size": 13}, r"phases\.distill\.batch_size=13: random has only 12 rows"),
    ],
)
def test_bad_settings(student: Student, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(student, **changes)


def test_a_document_without_scoring_token_is_named(student_settings: dict[str, Any]) -> None:
    student = new_student(**(student_settings | {"skiplist": ["[CLS]", "[SEP]", "[unused1]"]}))
    lists = make_lists()
    texts = list(lists.corpus.texts)
    texts[int(lists.documents[0][0])] = ""
    corpus = replace(lists.corpus, texts=texts)
    batches = MicroBatches(
        [replace(lists, corpus=corpus)],
        student.tokenizer,
        batch_size=12,
        n_way=6,
        token_budget=64,
        seed=0,
        phase="distill",
    )
    with pytest.raises(InputError, match=corpus.ids[int(lists.documents[0][0])]):
        batches[0]


def test_sampler_starts_where_asked_but_counts_all(student: Student) -> None:
    sampler = FromMicroBatch(make(student).drawn, 3, 8)
    assert [drawn.number for drawn in sampler] == [3, 4, 5, 6, 7]
    assert len(sampler) == 8


def test_another_process_makes_the_same_batches_without_an_order_of_all_rows(
    student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(student)
    for rank in range(2):
        mine = whole.share(rank, 2)
        drawn, batch = mine.drawn(5), mine[5]
        there = pickle.loads(pickle.dumps(mine))
        assert mine.sampler._permutation.cache_info().currsize == 1
        assert there.sampler._permutation.cache_info().currsize == 0
        with monkeypatch.context() as patch:
            patch.delattr(SourceSampler, "_make_permutation")
            again = there[pickle.loads(pickle.dumps(drawn))]
        assert torch.equal(again.queries.input_ids_NL, batch.queries.input_ids_NL)
        assert torch.equal(again.rows_BK, batch.rows_BK)
        assert torch.equal(again.keys_N, batch.keys_N)


def test_bad_input_that_a_worker_meets_is_told_as_such(student_settings: dict[str, Any]) -> None:
    student = new_student(**(student_settings | {"skiplist": ["[CLS]", "[SEP]", "[unused1]"]}))
    lists = make_lists()
    corpus = replace(lists.corpus, texts=["" for _ in lists.corpus.texts])
    batches = MicroBatches(
        [replace(lists, corpus=corpus)], student.tokenizer, batch_size=4, n_way=4, token_budget=64, seed=0,
        phase="distill",
    )  # fmt: skip
    data = PhaseData(batches, start=0, total=2, num_workers=1)
    found = next(iter(data.train_dataloader()))
    with pytest.raises(InputError, match="no scoring token") as error:
        data.transfer_batch_to_device(found, torch.device("cpu"), 0)
    assert "Traceback" not in str(error.value)


def test_a_worker_sends_a_micro_batch_as_one_tensor(student: Student) -> None:
    batches = make(student)
    data = PhaseData(batches, start=0, total=2, num_workers=1)
    sent, plain = next(iter(data.train_dataloader())), batches[0]
    assert isinstance(sent, Sent)
    found = data.transfer_batch_to_device(sent, torch.device("cpu"), 0)
    assert len(found.documents) == len(plain.documents) > 1
    for mine, theirs in zip(
        (found.queries, *found.documents), (plain.queries, *plain.documents), strict=True
    ):
        assert torch.equal(mine.input_ids_NL, theirs.input_ids_NL)
        assert torch.equal(mine.score_mask_NL, theirs.score_mask_NL)
    assert torch.equal(found.rows_BK, plain.rows_BK)
    assert torch.equal(found.positives.keys, plain.positives.keys)
    assert found.lengths == plain.lengths
