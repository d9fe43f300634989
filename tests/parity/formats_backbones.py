"""Tiny tokenizers and backbones with random weights, for the golden folders.

Imports transformers and tokenizers of whatever environment it runs in.
"""

from __future__ import annotations

import hashlib
import string
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from tests.parity.formats_texts import TRAINING_TEXTS

Kind = Literal["bert", "bert_cased", "modernbert", "llama", "qwen2", "lfm2", "xlm_roberta"]
HIDDEN, LAYERS, HEADS, POSITIONS = 16, 2, 2, 48
WORDPIECES, BYTE_PAIRS = 200, 300
BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]


def save_backbone(kind: Kind, folder: Path) -> Path:
    """Write a Hugging Face folder: a tiny model with random weights, and its tokenizer."""
    tokenizer = make_tokenizer(kind)
    model = make_model(kind, tokenizer)
    fill(model, kind)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fill(model: nn.Module, name: str) -> None:
    """Give a model random weights that depend on the parameters' names and shapes alone.

    They are larger than a new model's, so that each token's vector depends clearly on the tokens that it
    attends to.

    Args:
        model: changed in place.
        name: of the case; another name gives other weights.
    """
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            digest = hashlib.sha256(f"{name} {parameter_name} {tuple(parameter.shape)}".encode()).digest()
            generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
            values = torch.from_numpy(generator.standard_normal(tuple(parameter.shape)).astype(np.float32))
            scale = 0.3 if parameter.ndim > 1 else 0.1
            norm_weight = parameter.ndim == 1 and parameter_name.endswith("weight")
            parameter.copy_(values * scale + (1.0 if norm_weight else 0.0))


def make_tokenizer(kind: Kind) -> Any:
    """Make a tokenizer from a few sentences; the same one every time."""
    if kind in ("bert", "bert_cased"):
        return _wordpiece(lowercase=kind == "bert")
    return _byte_pairs(kind)


def _wordpiece(lowercase: bool) -> Any:
    library = import_module("tokenizers")
    normalizer = library.normalizers.BertNormalizer(lowercase=lowercase)
    splitter = library.pre_tokenizers.BertPreTokenizer()
    words = [
        word
        for text in TRAINING_TEXTS
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    ]
    vocabulary = {token: n for n, token in enumerate(_wordpieces(words))}
    tokenizer = library.Tokenizer(library.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = library.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, BERT_TOKENS.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = library.decoders.WordPiece(prefix="##")
    return import_module("transformers").BertTokenizerFast(
        tokenizer_object=tokenizer, do_lower_case=lowercase, model_max_length=POSITIONS
    )


def _wordpieces(words: Sequence[str]) -> list[str]:
    """A vocabulary: special tokens, punctuation, letters, and the pieces that save most tokens.

    The WordPiece trainer of tokenizers gives another vocabulary on every call.
    """
    letters = sorted(set("".join(words)) - set(string.punctuation))
    pieces = Counter(
        ("##" if start else "") + word[start:end]
        for word in words
        for start in range(len(word))
        for end in range(start + 2, len(word) + 1)
    )
    ranked = sorted(pieces, key=lambda piece: (-pieces[piece] * (len(piece.removeprefix("##")) - 1), piece))
    single = [*BERT_TOKENS, *string.punctuation, *letters, *(f"##{letter}" for letter in letters)]
    return single + ranked[: WORDPIECES - len(single)]


def _byte_pairs(kind: Kind) -> Any:
    library = import_module("tokenizers")
    special = {
        "modernbert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        "llama": ["<s>", "</s>"],
        "qwen2": ["<|endoftext|>"],
        "lfm2": ["<|pad|>", "<|startoftext|>", "<|im_end|>"],
        "xlm_roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    }[kind]
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = library.trainers.BpeTrainer(
        vocab_size=BYTE_PAIRS,
        special_tokens=special,
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING_TEXTS, trainer)
    tokenizer.decoder = library.decoders.ByteLevel()
    named: dict[str, str] = {}
    if kind == "modernbert":
        tokenizer.post_processor = library.processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B [SEP]",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        named = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    elif kind == "llama":
        tokenizer.post_processor = library.processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
        )
        named = {"bos_token": "<s>", "eos_token": "</s>"}
    elif kind == "xlm_roberta":
        tokenizer.post_processor = library.processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
        named = {"cls_token": "<s>", "sep_token": "</s>", "bos_token": "<s>", "eos_token": "</s>"}
        named |= {f"{name}_token": f"<{name}>" for name in ("pad", "unk", "mask")}
    elif kind == "lfm2":
        tokenizer.post_processor = library.processors.TemplateProcessing(
            single="<|startoftext|> $A",
            pair="<|startoftext|> $A <|startoftext|> $B",
            special_tokens=[("<|startoftext|>", 1)],
        )
        named = {"bos_token": "<|startoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|pad|>"}
    else:
        named = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    return import_module("transformers").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
        **named,
    )


def make_model(kind: Kind, tokenizer: Any) -> Any:
    """A model of the transformers library for that tokenizer."""
    transformers = import_module("transformers")
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind in ("bert", "bert_cased"):
        return transformers.BertModel(
            transformers.BertConfig(**shape, intermediate_size=16), add_pooling_layer=False
        )
    if kind == "xlm_roberta":
        shape["max_position_embeddings"] = POSITIONS + tokenizer.pad_token_id + 1
        config = transformers.XLMRobertaConfig(**shape, type_vocab_size=1, intermediate_size=16)
        return transformers.XLMRobertaModel(config)
    if kind == "modernbert":
        ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep")}
        return transformers.ModernBertModel(
            transformers.ModernBertConfig(
                **shape,
                **ids,
                bos_token_id=ids["cls_token_id"],
                eos_token_id=ids["sep_token_id"],
                intermediate_size=16,
                local_attention=8,
                global_attn_every_n_layers=2,
            )
        )
    name = {"llama": "Llama", "qwen2": "Qwen2", "lfm2": "Lfm2"}[kind]
    of_kind = {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}
    config = getattr(transformers, f"{name}Config")(
        **shape,
        num_key_value_heads=1,
        intermediate_size=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **(of_kind if kind == "lfm2" else {}),
    )
    return getattr(transformers, f"{name}Model")(config)
