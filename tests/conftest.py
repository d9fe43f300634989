"""Shared fixtures: a tiny BERT made on the spot, small text, no network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from tests.chaos.figures import pytest_addoption, pytest_terminal_summary  # noqa: F401 - hooks

# Two test processes with two threads each would wait for one another on two cores.
THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
torch.set_num_threads(int(os.environ.get("COLBERT_LAB_TEST_THREADS", THREADS)))

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
WORDS = [
    "a",
    "an",
    "the",
    "of",
    "to",
    "in",
    "is",
    "are",
    "red",
    "green",
    "blue",
    "stone",
    "river",
    "fish",
    "bird",
    "sky",
    "tree",
    "leaf",
    "wing",
    "fin",
    "water",
    "fire",
    "light",
    "dark",
    "small",
    "large",
    "old",
    "new",
    "fast",
    "slow",
    "warm",
    "cold",
    "what",
    "where",
    "how",
    "which",
    "finds",
    "holds",
    "swims",
    "flies",
    "grows",
    "falls",
    "search_query",
    "search_document",
]


def make_tiny_bert(folder: Path, hidden: int = 32, layers: int = 2) -> Path:
    """A random BERT with a word-level vocabulary, in Hugging Face's own layout."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
    vocabulary = {word: n for n, word in enumerate([*special, *WORDS, *".,;:!?()-'"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny BERT."""
    return make_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


STUDENT: dict[str, Any] = {
    "dim": 16,
    "bias": False,
    "dropout": None,
    "attention": "sdpa",
    "query_length": 12,
    "document_length": 24,
    "query_marker": "[unused0]",
    "document_marker": "[unused1]",
    "expansion": "none",
    "skiplist": "punctuation",
    "query_prompt": "",
    "document_prompt": "",
    "extend_length": False,
}


@pytest.fixture
def student_settings(tiny_bert: Path) -> dict[str, Any]:
    """Keyword arguments of ``tests.toy.new_student`` for the tiny BERT."""
    return {"backbone": str(tiny_bert), **STUDENT}


def sentences(n: int, seed: int = 0, low: int = 3, high: int = 18) -> list[str]:
    """Random sentences of known words."""
    generator = torch.Generator().manual_seed(seed)

    def draw(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=generator))

    return [" ".join(WORDS[draw(len(WORDS))] for _ in range(low + draw(high - low))) for _ in range(n)]


def write_beir(
    folder: Path,
    documents: dict[str, str],
    queries: dict[str, str],
    qrels: dict[str, list[tuple[str, str, int]]],
) -> Path:
    """A BEIR-layout folder."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in documents.items()]
    (folder / "corpus.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    rows = [json.dumps({"_id": key, "text": text}) for key, text in queries.items()]
    (folder / "queries.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for split, judged in qrels.items():
        lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t{grade}" for q, d, grade in judged)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
