"""Decoders and ModernBERT as backbones: padding and the company of other texts change nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus, Split
from colbert_lab.evaluation.protocol import student_for
from colbert_lab.model.backbone import positions
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.own import load_student, save_student
from colbert_lab.model.student import Student
from colbert_lab.teachers.bi_encoder import BiEncoder
from tests.backbones import EOS, make_tiny_decoder, make_tiny_modernbert, make_tiny_roberta
from tests.tiny import sentences
from tests.toy import new_student

MAKERS: dict[str, Callable[[Path], Path]] = {
    "llama": partial(make_tiny_decoder, model_type="llama"),
    "qwen3": partial(make_tiny_decoder, model_type="qwen3"),
    "modernbert": make_tiny_modernbert,
}


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(kind: str, student_settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return student_settings | {
        "backbone": str(MAKERS[kind](tmp_path / kind)),
        "query_marker": "[Q] ",
        "document_marker": "[D] ",
    }


@pytest.mark.parametrize(("model_type", "usable"), [("roberta", 33), ("xlm-roberta", 33), ("mpnet", 32)])
def test_robertas_family_does_not_use_its_first_positions(
    model_type: str, usable: int, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    chosen = student_settings | {
        "backbone": str(make_tiny_roberta(tmp_path, model_type)),
        "attention": "eager",
    }
    student = new_student(**chosen | {"document_length": usable})
    assert positions(student.model.backbone) == usable
    long = ["red " * 100]
    assert len(encode(student, long, "document", token_budget=99).emb_TD) == usable
    with pytest.raises(
        InputError, match=rf"document_length={usable + 1} is beyond the {usable} positions of"
    ):
        new_student(**chosen | {"document_length": usable + 1})
    split = Split("s", "t", Corpus(["d"], long, "f"), {"q": "red"}, {}, "f", protocol={"document_length": 34})
    with pytest.raises(InputError, match=rf"beyond the {usable} positions of the student's"):
        student_for(student, split, "t")
    if model_type == "mpnet":
        return  # has no sdpa, with which bi-encoders are loaded
    teacher = BiEncoder(str(tmp_path), max_length=usable + 1, accelerator="cpu")
    with pytest.raises(InputError, match=rf"max_length={usable + 1} is beyond the {usable} positions of"):
        teacher.score_pairs(["red"], ["red"])


@pytest.mark.parametrize("attention", ["eager", "sdpa", "matmul"])
def test_neither_padding_nor_company_changes_an_embedding(attention: str, settings: dict[str, Any]) -> None:
    student = new_student(**settings | {"attention": attention})
    texts = sentences(12, low=1, high=20)
    together = encode(student, texts, "document", token_budget=10_000)
    alone = [encode(student, [text], "document", token_budget=1).emb_TD for text in texts]
    torch.testing.assert_close(torch.cat(alone), together.emb_TD, atol=1e-5, rtol=0)
    reverse = encode(student, texts[::-1], "document", token_budget=60)
    parts = reverse.emb_TD.split(reverse.lengths_N.tolist())[::-1]
    torch.testing.assert_close(torch.cat(parts), together.emb_TD, atol=1e-5, rtol=0)


def test_a_saved_student_scores_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    student = new_student(**settings)
    save_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    for role in ("query", "document"):
        ours, theirs = (encode(s, sentences(6), role, token_budget=64).emb_TD for s in (student, again))
        assert torch.equal(ours, theirs)


def scores(student: Student, padding: int) -> torch.Tensor:
    """Sums of the unit vectors of queries and documents, dotted, with extra padding."""
    summed: list[torch.Tensor] = []
    for role in ("query", "document"):
        rows = student.tokenizer.ids(sentences(4, low=2, high=6), role)
        longest = max(map(len, rows)) + padding
        tokens = student.tokenizer.pad([*rows, [rows[0][0]] * longest], role)
        embeddings = student.model(tokens)
        summed.append((embeddings.emb_NLD * embeddings.mask_NL.unsqueeze(-1)).sum(dim=1)[:-1])
    queries, documents = summed
    return torch.matmul(queries, documents.T)


def test_a_training_step_lowers_the_loss_and_padding_changes_no_gradient(settings: dict[str, Any]) -> None:
    gradients, losses = [], []
    for padding in (0, 5):
        torch.manual_seed(3)
        student = new_student(**settings | {"dropout": 0.0, "skiplist": "none"})
        student.model.train()
        loss = torch.nn.functional.cross_entropy(scores(student, padding), torch.arange(4))
        loss.backward()
        gradients.append([p.grad for p in student.model.parameters()])
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    for short, long in zip(*gradients, strict=True):
        assert short is not None
        torch.testing.assert_close(short, long, atol=1e-3, rtol=1e-3)
    optimizer = torch.optim.SGD(student.model.parameters(), lr=1e-4)
    optimizer.step()
    after = torch.nn.functional.cross_entropy(scores(student, 0), torch.arange(4)).item()
    assert after < losses[0]


@pytest.mark.parametrize("kind", ["llama", "qwen3"], indirect=True)
def test_a_decoder_is_padded_with_eos(settings: dict[str, Any]) -> None:
    student = new_student(**settings)
    tokenizer = student.tokenizer.tokenizer
    assert (tokenizer.mask_token, tokenizer.cls_token, tokenizer.pad_token) == (None, None, EOS)
    tokens = student.tokenizer(["red fish swims in the river", "red"], "document")
    padding = tokens.attention_mask_NL[1] == 0
    assert padding.any()
    assert set(tokens.input_ids_NL[1][padding].tolist()) == {tokenizer.eos_token_id}
    assert not tokens.score_mask_NL[1][padding].any()
    marker = tokenizer.convert_tokens_to_ids("[D] ")
    assert tokens.input_ids_NL[:, 0].tolist() == [marker, marker]
