"""BGE-M3's layout: what a student has of it, and what is said of damaged files. Its numbers: tests/parity."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import AutoModel, AutoTokenizer

import colbert_lab
from colbert_lab.base.errors import InputError
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import format_of, load_checkpoint, save_checkpoint
from tests.model.formats.test_known import Evil
from tests.parity.formats_backbones import HIDDEN, POSITIONS, save_backbone
from tests.parity.formats_flag_embedding import write_heads

TEXTS = ["honey keeps for years", "the old bridge, over the river!"]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return write_heads(save_backbone("xlm_roberta", tmp_path / "bge"))


def head(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(folder / "colbert_linear.pt", weights_only=True)
    return weights


@torch.no_grad()
def test_the_token_vectors_are_those_of_all_tokens_but_the_first(published: Path) -> None:
    student = load_checkpoint(str(published))
    tokenizer = AutoTokenizer.from_pretrained(published)
    backbone = AutoModel.from_pretrained(published).eval().double()
    linear = {name: weight.double() for name, weight in head(published).items()}
    for role in ("query", "document"):
        packed = encode(student, TEXTS, role, token_budget=999)
        for text, ours in zip(TEXTS, packed.emb_TD.split(packed.lengths_N.tolist()), strict=True):
            hidden = backbone(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 1:]
            theirs = F.normalize(hidden @ linear["weight"].T + linear["bias"], dim=-1)
            torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=0)


def test_the_score_is_a_mean_and_the_rest_is_said(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert format_of(published) == "bge_m3"
    with caplog.at_level(logging.INFO):
        model = colbert_lab.load(published, device="cpu", precision="32-true")
    assert (
        "sparse_linear.pt (weights of tokens for lexical matching) and the dense vector are not used"
        in caplog.text
    )
    assert f"up to {POSITIONS} tokens, where FlagEmbedding's default is 512" in caplog.text
    query, *documents = (
        each.emb_TD.split(each.lengths_N.tolist())[0]
        for each in (
            encode(model.student, [text], role, token_budget=999)  # type: ignore[arg-type]
            for text, role in (("honey", "query"), *((text, "document") for text in TEXTS))
        )
    )
    for hit in model.rerank("honey", TEXTS):
        mean = (query @ documents[int(hit.document_id)].T).amax(dim=1).mean()
        assert hit.score == pytest.approx(float(mean), abs=1e-5)


@pytest.mark.parametrize("target", ["pylate", "sentence_transformers", "stanford", "colbert_az"])
def test_no_other_library_leaves_the_first_token_out(published: Path, tmp_path: Path, target: str) -> None:
    student = load_checkpoint(str(published))
    with pytest.raises(InputError, match=f"to={target}: the layout scores the first token .*: colbert_lab$"):
        save_checkpoint(student, target, tmp_path)
    with pytest.raises(InputError, match="to=bge_m3: must be one of colbert_lab"):
        save_checkpoint(student, "bge_m3", tmp_path)


def test_a_head_without_bias_or_with_more_is_refused(published: Path) -> None:
    whole = head(published)
    for weights, message in (
        ({"weight": whole["weight"]}, r"colbert_linear\.pt: bias missing"),
        ({**whole, "scale": whole["bias"]}, r"colbert_linear\.pt: scale left over"),
        ({**whole, "bias": torch.zeros(3)}, r"0\.linear\.bias \[3\] instead of \[16\]"),
        (
            {**whole, "weight": torch.zeros(8, HIDDEN + 1), "bias": torch.zeros(8)},
            "its head takes 17 dimensions",
        ),
        ({**whole, "weight": torch.zeros(8)}, "its files are damaged"),
        ({**whole, "bias": torch.full((HIDDEN,), float("nan"))}, "weights with NaN"),
    ):
        torch.save(weights, published / "colbert_linear.pt")
        with pytest.raises(InputError, match=message) as caught:
            load_checkpoint(str(published))
        assert str(published) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_code_in_its_files_is_not_run(published: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    torch.save({"weight": Evil(proof)}, published / "colbert_linear.pt")
    with pytest.raises(InputError, match=r"colbert_linear\.pt holds more than tensors, .* it is not read"):
        load_checkpoint(str(published))
    assert not proof.exists()
    (published / "colbert_linear.pt").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"
    )
    with pytest.raises(InputError, match=r"colbert_linear\.pt is a Git LFS pointer"):
        load_checkpoint(str(published))
