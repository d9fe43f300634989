"""Token lengths and what is cut."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from colbert_lab.audit.lengths import count_split, count_training, lengths_of, pooled
from colbert_lab.audit.training_text import training_text
from colbert_lab.base.types import Role
from colbert_lab.model.tokenizer import StudentTokenizer
from tests.audit.support import lists, split, triples
from tests.tiny import sentences
from tests.toy import new_student

PROMPTS = {"query_prompt": "search_query ", "document_prompt": "search_document the "}


@pytest.fixture(params=[{}, PROMPTS, {**PROMPTS, "extend_length": True}])
def tokenizer(request: pytest.FixtureRequest, student_settings: dict[str, Any]) -> StudentTokenizer:
    return new_student(**student_settings | request.param).tokenizer


def whole(tokenizer: StudentTokenizer, texts: list[str]) -> list[list[int]]:
    return [tokenizer.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def naive(tokenizer: StudentTokenizer, texts: list[str], role: Role) -> tuple[float, float]:
    """Share of texts cut and of their tokens lost, from the ids that the student reads."""
    ids = whole(tokenizer, texts)
    prompt = tokenizer.prompt_tokens(role)
    kept = [len(row) - 3 - prompt for row in tokenizer.ids(texts, role)]  # [CLS], the marker, [SEP]
    lost = [len(row) - left for row, left in zip(ids, kept, strict=True)]
    assert min(lost) >= 0
    return float(np.mean([n > 0 for n in lost])), sum(lost) / sum(map(len, ids))


def test_shares_equal_a_naive_count(tokenizer: StudentTokenizer) -> None:
    texts = {
        "query": sentences(60, seed=1, low=2, high=20),
        "document": sentences(180, seed=2, low=5, high=60),
    }
    rows = [
        (q, texts["document"][3 * n], texts["document"][3 * n + 1 : 3 * n + 3])
        for n, q in enumerate(texts["query"])
    ]
    counts = count_training(training_text(triples(rows)), tokenizer, None, 0)
    for found in lengths_of("made", counts, tokenizer):
        cut, lost = naive(tokenizer, texts[found.role], found.role)
        assert 0 < cut < 1
        assert [found.cut, found.lost] == pytest.approx([cut, lost])
        sizes = [len(ids) for ids in whole(tokenizer, texts[found.role])]
        assert (found.texts, found.longest) == (len(sizes), max(sizes))
        assert [found.mean, found.median] == pytest.approx([np.mean(sizes), np.median(sizes)])
        assert sum(found.counts) == len(sizes)
        assert found.length == tokenizer.length(found.role)
        free = tokenizer.rules.query_length if found.role == "query" else tokenizer.rules.document_length
        assert found.cut_without_prompt == pytest.approx(np.mean([size > free - 3 for size in sizes]))


def test_documents_of_lists_count_as_often_as_they_occur(tokenizer: StudentTokenizer) -> None:
    source = lists(["red", "blue sky"], ["a", "a a", "a a a"], [[0, 1], [2, 1]], [[1, 2], [3, 4]])
    counts = count_training(training_text(source), tokenizer, None, 0)
    assert (counts["query"].tolist(), sorted(counts["document"].tolist())) == ([1, 2], [1, 2, 2, 3])


def test_a_draw_takes_so_many_rows_and_documents_of_them(tokenizer: StudentTokenizer) -> None:
    rows = [(" ".join(["red"] * (n + 1)), "a", ["a a"]) for n in range(30)]
    one = count_training(training_text(triples(rows)), tokenizer, 10, 7)
    assert [len(one[role]) for role in get_args(Role)] == [10, 10]
    again = count_training(training_text(triples(rows)), tokenizer, 10, 7)
    other = count_training(training_text(triples(rows)), tokenizer, 10, 8)
    sizes = [
        (f"red {n}", f"{'a ' * (2 * n + 1)}", [f"{'a ' * (2 * n + 2)}"]) for n in range(30)
    ]  # 1 to 60 tokens
    drawn = count_training(training_text(triples(sizes)), tokenizer, 29, 7)["document"].tolist()
    assert len(set(drawn)) == 29  # no document twice, and not the same place of every row
    assert {n % 2 for n in drawn} == {0, 1}
    assert one["query"].tolist() == again["query"].tolist() != other["query"].tolist()
    assert len(pooled([one, other])["query"]) == 20


def test_texts_of_a_split(tokenizer: StudentTokenizer) -> None:
    held = split({"a": "red fish", "b": "bird"}, {"q": "the old tree"}, {"q": "a"})
    counts = count_split(held, tokenizer, None, 0)
    assert (counts["query"].tolist(), counts["document"].tolist()) == ([3], [2, 1])
    assert len(count_split(held, tokenizer, 1, 0)["document"]) == 1
