"""Tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings
from colbert_lab.explain import matches as said
from colbert_lab.explain.matches import explain
from colbert_lab.model.maxsim import maxsim
from colbert_lab.model.student import Student
from tests.explain.support import KINDS, student_of

QUERY, DOCUMENT = "what swims, şəhər 😀?", "a red fish swims in the river. İstanbul 😀, (fish)"
RULES: list[dict[str, Any]] = [
    {},
    {"expansion": "attended"},
    {"expansion": "unattended", "expansion_min": 8},
    {"expansion": "unattended", "query_marker": "[Q]", "document_marker": "[D]"},
    {"query_prompt": "search_query: ", "document_prompt": "d: ", "extend_length": True, "skiplist": "none"},
    {"document_length": 8},
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_maxima_add_up_to_maxsim(kind: str, rules: dict[str, Any], tmp_path: Path) -> None:
    student = student_of(kind, tmp_path, **rules)
    found = explain(student, QUERY, DOCUMENT)
    with torch.inference_mode():
        student.model.eval()
        query = student.model(student.tokenizer([QUERY], "query"))
        document = student.model(student.tokenizer([DOCUMENT], "document"))
    exact = maxsim(*(Embeddings(e.emb_NLD.double(), e.mask_NL) for e in (query, document)))
    assert sum(match.best for match in found.matches) == pytest.approx(float(exact), abs=1e-6)
    assert found.score == pytest.approx(float(exact), abs=1e-6)
    assert float(maxsim(query, document)) == pytest.approx(found.score, rel=1e-6)
    assert sum(found.weights().values()) == pytest.approx(found.score, abs=1e-6)
    assert sum(match.share or 0 for match in found.matches) == pytest.approx(1)
    assert [match.token for match in found.matches] == found.query.scoring


def test_matches_are_in_order_and_leave_skipped_tokens_out(tmp_path: Path) -> None:
    found = explain(student_of("wordpiece", tmp_path), QUERY, DOCUMENT)
    skipped = {n for n, token in enumerate(found.document.tokens) if not token.scores}
    assert len(skipped) == 4
    for match in found.matches:
        assert sorted(match.documents) == found.document.scoring
        assert not skipped & set(match.documents)
        assert list(match.similarities) == sorted(match.similarities, reverse=True)
        for n, similarity in zip(match.documents, match.similarities, strict=True):
            assert similarity == found.similarity_QL[match.token, n]
    chosen = found.chosen_by()
    assert sum(map(len, chosen.values())) == len(found.matches)
    for n, matches in chosen.items():
        assert all(match.documents[0] == n for match in matches)
        assert found.weights()[n] == sum(match.best for match in matches)


def test_dropout_is_off_and_the_mode_comes_back(tmp_path: Path) -> None:
    student = student_of("wordpiece", tmp_path)
    student.model.train()
    assert explain(student, QUERY, DOCUMENT).score == explain(student, QUERY, DOCUMENT).score
    assert student.model.training


class Opposite(torch.nn.Module):
    """Negative similarities: documents point away from queries."""

    pooling = None

    def __init__(self) -> None:
        super().__init__()
        self.sign = torch.nn.Parameter(torch.ones(()))
        self.calls = 0

    def forward(self, tokens: Any) -> Embeddings:
        self.calls += 1
        ones = torch.ones(*tokens.input_ids_NL.shape, 1) / (1 if self.calls % 2 else -1)
        return Embeddings(ones, tokens.score_mask_NL)


def test_a_score_that_is_not_positive_has_no_shares(tmp_path: Path) -> None:
    student = student_of("wordpiece", tmp_path)
    found = explain(Student(Opposite(), student.tokenizer), "red fish", "red, river")  # type: ignore[arg-type]
    assert found.score == -4
    assert {match.share for match in found.matches} == {None}
    assert found.matches[0].documents == tuple(found.document.scoring)  # equal ones: the first one first


def test_bad_input(tmp_path: Path) -> None:
    student = student_of("wordpiece", tmp_path)
    with pytest.raises(InputError, match=r"^document='\\x00': the text is empty, or nothing of it is left"):
        explain(student, "red", "\0")
    bare = student_of("wordpiece", tmp_path, skiplist=["[CLS]", "[SEP]", "red"])
    with pytest.raises(InputError, match=r"^document: none of its tokens scores \(student\.skiplist"):
        explain(bare, "red", "red")
    dense = Student(
        type(student.model)(student.model.backbone, student.model.head, "mean"), student.tokenizer
    )
    with pytest.raises(InputError, match=r"^student\.output=single: a dense student has one vector a text"):
        explain(dense, "red", "red")


def test_the_document_length_is_kept(tmp_path: Path) -> None:
    student = student_of("wordpiece", tmp_path, document_length=5)
    found = explain(student, "red", "red fish swims in the river")
    assert found.similarity_QL.shape == (3, 5)
    assert replace(found.document).cut == 3


def test_only_signs_that_are_there_are_explained(tmp_path: Path) -> None:
    plain = explain(student_of("wordpiece", tmp_path), "red", "fish")
    assert said.signs(plain) == ""
    assert said.signs(explain(student_of("wordpiece", tmp_path), "red", "fish fish")).startswith("#2: ")
    signs = said.signs(explain(student_of("byte_bpe", tmp_path), "red red", "fish 😀"))
    assert [part.strip()[:2] for part in signs.split(";")] == ["… ", "(1", "#2"]


def test_counts_say_what_tokens_are_there_for(tmp_path: Path) -> None:
    rules = {"document_length": 8, "document_marker": "[D]", "document_prompt": "red: "}
    found = explain(student_of("wordpiece", tmp_path, **rules), "red 😀", "fish, the fish")
    assert said.counts(found.query) == (
        "query: 4 tokens of at most 16: 1 of the text, 1 of the text but unknown to the vocabulary, 2 special"
    )
    assert said.counts(found.document) == (
        "document: 8 tokens of at most 8: 3 of the text, 2 of the prompt, 1 marker, 2 special; "
        "2 tokens skipped (not scoring); 1 token of the document is cut"
    )
    assert said.headline(found).startswith(f"score {found.score:.4f}: the sum over 4 tokens of the query")


def test_control_characters_are_seen_and_not_obeyed() -> None:
    assert said.visible("a\x1b[31m\x00\n\t\x7f\x9b ş") == "a␛[31m␀\n\t␡\ufffd ş"


def test_the_mean_of_the_maxima_is_the_score_of_a_student_that_has_it(tmp_path: Path) -> None:
    student = student_of("wordpiece", tmp_path)
    sums = explain(student, QUERY, DOCUMENT)
    mean = replace(student, tokenizer=student.tokenizer.with_rules(score="mean_maxsim"))
    means = explain(mean, QUERY, DOCUMENT)
    n = len(means.matches)
    assert means.score == pytest.approx(sums.score / n, abs=1e-12)
    assert [match.share for match in means.matches] == pytest.approx([match.share for match in sums.matches])
    assert said.headline(means).startswith(
        f"score {sums.score / n:.4f}: the mean over {n} tokens of the query of"
    )
    assert said.headline(sums).startswith(f"score {sums.score:.4f}: the sum over {n} tokens of the query of")
