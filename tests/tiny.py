"""A tiny BERT made on the spot and small text of its words. Needs no pytest: scripts in other environments use it."""

from __future__ import annotations

import json
from pathlib import Path

import torch

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
