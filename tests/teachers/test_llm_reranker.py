"""The language model as teacher: the answer's logit of each pair alone, whatever the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, GPT2Config, LlamaConfig

from colbert_lab.base.errors import InputError
from colbert_lab.teachers.llm_reranker import LLMReranker
from tests.tiny import make_tiny_bert, sentences

QUERIES = [text for text in sentences(4, seed=1, low=3, high=8) for _ in range(5)]
DOCUMENTS = sentences(20, seed=2, low=2, high=30)


def make_language_model(folder: Path, kind: str = "llama") -> Path:
    """A random causal model over the tiny vocabulary; [CLS] begins its texts."""
    make_tiny_bert(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.bos_token = "[CLS]"
    tokenizer.save_pretrained(folder)
    shape: dict[str, Any] = {"vocab_size": len(tokenizer), "initializer_range": 0.3}
    torch.manual_seed(0)
    config: Any
    if kind == "llama":
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
        config = LlamaConfig(**shape, **sizes, **heads)
    elif kind == "gpt2":  # learned absolute positions
        config = GPT2Config(**shape, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    else:
        config = BertConfig.from_pretrained(folder)
        return folder
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def language_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_language_model(tmp_path_factory.mktemp(request.param), request.param)


def scorer(folder: Path, **changes: Any) -> LLMReranker:
    settings: dict[str, Any] = {
        "prompt": "is the fish red?",
        "answer": "fish",
        "query_prefix": "what ",
        "document_prefix": "the ",
        "separator": ".",
        "max_length": 24,
        "accelerator": "cpu",
        "token_budget": 150,
    }
    return LLMReranker(str(folder), **(settings | changes))


def test_scores_are_the_logits_of_single_pairs(language_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    network = AutoModelForCausalLM.from_pretrained(language_model).eval()

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    expected = []
    for query, document in zip(QUERIES, DOCUMENTS, strict=True):
        pair = [tokenizer.cls_token_id, *ids(f"what {query}."), *ids(f"the {document}")][:24]
        with torch.inference_mode():
            logits_LV = network(torch.tensor([pair + ids(".") + ids("is the fish red?")])).logits[0]
        expected.append(logits_LV[-1, tokenizer.convert_tokens_to_ids("fish")])
    whole = torch.stack(expected)
    assert whole.std() > 0.05
    for budget in (1, 150, 10_000):
        scores = scorer(language_model, token_budget=budget).score_pairs(QUERIES, DOCUMENTS)
        assert scores.dtype == torch.float32
        torch.testing.assert_close(scores, whole, atol=1e-5, rtol=1e-5)


def test_the_words_of_the_model_card_are_the_default() -> None:
    plain = LLMReranker("BAAI/bge-reranker-v2-gemma")
    assert plain.prompt.startswith("Given a query A and a passage B, determine whether the passage contains")
    assert (plain.query_prefix, plain.document_prefix, plain.separator) == ("A: ", "B: ", "\n")
    assert plain.name == "LLM reranker (bge-reranker-v2-gemma)"


def test_what_cannot_be_scored_is_refused(language_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"teacher\.max_length=6: queries .* room .*: 1 \(b\)"):
        scorer(language_model, max_length=6).check_queries(["a", "b"], ["red", "red red red"])
    with pytest.raises(InputError, match=r"teacher\.answer=Yes: is not one token"):
        scorer(language_model, answer="Yes").score_pairs(["red"], ["blue"])
    with pytest.raises(InputError, match=r"teacher\.answer=red fish: is not one token"):
        scorer(language_model, answer="red fish").score_pairs(["red"], ["blue"])
    with pytest.raises(InputError, match=r"teacher\.max_length=62 and the prompt, 68 tokens, are beyond"):
        scorer(language_model, max_length=62).score_pairs(["red"], ["blue"])
    bert = make_language_model(tmp_path / "bert", "bert")
    with pytest.raises(InputError, match=r"teacher\.model=.*weights of a reranker are not in it"):
        scorer(bert).score_pairs(["red"], ["blue"])


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bf16_scores_are_close(precision: str, language_model: Path) -> None:
    queries, documents = ["red", "red fish", "blue"], ["blue fish", "red", "red red"]
    full, half = (
        scorer(language_model, precision=each).score_pairs(queries, documents)
        for each in ("32-true", precision)
    )
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, atol=0.05, rtol=0.05)
