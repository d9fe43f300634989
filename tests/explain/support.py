"""Small students whose tokenizers cut text in the three common ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from colbert_lab.model.student import Student
from colbert_lab.model.tokenizer import StudentTokenizer, TokenRules
from tests.toy import new_student

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LEARNT = [
    "a red fish swims in the river and the fishes swim",
    "şəhər Xəzər dənizi",
    "İstanbul ığdır ılık",
    ". , : ( ) ? _ '",
] * 5
RULES = TokenRules(
    query_length=16,
    document_length=40,
    query_marker=None,
    document_marker=None,
    query_prompt="",
    document_prompt="",
    extend_length=False,
    expansion="none",
    skiplist="punctuation",
)
KINDS = ("wordpiece", "byte_bpe", "sentencepiece")


def tokenizer_of(kind: str, **rules: Any) -> StudentTokenizer:
    """A tokenizer that was trained on a few words, with rules."""
    inner: Any
    if kind == "wordpiece":
        inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        inner.normalizer = normalizers.BertNormalizer(lowercase=True)
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=130, special_tokens=SPECIAL)
    elif kind == "byte_bpe":
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet)
    else:
        inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="[UNK]"))
        inner.normalizer = normalizers.NFKC()
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
        inner.decoder = decoders.Metaspace()
        fallback = [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=[*SPECIAL, *fallback])
    inner.train_from_iterator(LEARNT, trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=inner, **{f"{name}_token": token for name, token in names.items()}
    )
    return StudentTokenizer(fast, replace(RULES, **rules))


def student_of(kind: str, folder: Path, **rules: Any) -> Student:
    """A random student with such a tokenizer."""
    tokenizer = tokenizer_of(kind)
    tokenizer.tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer.tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    settings = RULES.to_dict() | rules
    return new_student(backbone=str(folder), dim=16, bias=False, dropout=None, attention="sdpa", **settings)
