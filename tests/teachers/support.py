"""Scorers whose scores a test decides, and tiny rerankers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from colbert_lab.base.types import Corpus
from colbert_lab.text.collections.collection import build_corpus
from tests.tiny import make_tiny_bert


def make_corpus(n: int) -> Corpus:
    """Documents ``d0``, ``d1``, ..."""
    return build_corpus([f"d{row}" for row in range(n)], [f"text {row}" for row in range(n)])


@dataclass(frozen=True)
class Given:
    """Scores that are given: one row a query text, in the order of the corpus."""

    name: str
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    system: ClassVar[str] = "teacher"

    def index(self, corpus: Corpus) -> Given:
        return self

    def scores(self, queries: Sequence[str]) -> Tensor:
        table = dict(self.rows)
        return torch.tensor([table[query] for query in queries])


@dataclass(frozen=True)
class Hashed:
    """Scores that are a hash of name, query and document, so all different and the same in every process."""

    name: str
    system: ClassVar[str] = "teacher"

    def index(self, corpus: Corpus) -> HashedIndex:
        return HashedIndex(self.name, tuple(corpus.texts))


@dataclass(frozen=True)
class HashedIndex:
    name: str
    texts: tuple[str, ...]

    def scores(self, queries: Sequence[str]) -> Tensor:
        return torch.tensor(
            [[_share(f"{self.name}|{query}|{text}") for text in self.texts] for query in queries]
        )


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:3], "big") / 2**24


def make_reranker(folder: Path, labels: int = 1, seed: int = 0, pairs: bool = True) -> Path:
    """A random BERT reranker over the tiny vocabulary, its weights large enough to tell documents apart."""
    from tokenizers import processors
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    make_tiny_bert(folder)
    if pairs:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig.from_pretrained(folder, num_labels=labels, initializer_range=0.3)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder
