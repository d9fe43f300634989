"""ColBERT-AZ's layout against the usage code of its model card, written anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import AutoModel, AutoTokenizer

import colbert_lab
from colbert_lab.base.errors import InputError
from colbert_lab.model.formats import colbert_az
from tests.backbones import make_tiny_modernbert
from tests.tiny import make_tiny_bert

QUERIES = [
    "what swims in the river",
    "red fish",
    "Azərbaycan mədəniyyətinin tarixi",
    " ".join(["stone"] * 50),
]
DOCUMENTS = [
    "a red fish swims in the river .",
    "the stone holds , and the tree grows",
    " ".join(["bird"] * 300),
]


def make_published(folder: Path, modernbert: bool) -> Path:
    """The layout as published: a backbone with both markers in its vocabulary, and projection.pt."""
    (make_tiny_modernbert if modernbert else make_tiny_bert)(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[Q]", "[D]"]})
    model = AutoModel.from_pretrained(folder)
    model.config.max_position_embeddings = 512
    torch.manual_seed(5)
    model = AutoModel.from_config(model.config)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.save(torch.nn.Linear(32, 16, bias=False).state_dict(), folder / "projection.pt")
    return folder


@torch.no_grad()
def score_of_the_card(folder: Path, query: str, document: str) -> float:
    """MaxSim as the card computes it: expansion tokens are attended to, and padding never happens for one document."""
    tokenizer, backbone = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    weight = torch.load(folder / "projection.pt", weights_only=True)["weight"]
    q = tokenizer(f"[Q] {query}", padding="max_length", truncation=True, max_length=32, return_tensors="pt")
    ids = torch.where(q["input_ids"] == tokenizer.pad_token_id, tokenizer.mask_token_id, q["input_ids"])
    d = tokenizer(f"[D] {document}", padding=True, truncation=True, max_length=256, return_tensors="pt")
    q_emb, d_emb = (
        F.normalize(backbone(input_ids=i, attention_mask=a).last_hidden_state[0] @ weight.T, dim=-1)
        for i, a in ((ids, torch.ones_like(ids)), (d["input_ids"], d["attention_mask"]))
    )
    return float((q_emb @ d_emb.T).amax(dim=1).sum())


@pytest.mark.parametrize("modernbert", [False, True])
def test_the_cards_own_code_gives_the_same_score(tmp_path: Path, modernbert: bool) -> None:
    folder = make_published(tmp_path / "az", modernbert)
    model = colbert_lab.load(folder, device="cpu", precision="32-true")
    for query in QUERIES:
        ranked = {hit.document_id: hit.score for hit in model.rerank(query, DOCUMENTS)}
        for number, document in enumerate(DOCUMENTS):
            assert ranked[str(number)] == pytest.approx(score_of_the_card(folder, query, document), abs=1e-4)


def test_it_is_saved_as_it_was(tmp_path: Path) -> None:
    folder = make_published(tmp_path / "az", modernbert=True)
    student = colbert_lab.load(folder, device="cpu").student
    (tmp_path / "again").mkdir()
    colbert_az.save(student, tmp_path / "again")
    for query in QUERIES:
        first = score_of_the_card(folder, query, DOCUMENTS[0])
        assert score_of_the_card(tmp_path / "again", query, DOCUMENTS[0]) == pytest.approx(first, abs=1e-5)


def test_a_head_with_more_than_its_matrix_is_refused(tmp_path: Path) -> None:
    folder = make_published(tmp_path / "az", modernbert=False)
    torch.save(torch.nn.Linear(32, 16, bias=True).state_dict(), folder / "projection.pt")
    with pytest.raises(InputError, match=r"bias left over in projection.pt"):
        colbert_lab.load(folder)


def test_markers_that_were_never_trained_are_refused(tmp_path: Path) -> None:
    """The card's code would draw random vectors for them, other ones at every start."""
    folder = make_tiny_bert(tmp_path / "az")
    torch.save(torch.nn.Linear(32, 16, bias=False).state_dict(), folder / "projection.pt")
    with pytest.raises(InputError, match="never trained would be random"):
        colbert_lab.load(folder)


def test_other_rules_have_no_place(tmp_path: Path) -> None:
    student = colbert_lab.load(make_published(tmp_path / "az", modernbert=False), device="cpu").student
    shorter = type(student)(student.model, student.tokenizer.with_rules(document_length=180))
    (tmp_path / "again").mkdir()
    with pytest.raises(InputError, match="no place for document_length=180; it is read with 256"):
        colbert_az.save(shorter, tmp_path / "again")
