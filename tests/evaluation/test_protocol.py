"""What a split asks for: lengths, prompts, exclusions and candidate lists, in the rankings and in the record."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Role, Split
from colbert_lab.evaluation.evaluator import Result
from colbert_lab.model.encode import encode_by_length
from colbert_lab.model.student import Student
from colbert_lab.records.identity import protocol_hash
from colbert_lab.search import corpus
from colbert_lab.teachers.bm25 import BM25
from colbert_lab.teachers.scorer import rank_split
from colbert_lab.text.collections.collection import build_split
from tests.evaluation.test_evaluator import DEPTH, make_evaluator, make_split
from tests.toy import new_student


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    torch.manual_seed(0)
    return new_student(**student_settings)


def changed(split: Split, **changes: Any) -> Split:
    return build_split(
        split.dataset, split.name, split.corpus, split.queries, split.qrels, split.details, **changes
    )


def measured(student: Student, split: Split) -> Result:
    return next(make_evaluator({"mine": split}).evaluate_student(student, "test", progress=False))


def test_a_split_that_asks_for_nothing_keeps_its_protocol_hash(student: Student) -> None:
    """The hash was taken before splits could ask for anything."""
    result = measured(student, make_split("dev", 3))
    assert protocol_hash(result.protocol) == "62904fcd50"


def test_excluded_documents_are_in_no_ranking_and_others_move_up(student: Student) -> None:
    plain = make_split("dev", 4)
    before = measured(student, plain)
    gone = {
        query: [name for name in ids[:6] if plain.qrels[query].get(name, 0) == 0][:2]
        for query, ids in zip(before.ranking.query_ids, before.ranking.document_ids, strict=True)
    }
    gone.popitem()
    split = changed(plain, excluded=gone)
    whole = next(make_evaluator({"mine": plain}, depth=25).evaluate_student(student, "all", progress=False))
    for result, reference in (
        (measured(student, split), whole.ranking),
        (
            make_evaluator({"mine": split}).evaluate_ranking(
                "mine", rank_split(BM25(), split, DEPTH), {}, 0.0
            ),
            rank_split(BM25(), plain, 25),
        ),
    ):
        for row, query in enumerate(result.ranking.query_ids):
            expected = [name for name in reference.document_ids[row] if name not in gone.get(query, ())]
            assert list(result.ranking.document_ids[row]) == expected[:DEPTH]
        assert result.protocol["excluded"]["documents"] == sum(map(len, gone.values()))
    other = changed(plain, excluded={query: names[:1] for query, names in gone.items()})
    hashes = {protocol_hash(measured(student, each).protocol) for each in (plain, split, other)}
    assert len(hashes) == 3


def test_lengths_and_prompts_of_a_split_replace_the_students(
    student: Student, caplog: pytest.LogCaptureFixture
) -> None:
    wishes = {"query_length": 6, "document_length": 9, "query_prompt": "what ", "document_prompt": "the "}
    split = changed(make_split("dev", 4), protocol=wishes)
    with caplog.at_level(logging.INFO):
        result = measured(student, split)
    same = replace(student, tokenizer=student.tokenizer.with_rules(**wishes))
    assert result.ranking == measured(same, make_split("dev", 4)).ranking
    assert result.ranking != measured(student, make_split("dev", 4)).ranking
    assert {name: result.protocol[name] for name in wishes} == wishes
    assert result.protocol["split_protocol"] == wishes
    assert "mine: query prompt 'what ' in place of the student's ''" in caplog.text
    assert "mine: document prompt 'the '" in caplog.text
    assert student.tokenizer.rules.query_prompt == ""


def test_an_empty_prompt_takes_the_students_away(student: Student) -> None:
    prompted = replace(student, tokenizer=student.tokenizer.with_rules(query_prompt="search_query "))
    split = changed(make_split("dev", 4), protocol={"query_prompt": ""})
    assert measured(prompted, split).ranking == measured(student, make_split("dev", 4)).ranking


def test_one_corpus_is_encoded_for_each_document_side_and_dropped(
    student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []

    def counted(student: Student, texts: Any, role: Role, **keywords: Any) -> Any:
        encoded.extend([role] if role == "document" else [])
        return subject_encode(student, texts, role, **keywords)

    subject_encode = encode_by_length
    monkeypatch.setattr(corpus, "encode_by_length", counted)
    plain = make_split("dev", 2)
    long = changed(plain, protocol={"document_length": 9})
    asking = changed(plain, protocol={"query_length": 6})
    evaluator = make_evaluator({"a": plain, "b": long, "c": asking, "d": plain})
    assert len(list(evaluator.evaluate_student(student, "test", progress=False))) == 4
    assert len(encoded) == 2


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (
            {"document_length": 2048},
            r"^evaluation\.splits\.mine\.protocol\.document_length: 2048 tokens are beyond the 64 positions",
        ),
        ({"query_length": 2}, r"^evaluation\.splits\.mine\.protocol: student\.query_length=2 leaves no room"),
    ],
)
def test_what_the_student_cannot_do_is_named(student: Student, wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        measured(student, changed(make_split("dev", 2), protocol=wishes))


def test_candidates_alone_are_ranked(student: Student) -> None:
    plain = make_split("dev", 4)
    lists = {query: {*plain.qrels[query], "d24"} for query in plain.queries}
    result = measured(student, changed(plain, candidates=lists))
    whole = next(make_evaluator({"mine": plain}, depth=25).evaluate_student(student, "all", progress=False))
    for row, query in enumerate(result.ranking.query_ids):
        expected = [name for name in whole.ranking.document_ids[row] if name in lists[query]]
        assert list(result.ranking.document_ids[row]) == expected
    assert result.protocol["candidates"]["documents"] == sum(map(len, lists.values()))
