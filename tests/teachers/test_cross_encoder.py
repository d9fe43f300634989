"""The cross-encoder: batched scores are those of single pairs, and a model that is none is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from colbert_lab.base.errors import InputError
from colbert_lab.teachers.cross_encoder import CrossEncoder
from colbert_lab.text.collections.collection import build_corpus
from tests.teachers.support import make_reranker
from tests.tiny import sentences

QUERIES = [text for text in sentences(5, seed=1, low=3, high=9) for _ in range(6)]
DOCUMENTS = sentences(30, seed=2, low=2, high=60)


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reranker(tmp_path_factory.mktemp("reranker"))


@pytest.fixture(scope="module")
def three_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reranker(tmp_path_factory.mktemp("three"), labels=3)


def scorer(folder: Path, **changes: Any) -> CrossEncoder:
    settings: dict[str, Any] = {"max_length": 40, "accelerator": "cpu", "token_budget": 200}
    return CrossEncoder(str(folder), **(settings | changes))


def logits_one_by_one(folder: Path, max_length: int = 40) -> Tensor:
    """Every pair alone through transformers' own classes: no padding, no batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = []
    with torch.inference_mode():
        for query, document in zip(QUERIES, DOCUMENTS, strict=True):
            pair = tokenizer(
                query, document, truncation="only_second", max_length=max_length, return_tensors="pt"
            )
            rows.append(network(**pair).logits[0])
    return torch.stack(rows)


def test_scores_are_the_logits_of_single_pairs(reranker: Path) -> None:
    expected = logits_one_by_one(reranker)[:, 0]
    assert expected.std() > 0.05, "a reranker that tells no documents apart tests nothing"
    for budget in (1, 200, 10_000):
        scores = scorer(reranker, token_budget=budget).score_pairs(QUERIES, DOCUMENTS)
        assert scores.dtype == torch.float32
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


def test_the_length_cuts_the_document_alone(reranker: Path) -> None:
    cut = scorer(reranker, max_length=10).score_pairs(QUERIES, DOCUMENTS)
    torch.testing.assert_close(cut, logits_one_by_one(reranker, 10)[:, 0], atol=1e-5, rtol=0)
    assert not torch.allclose(cut, scorer(reranker).score_pairs(QUERIES, DOCUMENTS), atol=1e-3)


def test_several_labels_give_the_log_odds_of_the_chosen_one(three_labels: Path) -> None:
    logits_NC = logits_one_by_one(three_labels)
    odds = logits_NC.softmax(dim=1)[:, 2].logit()
    scores = scorer(three_labels, label=2).score_pairs(QUERIES, DOCUMENTS)
    torch.testing.assert_close(scores, odds, atol=1e-5, rtol=1e-5)


def test_prompts_are_put_before_the_texts(reranker: Path) -> None:
    prompted = scorer(reranker, query_prompt="what ", document_prompt="the ")
    written = scorer(reranker).score_pairs(
        ["what " + text for text in QUERIES], ["the " + text for text in DOCUMENTS]
    )
    torch.testing.assert_close(prompted.score_pairs(QUERIES, DOCUMENTS), written)


def test_an_index_scores_every_document(reranker: Path) -> None:
    corpus = build_corpus([str(n) for n in range(7)], DOCUMENTS[:7])
    queries = [QUERIES[0], QUERIES[6], QUERIES[12]]
    scores = scorer(reranker).index(corpus).scores(queries)
    assert scores.shape == (3, 7)
    for b, query in enumerate(queries):
        alone = scorer(reranker).score_pairs([query] * 7, DOCUMENTS[:7])
        torch.testing.assert_close(scores[b], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bf16_scores_are_close(precision: str, reranker: Path) -> None:
    full = scorer(reranker).score_pairs(QUERIES, DOCUMENTS)
    half = scorer(reranker, precision=precision).score_pairs(QUERIES, DOCUMENTS)
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    assert torch.corrcoef(torch.stack([full, half]))[0, 1] > 0.98


def test_settings_are_hashable_and_say_what_they_are(reranker: Path) -> None:
    assert hash(scorer(reranker)) == hash(scorer(reranker))
    assert scorer(reranker) != scorer(reranker, max_length=41)
    assert CrossEncoder("BAAI/bge-reranker-v2-m3").name == "cross-encoder (bge-reranker-v2-m3)"


def test_long_queries_are_named_before_anything_is_scored(reranker: Path) -> None:
    teacher = scorer(reranker, max_length=12)
    long = " ".join(["red"] * 9)
    teacher.check_queries(["a"], [" ".join(["red"] * 8)])
    with pytest.raises(InputError, match=r"teacher.max_length=12: queries .* room .*: 1 \(b\)"):
        teacher.check_queries(["a", "b"], ["red", long])
    with pytest.raises(InputError, match=r"teacher.max_length=12: the query 'red red"):
        teacher.score_pairs([long], ["red"])


@pytest.mark.parametrize(
    ("labels", "changes", "part"),
    [
        (3, {}, "has 3 labels; say which one"),
        (3, {"label": 3}, "teacher.label=3: .* has 3 labels, 0 to 2"),
        (1, {"label": 1}, "teacher.label=1: .* has 1 label, 0"),
        (1, {"max_length": 65}, "teacher.max_length=65 is beyond the 64 positions"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(
    reranker: Path, three_labels: Path, labels: int, changes: dict[str, Any], part: str
) -> None:
    teacher = scorer({1: reranker, 3: three_labels}[labels], **changes)
    with pytest.raises(InputError, match=part):
        teacher.score_pairs(QUERIES, DOCUMENTS)


def test_a_folder_that_is_no_reranker_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tokenizer of pairs"):
        scorer(make_reranker(tmp_path / "single", pairs=False)).score_pairs(["red"], ["blue"])
    headless = make_reranker(tmp_path / "headless")
    for file in tiny_bert.glob("*.safetensors"):
        (headless / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match=r"weights of a reranker are not in it \(classifier"):
        scorer(headless).score_pairs(["red"], ["blue"])
    bare = make_reranker(tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"teacher.model=.*cannot be loaded as a reranker"):
        scorer(bare).score_pairs(["red"], ["blue"])
    torch.save({}, bare / "pytorch_model.bin")  # a pickle is never read
    with pytest.raises(InputError, match=r"teacher.model=.*cannot be loaded as a reranker"):
        scorer(bare, max_length=39).score_pairs(["red"], ["blue"])
    with pytest.raises(InputError, match=r"teacher.model=/nowhere: no such folder"):
        scorer(Path("/nowhere")).score_pairs(["red"], ["blue"])
